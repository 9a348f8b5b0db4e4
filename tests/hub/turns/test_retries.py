"""Spaced attempts, also over restarts, and agents that are away."""

from functools import partial
from pathlib import Path
from random import Random

import anyio
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.hub.turns.outcome import SORRY_GONE
from gatewayd.hub.turns.retries import AWAY, TRIED_AGAIN, Retries
from gatewayd.hub.turns.turn import LiveTurn, WaitingMessage, new_turn_id
from gatewayd.model.config import SessionsSection
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.message.intents import Message
from gatewayd.model.message.route import Route
from gatewayd.ports.agent import Turn
from gatewayd.ports.store import InboundRow
from gatewayd.stores.sqlite import run_inline
from tests.hub.house import EPOCH, Gate, ScriptedAgents, configuration, echo, message, now, open_house
from tests.stores.opened_before import open_store


async def _say_nothing(text: str) -> None: ...


def _turn(row: InboundRow, slots: trio.Semaphore) -> LiveTurn:
    """One that has taken a slot."""
    route = Route("assistant", "assistant:chat:main:dm:7", "default")
    return LiveTurn(
        [WaitingMessage(row.id, row, route, Message())],
        slots,
        has_slot=True,
        on_move=lambda turn: None,
        offer=lambda question: None,
        now=EPOCH,
    )


async def test_a_message_waits_for_its_agent_without_spending_a_try_and_its_user_is_told_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    agents = ScriptedAgents(echo)
    agents.away = TryAgain("agent assistant is waiting: connection refused")
    async with open_house(tmp_path, agents=agents) as house:
        row = await house.say("hello")
        await anyio.sleep(3 * 3600)
        assert house.texts == [AWAY]
        assert await house.reason_of(row) == ("received", None)
    async with open_house(tmp_path, agents=agents) as house:
        await anyio.sleep(3600)
        assert house.texts == [], "told before the restart"
        agents.away = None
        agents.changed.set()
        ended = await house.ended(row)
        assert (ended.state, ended.reason, ended.attempts) == ("done", "answered", 1)
        assert house.texts == ["re: hello"]


async def test_an_agent_that_is_away_for_a_moment_is_not_spoken_of(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = ScriptedAgents(echo)
    agents.away = TryAgain("agent assistant is waiting: it is being restarted")
    async with open_house(tmp_path, agents=agents) as house:
        row = await house.say("hello")
        await anyio.sleep(5)
        agents.away = None
        agents.changed.set()
        await house.ended(row)
        assert house.texts == ["re: hello"]


async def test_who_meets_an_outage_for_ten_seconds_is_told_once_that_it_is_tried_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def unreachable(turn: Turn) -> str:
        raise TryAgain("the model's server: cannot connect: Connection refused")

    async with open_house(tmp_path, unreachable) as house:
        began = trio.current_time()
        row = await house.say("hello")
        await anyio.sleep(9)
        assert house.texts == []
        await anyio.sleep(2)
        assert house.texts == [TRIED_AGAIN]
        ended = await house.ended(row)
        assert (ended.state, ended.reason) == ("dead", "attempts_exhausted")
        assert house.texts == [TRIED_AGAIN, SORRY_GONE]
        assert trio.current_time() - began > 60


async def test_an_outage_of_a_moment_is_not_spoken_of(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def once(turn: Turn) -> str:
        if turn.request.attempt == 1:
            raise TryAgain("the model's server: cannot connect")
        return "here"

    async with open_house(tmp_path, once) as house:
        await house.ended(await house.say("hello"))
        assert house.texts == ["here"]


async def test_a_stop_ends_the_pause_before_and_behind_the_first_word(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def unreachable(turn: Turn) -> str:
        raise TryAgain("cannot connect", after_seconds=60)

    for seconds, texts in ((5, []), (15, [TRIED_AGAIN])):
        async with open_house(tmp_path / str(seconds), unreachable) as house:
            row = await house.say("hello")
            await anyio.sleep(seconds)
            await house.say("/stop")
            assert (await house.ended(row)).reason == "stopped"
            assert house.texts[: len(texts)] == texts
            assert house.texts.count(TRIED_AGAIN) == len(texts)


async def test_a_stop_ends_the_waiting_for_an_agent(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = ScriptedAgents(echo)
    agents.away = TryAgain("agent assistant is waiting: connection refused")
    async with open_house(tmp_path, agents=agents) as house:
        row = await house.say("hello")
        await wait_all_tasks_blocked()
        await house.say("/stop")
        ended = await house.ended(row)
        assert (ended.state, ended.reason, ended.attempts) == ("done", "stopped", 0)


async def test_a_drain_does_not_wait_for_an_agent_that_is_away(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = ScriptedAgents(echo)
    agents.away = TryAgain("agent assistant is waiting: connection refused")
    async with open_house(tmp_path, agents=agents) as house:
        row = await house.say("hello")
        await wait_all_tasks_blocked()
        with anyio.fail_after(1):
            await house.turns.drain()
        assert await house.reason_of(row) == ("received", None)


async def test_a_turn_that_waits_for_an_agent_has_released_its_slot(autojump_clock: MockClock) -> None:
    agents = ScriptedAgents(echo)
    agents.away = TryAgain("agent assistant is waiting: connection refused")
    slots = trio.Semaphore(1)
    await slots.acquire()
    turn = _turn(InboundRow(1, message(), "received", 0), slots)
    attempts = Retries(agents, now=lambda: EPOCH, rng=Random(1))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(partial(attempts.wait_open, turn, notify=_say_nothing))
        await wait_all_tasks_blocked()
        assert (slots.value, turn.state) == (1, "waiting_for_agent")
        agents.away = None
        agents.changed.set()
        await wait_all_tasks_blocked()
        assert (slots.value, turn.state) == (0, "preparing")


async def test_a_parked_agent_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    agents = ScriptedAgents(echo)
    agents.away = NeedsOperator("agent assistant is parked: the key is revoked")
    async with open_house(tmp_path, agents=agents) as house:
        row = await house.ended(await house.say("hello"))
        assert (row.state, row.reason) == ("dead", "agent_failed")


async def test_what_ends_the_process_each_time_is_tried_less_and_less_often(tmp_path: Path, autojump_clock: MockClock) -> None:
    started: list[float] = []

    class Killer(Gate):
        async def __call__(self, turn: Turn) -> str:
            started.append(trio.current_time())
            return await super().__call__(turn)

    async with open_house(tmp_path, Killer()) as house:
        row = await house.say("poison")
        await wait_all_tasks_blocked()
    for _ in range(100):
        async with open_house(tmp_path, Killer()):
            await anyio.sleep(10)
    async with open_house(tmp_path) as house:
        ended = await house.ended(row)
        assert (ended.reason, ended.attempts) == ("attempts_exhausted", 10)
        assert (await house.ended(await house.say("next"))).reason == "answered"
    assert len(started) == 10
    assert started[-1] - started[0] >= 600


@given(attempts=st.integers(2, 99), started=st.floats(-1e9, 1e9), seed=st.integers(0, 99))
def test_no_clock_makes_the_pause_longer_than_its_ceiling(attempts: int, started: float, seed: int) -> None:
    async def go() -> float:
        slots = trio.Semaphore(1)
        await slots.acquire()
        row = InboundRow(1, message(), "running", attempts, started_at=EPOCH + started)
        pauses = Retries(ScriptedAgents(echo), now=lambda: EPOCH, rng=Random(seed))
        await pauses.wait_due(_turn(row, slots))
        return trio.current_time()

    clock = MockClock(autojump_threshold=0)
    began = clock.current_time()
    assert trio.run(go, clock=clock) - began <= 120


def test_a_dead_letter_that_is_run_again_is_another_turn() -> None:
    row = InboundRow(7, message(), "received", 0)
    assert [new_turn_id(row), new_turn_id(InboundRow(7, message(), "received", 0, retries=2))] == ["turn-7", "turn-7-2"]


async def test_a_stop_that_was_ordered_is_held_against_no_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(sessions=SessionsSection(max_turn_attempts=2))

    async def hangs(turn: Turn) -> str:
        await anyio.sleep_forever()
        return "never"

    async with open_house(tmp_path, hangs, config=config) as house:
        row = await house.say("hello")
        await wait_all_tasks_blocked()
    for _ in range(5):
        began_at = anyio.current_time()
        async with open_house(tmp_path, hangs, config=config) as house, anyio.create_task_group() as tasks:
            await wait_all_tasks_blocked()
            assert len(house.agents.turns) == 1
            assert anyio.current_time() == began_at, "it goes on at once"
            tasks.start_soon(house.turns.drain)
            await wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
    found = await _row(tmp_path, row.id)
    assert (found.state, found.attempts, found.stops) == ("running", 6, 5)
    async with open_house(tmp_path, config=config) as house:
        assert (await house.ended(row)).reason == "answered"


async def test_a_crash_during_no_stop_is_an_attempt(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def hangs(turn: Turn) -> str:
        await anyio.sleep_forever()
        return "never"

    async with open_house(tmp_path, hangs) as house:
        row = await house.say("hello")
        await wait_all_tasks_blocked()
    found = await _row(tmp_path, row.id)
    assert (found.attempts, found.stops) == (1, 0)


async def _row(state_dir: Path, inbound_id: int) -> InboundRow:
    async with open_store(state_dir, now=now, run_blocking=run_inline) as store:
        found = await store.get_inbound(inbound_id)
    assert found is not None
    return found


async def test_an_ordered_restart_of_the_agent_is_no_attempt_that_has_failed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def cut(turn: Turn) -> str:
        if agents.restarts < 3:
            agents.restarts += 1
            raise TryAgain("the agent was closed")
        if len(agents.turns) < 5:
            raise TryAgain("the agent is broken")
        return "at last"

    agents = ScriptedAgents(cut)
    config = configuration(sessions=SessionsSection(max_turn_attempts=2))
    async with open_house(tmp_path, agents=agents, config=config) as house:
        ended = await house.ended(await house.say("hello"))
        assert (ended.state, ended.attempts, ended.stops) == ("done", 5, 3)
        assert house.texts[-1] == "at last"
        agents.turns.clear()
        gone = await house.ended(await house.say("again"))
        assert (gone.state, gone.attempts) == ("dead", 2), "outages are attempts as ever"
