"""A model behind an OpenAI-compatible endpoint, and a daemon that dies while it answers."""

from pathlib import Path

import pytest
import trio

from tests.fakes.model_server import MODEL, ModelServer, Seen
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.slow


def configuration(model: ModelServer) -> str:
    return f"""
[agents.assistant]
core = "chat_completions"
url = "{model.url}"
model = "{MODEL}"
api_key = {{ env = "MODEL_KEY" }}

[channels.webchat.accounts.main]
dm_policy = "open"
allow_from = ["*"]
"""


async def post(gateway: Daemon, text: str, *, wait: int = 0) -> dict[str, object]:
    """A message from a connector; its text is its key, too."""
    place = {"channel": "webchat", "account": "main", "peer": {"kind": "dm", "id": "bob"}, "sender": {"id": "bob"}}
    async with gateway.client() as client:
        answer = await client.post("/v1/chat/inbound", params={"wait": wait}, json=place | {"event_key": text, "text": text})
    assert answer.status_code in (200, 202), answer.text
    reply: dict[str, object] = answer.json()
    return reply


def said(seen: Seen) -> list[str]:
    """The last line of each message: the one before it says who wrote when."""
    return [message["content"].splitlines()[-1].removeprefix("> ") for message in seen.body["messages"]]


async def test_a_turn_cut_by_kill_9_is_asked_again_and_remembered_once(tmp_path: Path) -> None:
    key = "canary-0123456789abcdef"
    with trio.fail_after(90):
        async with ModelServer.serve() as model:
            async with daemon(tmp_path / "state", configuration(model), env={"MODEL_KEY": key}) as gateway:
                assert (await post(gateway, "say first", wait=20))["payloads"] == [{"text": "first"}]
                await post(gateway, "slow second one")
                await model.wait_held("second one")
                gateway.kill()
                await gateway.wait()
            await model.wait_requests(lambda requests: requests[1].end == "aborted")
            model.release("second one")
            async with daemon(tmp_path / "state", configuration(model), env={"MODEL_KEY": key}) as gateway:
                assert (await post(gateway, "slow second one", wait=20))["payloads"] == [{"text": "second one"}]
                assert (await post(gateway, "say third", wait=20))["payloads"] == [{"text": "third"}]
                assert await gateway.stop() == 0
                assert key not in gateway.log.read_text()
    assert len(model.requests) == 4
    assert said(model.requests[2]) == ["say first", "first", "slow second one"]
    assert said(model.requests[3]) == ["say first", "first", "slow second one", "second one", "say third"]
    assert {seen.headers["authorization"] for seen in model.requests} == {f"Bearer {key}"}


async def test_a_refused_key_is_for_the_operator_and_not_for_the_chat(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with (
            ModelServer.serve() as model,
            daemon(tmp_path / "state", configuration(model), env={"MODEL_KEY": "canary-0123456789abcdef"}) as gateway,
        ):
            reply = await post(gateway, "fail 401", wait=20)
            assert "401" not in str(reply["payloads"])
            [agent] = (await gateway.status()).agents
            assert "set api_key" in (agent.last_error or "")
            assert agent.state == "open"
            assert (await post(gateway, "say it works", wait=20))["payloads"] == [{"text": "it works"}]
