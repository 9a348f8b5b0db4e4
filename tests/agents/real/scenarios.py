"""Turns on a real server with the scripted model, each in a session of its own, so that they can run at once."""

from collections.abc import Awaitable, Callable, Sequence

import pytest
import trio

from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import Decision
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import Going, go
from tests.agents.opencode.house import ALLOWED, FakeTurn

Scenario = Callable[[OpencodeCore, trio.Nursery], Awaitable[None]]


async def begin(core: OpencodeCore, nursery: trio.Nursery, text: str) -> Going:
    return go(nursery, core, FakeTurn(await core.new_session("k"), text, turn_id=f"turn {text}"))


async def all_at_once(core: OpencodeCore, scenarios: Sequence[Scenario]) -> None:
    async with trio.open_nursery() as nursery:
        for scenario in scenarios:
            nursery.start_soon(scenario, core, nursery, name=scenario.__name__)


async def text(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "say hello there")
    assert await going.wait() == Final("hello there")
    assert going.turn.text.strip() == "hello there"


async def tool_allowed(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "run echo allowed >> ran.txt; echo fine")
    [request] = await going.turn.wait_requests()
    assert '"command":"echo allowed >> ran.txt; echo fine"' in request.input
    going.turn.decide(0, ALLOWED)
    assert "fine" in (await going.wait()).text
    assert [type(step).__name__ for step in going.turn.steps] == ["ToolCall", "ToolResult"]


async def tool_denied(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "run echo denied >> ran.txt")
    await going.turn.wait_requests()
    going.turn.decide(0, Decision("denied", by="operator:me", note="not that one"))
    assert (await going.wait()).text.startswith("ran: ")


async def question(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "ask Which colour? | Red | Blue")
    [asked] = await going.turn.wait_questions()
    assert asked.text == "Which colour?"
    assert [option.label for option in asked.options] == ["Red", "Blue"]
    going.turn.reply(0, ("Blue",))
    assert "Blue" in (await going.wait()).text


async def same_id(core: OpencodeCore, nursery: trio.Nursery) -> None:
    """Two sessions whose tool calls have one id: each runs what was shown for it."""
    goings = [await begin(core, nursery, f"run id=call_0 echo {name} >> ran.txt; echo {name}") for name in ("one", "two")]

    async def decide(going: Going, decision: Decision) -> None:
        await going.turn.wait_requests()
        going.turn.decide(0, decision)

    nursery.start_soon(decide, goings[0], ALLOWED)
    nursery.start_soon(decide, goings[1], Decision("denied"))
    assert "one" in (await goings[0].wait()).text
    await goings[1].wait()


async def failure(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "fail 400")
    with pytest.raises(AgentFailed, match="scripted failure 400"):
        await going.wait()


async def abort(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "run echo aborted >> ran.txt")
    await going.turn.wait_requests()
    going.stop()
    await going.done.wait()
    request = going.turn.request
    assert await core.turn_state(request.session_id, request.turn_id) == "lost"
    assert going.final is None
    # Nothing of it is left for the next turn.
    following = go(nursery, core, FakeTurn(request.session_id, "say over", turn_id="next"))
    assert await following.wait() == Final("over")
    assert following.turn.requests == []
