"""docs/reference/streams.md, the part of the hub: what it makes of a turn whatever its core is, a test for each row."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import anyio
import pytest
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import SORRY_FAILED, SORRY_GONE, SORRY_LOST, SORRY_SLOW
from gatewayd.hub.turns.retries import TRIED_AGAIN
from gatewayd.model.config import SessionsSection
from gatewayd.model.errors import TryAgain
from gatewayd.ports.agent import CoreTurnState, TextDelta, Turn
from gatewayd.ports.store import InboundRow
from tests.hub.house import Gate, House, ScriptedAgents, configuration, echo, open_house

PAGE = (Path(__file__).parents[3] / "docs/reference/streams.md").read_text("utf-8")
SECTION = PAGE.split("\n## Every core\n")[1].split("\n## ")[0]
ROWS = [tuple(cell.strip() for cell in row.strip("|").split("|")) for row in re.findall(r"^\| .*$", SECTION, re.M)][1:]

Way = Callable[[Path], Awaitable[tuple[House, InboundRow]]]
"""Makes a turn end so; the house is closed then."""
WAYS: dict[str, tuple[Way, list[str]]] = {}
"""By row: the way, and the texts in the chat."""


def way(row: str, *texts: str) -> Callable[[Way], Way]:
    def note(function: Way) -> Way:
        WAYS[row] = function, list(texts)
        return function

    return note


async def half(turn: Turn) -> str:
    await turn.emit(TextDelta("half"))
    await anyio.sleep_forever()
    raise AssertionError("unreachable")


async def away(turn: Turn) -> str:
    raise TryAgain("connection refused")


async def broken(turn: Turn) -> str:
    await turn.emit(TextDelta("half"))
    raise ValueError("a bug")


async def ended(directory: Path, agents: ScriptedAgents, **changes: object) -> tuple[House, InboundRow]:
    config = configuration(**changes)  # type: ignore[arg-type]
    async with open_house(directory, agents=agents, config=config) as house:
        return house, await house.ended(await house.say("go"))


async def after_a_kill(directory: Path, known: CoreTurnState, **changes: object) -> tuple[House, InboundRow]:
    """The turn runs when the daemon is killed; the core says ``known`` of it."""
    async with open_house(directory, half) as house:
        row = await house.say("go")
        await anyio.sleep(5)
        assert not house.texts
    agents = ScriptedAgents(echo)
    agents.known = known
    async with open_house(directory, agents=agents, config=configuration(**changes)) as house:  # type: ignore[arg-type]
        found = await house.ended(row)
        assert len(agents.resumed) == (known == "running")
        return house, found


@way("the time limit of the turn is over: `sessions.turn_timeout_seconds`", SORRY_SLOW)
async def _time_out(directory: Path) -> tuple[House, InboundRow]:
    return await ended(directory, ScriptedAgents(half), sessions=SessionsSection(turn_timeout_seconds=30))


@way("`/stop`", "Stopped.")
async def _stop(directory: Path) -> tuple[House, InboundRow]:
    async with open_house(directory, half) as house:
        row = await house.say("go")
        await anyio.sleep(5)
        await house.ended(await house.say("/stop"))
        return house, await house.ended(row)


@way('another message, with `queue_mode = "interrupt"`', "re: and this")
async def _interrupt(directory: Path) -> tuple[House, InboundRow]:
    async def first_half(turn: Turn) -> str:
        return await (half if turn.request.text == "go" else echo)(turn)

    config = configuration(sessions=SessionsSection(queue_mode="interrupt"))
    async with open_house(directory, first_half, config=config) as house:
        row = await house.say("go")
        await anyio.sleep(5)
        await house.ended(await house.say("and this"))
        return house, await house.ended(row)


@way("gatewayd is killed, and the core still has the turn or its answer", "re: go")
async def _taken_up(directory: Path) -> tuple[House, InboundRow]:
    return await after_a_kill(directory, "running", on_lost_turn="report")


@way('gatewayd is killed, and the turn is lost: `on_lost_turn = "rerun"`, or it never began', "re: go")
async def _run_again(directory: Path) -> tuple[House, InboundRow]:
    return await after_a_kill(directory, "lost")


@way('gatewayd is killed, and the turn is lost: `on_lost_turn = "report"`', SORRY_LOST)
async def _reported(directory: Path) -> tuple[House, InboundRow]:
    return await after_a_kill(directory, "lost", on_lost_turn="report")


@way("each of `sessions.max_turn_attempts` attempts meets an outage", TRIED_AGAIN, SORRY_GONE)
async def _exhausted(directory: Path) -> tuple[House, InboundRow]:
    return await ended(directory, ScriptedAgents(away))


@way("each attempt ends the process", SORRY_GONE)
async def _poison(directory: Path) -> tuple[House, InboundRow]:
    config = configuration(sessions=SessionsSection(max_turn_attempts=2))
    async with open_house(directory, Gate(), config=config) as house:
        row = await house.say("go")
        await anyio.sleep(20)
    async with open_house(directory, Gate(), config=config):
        await anyio.sleep(20)
    async with open_house(directory, config=config) as house:
        return house, await house.ended(row)


@way("the core has a bug", SORRY_FAILED)
async def _bug(directory: Path) -> tuple[House, InboundRow]:
    return await ended(directory, ScriptedAgents(broken))


def test_each_row_has_its_test() -> None:
    assert [row[0] for row in ROWS] == list(WAYS)


@pytest.mark.parametrize("row", WAYS)
async def test_a_row(tmp_path: Path, autojump_clock: MockClock, row: str) -> None:
    make, texts = WAYS[row]
    house, found = await make(tmp_path)
    assert house.texts == texts
    [stored, status] = next(cells[2:] for cells in ROWS if cells[0] == row)
    assert f"{found.state}, `{found.reason}`" == stored
    assert bool(house.agents.errors) == ("failure" in status)
