"""The fake Slack as a process of its own."""

import httpx2
import pytest

from tests.fakes.slack_platform import RemoteSlack


@pytest.mark.slow
async def test_the_fake_runs_as_a_process_and_is_driven_from_here() -> None:
    async with RemoteSlack.start(mode="events") as slack, httpx2.AsyncClient(trust_env=False) as http:
        headers = {"Authorization": f"Bearer {slack.bot_token}"}
        alice = await slack.do("add_user", name="alice")
        general = await slack.do("add_channel", name="general", members=[alice])
        ts = await slack.do("say", user=alice, channel=general, text="hello")
        found = (await http.post(f"{slack.api_base}/conversations.history", headers=headers, data={"channel": general})).json()
        assert [message["ts"] for message in found["messages"]] == [ts]
        await slack.do("refuse", method="chat.postMessage", error="fatal_error", after=True, where={"channel": general})
        answer = await http.post(f"{slack.api_base}/chat.postMessage", headers=headers, json={"channel": general, "text": "x"})
        assert answer.json() == {"ok": False, "error": "fatal_error"}
        assert await slack.do("texts", channel=general) == ["x"]
        assert (await slack.do("wait_call", method="chat.postMessage"))["text"] == "x"
        with pytest.raises(RuntimeError, match="not something the fake can do"):
            await slack.do("serve")
