"""Prompts and commands that a client runs in its own sessions, beside the turns of the daemon."""

import json
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from gatewayd.model.config import (
    AgentSettings,
    ApprovalRule,
)
from tests.web.api.test_audit import deeds
from tests.web.attached import SESSION, AttachedSettings, open_server, says
from tests.web.proxy.site import THEIRS, attached, frame, message, until_asked
from tests.web.site import configuration, open_site


async def test_a_command_of_the_client_s_own_is_a_recorded_yes(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers["POST /session/ses_theirs/shell"] = says({})
        assert (await client.post(f"/session/{THEIRS}/shell", json={"agent": "build", "command": "ls"})).status_code == 200
        [row] = await site.gateway.approvals.list(None)
        assert (row.tool, row.state, row.decided_by) == ("bash", "allowed", "operator:admin")
        assert json.loads(row.input)["command"] == "ls"


async def test_nobody_prompts_into_a_session_in_which_our_turn_runs(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers = {
            "GET /session/ses_child": says({"parentID": SESSION}),
            "GET /session/ses_theirs": says({}),
            "POST /session/ses_theirs/message": says({}),
            f"POST /session/{SESSION}/abort": says(True),
            f"POST /session/{SESSION}/message": says({}),
        }
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
            await until_asked(site, "per_7")
            for session in (SESSION, "ses_child"):
                for verb in ("message", "prompt_async", "command", "shell", "revert", "summarize"):
                    answer = await client.post(f"/session/{session}/{verb}", json={})
                    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "conflict"), (session, verb)
            assert (await client.delete(f"/session/{SESSION}")).status_code == 409
            assert (await client.post(f"/session/{THEIRS}/message", json={})).status_code == 200
            assert (await client.post(f"/session/{SESSION}/abort")).status_code == 200
            await client.post("/permission/per_7/reply", json={"reply": "once"})
        assert (await client.post(f"/session/{SESSION}/message", json={})).status_code == 200


@pytest.mark.parametrize("verb", ["command", "init"])
async def test_a_slash_command_is_a_recorded_yes(tmp_path: Path, clock: trio.testing.MockClock, verb: str) -> None:
    async with attached(tmp_path) as (site, server, client):
        server.answers[f"POST /session/{THEIRS}/{verb}"] = says({})
        body = {"command": verb, "arguments": "!`id`"} if verb == "command" else {}
        assert (await client.post(f"/session/{THEIRS}/{verb}", json=body)).status_code == 200
        [row] = await site.gateway.approvals.list(None)
        assert (row.tool, row.state, row.decided_by) == ("bash", "allowed", "operator:admin")
        assert row.consumed_at is not None
        assert json.loads(row.input)["slash_command"]["command"] == verb
        assert [action for _, action, _ in await deeds(site)] == ["approval.allowed", "proxy.post"]


@pytest.mark.parametrize(
    "approvals", [{"quorum": 2}, {"rules": (ApprovalRule(action="deny", tool="bash", input={"command": "rm *"}),)}]
)
async def test_the_agent_s_policy_holds_for_slash_commands(
    tmp_path: Path, clock: trio.testing.MockClock, approvals: dict[str, Any]
) -> None:
    """What one runs is not known, so it is whatever is denied, also if its body has a word of that name."""
    async with attached(tmp_path, **approvals) as (site, server, client):
        for verb, body in (("command", {"command": "review", "arguments": "x"}), ("init", {"command": "ls"})):
            answer = await client.post(f"/session/{THEIRS}/{verb}", json=body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (403, "forbidden")
        assert await site.gateway.approvals.list(None) == []
        assert server.heard == []


async def test_beside_our_turn_nobody_runs_anything_on_a_server_that_would_mix_them_up(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    """Whichever agent of that server it is, and whichever session."""
    async with open_server() as server:
        server.answers = {
            f"POST /session/{THEIRS}/message": says({}),
            f"POST /session/{THEIRS}/abort": says(True),
            f"GET /session/{THEIRS}": says({}),
        }
        settings = AttachedSettings(server.url, alone=True)
        agents = (AgentSettings("coder", frame(), settings), AgentSettings("beside", frame(), settings))
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
                await until_asked(site, "per_7")
                for agent in ("coder", "beside"):
                    for verb in ("message", "prompt_async", "command", "shell", "init", "summarize"):
                        answer = await client.post(f"/session/{THEIRS}/{verb}?agent={agent}", json={})
                        assert (answer.status_code, "agent coder runs" in answer.text) == (409, True), (agent, verb)
                assert server.heard == []
                assert (await client.post(f"/session/{THEIRS}/abort?agent=coder")).status_code == 200
                await client.post("/permission/per_7/reply?agent=coder", json={"reply": "reject"})
            assert (await client.post(f"/session/{THEIRS}/message?agent=beside", json={})).status_code == 200


async def test_our_turn_that_begins_while_a_run_is_looked_at_is_seen(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_server() as server:
        agents = (AgentSettings("coder", frame(), AttachedSettings(server.url, alone=True)),)
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            record = site.gateway.audit.record

            async def slow(*args: Any, **detail: Any) -> Any:
                nursery.start_soon(lambda: client.post("/v1/chat/inbound?wait=60", json=message("ask per_7")))
                await until_asked(site, "per_7")
                return await record(*args, **detail)

            async with trio.open_nursery() as nursery:
                site.gateway.audit.record = slow  # type: ignore[method-assign]
                answer = await client.post(f"/session/{THEIRS}/message", json={})
                site.gateway.audit.record = record  # type: ignore[method-assign]
                assert answer.status_code == 409
                await client.post("/permission/per_7/reply", json={"reply": "reject"})
            assert server.heard == []
