"""What only OpenAgentic does."""

import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import Final, ToolResult
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, FakeTurn, open_core
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode, ModelRun

BOTH = pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])


async def test_a_log_is_read_again_when_it_was_just_being_written(autojump_clock: MockClock) -> None:
    server = FakeOpenAgentic()
    async with server.serve(), open_core(server) as core:
        session = await core.new_session("k")
        server.torn = 4
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")
        server.torn = 1_000_000
        with pytest.raises(AgentFailed, match=r"damaged\. Write /new"):
            await core.run(FakeTurn(session, "hi", turn_id="t2"))


async def test_without_deltas_whole_messages_are_shown(autojump_clock: MockClock) -> None:
    async def script(run: ModelRun) -> None:
        await run.say("first ")
        await run.say("step")
        await run.tool("Read", {"path": "x"}, ask=False)
        await run.say("second step")

    server = FakeOpenAgentic(script, deltas=False)
    async with server.serve(), open_core(server) as core:
        turn = FakeTurn(await core.new_session("k"), "go")
        assert await core.run(turn) == Final("second step")
        assert turn.text.strip() == "first step\n\nsecond step"
        assert isinstance(turn.steps[1], ToolResult)


async def shell(run: ModelRun) -> None:
    await run.say(await run.tool("Bash", {"command": f"do {run.text}"}, call_id="call_0"))


async def test_a_request_with_the_id_of_our_call_and_another_input_is_not_ours(
    autojump_clock: MockClock, nursery: trio.Nursery
) -> None:
    """Somebody else's session on that server, whose model counts its calls as ours does."""
    server = FakeOpenAgentic(shell)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        await going.turn.wait_requests()
        entry, _, _ = server.permissions["call_0"]
        entry["input"] = {"command": "rm -rf /"}
        going.turn.decide(0, ALLOWED)
        await trio.sleep(60)
        assert not any(seen.endswith("/reply") for seen in server.http.seen)
        assert server.ran == []
        assert len(going.turn.requests) == 1
        going.kill()
        await going.done.wait()


async def test_the_shell_commands_of_a_slash_command_are_asked_for(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    async def script(run: ModelRun) -> None:
        await run.say(await run.slash_command("git status", "git log"))  # type: ignore[attr-defined]

    server = FakeOpenAgentic(script)
    async with server.serve(), open_core(server) as core:
        going = go(nursery, core, FakeTurn(await core.new_session("k"), "go"))
        for number, command in enumerate(("git status", "git log")):
            request = (await going.turn.wait_requests(number + 1))[number]
            assert request.tool == "Bash"
            assert f'"command":"{command}"' in request.input
            going.turn.decide(number, ALLOWED)
        assert await going.wait() == Final("ran")
        first, second = going.turn.requests
        assert first.ref != second.ref
        assert server.ran == ["git status", "git log"]
