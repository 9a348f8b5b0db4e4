"""The acp core on the real ``opencode acp``, with a scripted model. Its start costs seconds, so a test tells a longer story."""

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import msgspec
import pytest

from gatewayd.actor.supervisor import classify_failure
from gatewayd.agents.acp.core import AcpCore
from gatewayd.agents.acp.opener import open_acp
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import AgentConfig, Final, Notice, ToolCall, ToolResult
from tests.agents.acp.rig import FakeTurn, Services, allow, deny, never, run_soon
from tests.agents.real.installed import Project
from tests.fakes.model_server import ModelServer

_FAILS_AFTER = 150.0


@asynccontextmanager
async def open_opencode(binary: Path, project: Project, services: Services) -> AsyncIterator[AcpCore]:
    settings = AcpSettings(
        command=(str(binary), "acp"), directory=str(project.directory), environment=dict(project.env), cancel_timeout_seconds=20
    )
    async with open_acp(AgentConfig("mine", settings), services) as core:
        assert isinstance(core, AcpCore)
        yield core


async def test_turns(opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path) -> None:
    services = Services(tmp_path / "agent")
    with anyio.fail_after(_FAILS_AFTER):
        async with open_opencode(opencode_binary, opencode_project, services) as core:
            assert (core.facts().version or "").startswith("OpenCode ")
            session = await core.new_session("key")
            await _text(core, session)
            await _tools(core, session, opencode_project.directory)
            await _cancels(core, session, opencode_project.directory)
            await _failures(core, session)
            assert await core.run(FakeTurn(session, "say still here")) == Final("still here")
            assert core.facts().sessions == 1


async def _text(core: AcpCore, session: str) -> None:
    turn = FakeTurn(session, "say hello there")
    assert await core.run(turn) == Final("hello there")
    assert turn.streamed == "hello there"


async def _tools(core: AcpCore, session: str, directory: Path) -> None:
    turn = FakeTurn(session, "run echo hi > allowed.txt; echo done", allow)
    assert await core.run(turn) == Final("ran: done")
    (request,) = turn.requests
    assert request.tool == "execute"
    assert msgspec.json.decode(request.input)["command"] == "echo hi > allowed.txt; echo done"
    assert (directory / "allowed.txt").read_text() == "hi\n"
    calls = [event for event in turn.events if isinstance(event, ToolCall)]
    assert [(call.tool, msgspec.json.decode(call.input)["command"]) for call in calls] == [
        ("execute", "echo hi > allowed.txt; echo done")
    ]
    assert [event.output.strip() for event in turn.events if isinstance(event, ToolResult)] == ["done"]

    turn = FakeTurn(session, "run touch denied.txt", deny)
    assert await core.run(turn) == Final("The operator said no, so it was not done. (not today)")
    assert [event.is_error for event in turn.events if isinstance(event, ToolResult)] == [True]

    turn = FakeTurn(session, "run2 echo one && echo two", allow)
    assert await core.run(turn) == Final("ran: one | two")
    assert [msgspec.json.decode(request.input)["command"] for request in turn.requests] == ["echo one", "echo two"]
    assert not (directory / "denied.txt").exists()


async def _cancels(core: AcpCore, session: str, directory: Path) -> None:
    for text in ("slow one two", "run touch cancelled.txt"):
        turn = FakeTurn(session, text, never)
        async with anyio.create_task_group() as group:
            group.start_soon(core.run, turn)
            await (turn.spoken if text.startswith("slow") else turn.asked).wait()
            group.cancel_scope.cancel()
    assert not (directory / "cancelled.txt").exists()


async def _failures(core: AcpCore, session: str) -> None:
    with pytest.raises(AgentFailed, match=r"the agent failed: .*scripted failure 403"):
        await core.run(FakeTurn(session, "fail 403"))
    # It would ask the model again for ever.
    with pytest.raises(AgentFailed, match="without using a tool: it loops"):
        await core.run(FakeTurn(session, "cut short of its end"))


async def test_two_sessions_whose_calls_share_an_id(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    """Then the process is killed in the middle of a turn, and a new one goes on with the session."""
    services, directory = Services(tmp_path / "agent"), opencode_project.directory
    with anyio.fail_after(_FAILS_AFTER):
        try:
            async with (
                anyio.create_task_group() as group,
                open_opencode(opencode_binary, opencode_project, services) as core,
            ):
                alice = FakeTurn(await core.new_session("alice"), "run id=call_0 touch alice.txt", never)
                bob = FakeTurn(await core.new_session("bob"), "run id=call_0 touch bob.txt", allow)
                outcomes = run_soon(group, core, alice)
                await alice.asked.wait()
                await core.run(bob)
                os.kill(core.facts().pid or 0, signal.SIGKILL)
                await anyio.sleep_forever()
        except ExceptionGroup as error:
            verdict = classify_failure(error)
        assert "was ended by SIGKILL" in verdict.reason
        assert [type(outcome) for outcome in outcomes] == [AgentFailed]
        assert (directory / "bob.txt").exists()

        async with open_opencode(opencode_binary, opencode_project, services) as core:
            assert await core.turn_state(bob.request.session_id, "turn-1") == "ended"
            assert await core.turn_state(alice.request.session_id, "turn-1") == "lost"
            turn = FakeTurn(bob.request.session_id, "say and on", turn_id="turn-2")
            assert await core.run(turn) == Final("and on")
            assert turn.streamed == "and on"
            assert not [event for event in turn.events if isinstance(event, Notice)]
    assert "touch bob.txt" in msgspec.json.encode(model.requests[-1].body).decode()
    assert not (directory / "alice.txt").exists()
