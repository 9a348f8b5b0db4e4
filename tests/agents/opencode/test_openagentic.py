"""What only OpenAgentic does."""

import pytest
from trio.testing import MockClock

from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import Final, ToolResult
from tests.agents.opencode.house import FakeTurn, open_core
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
