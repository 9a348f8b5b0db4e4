"""A running turn: how it is ended, what its user hears meanwhile, and whom it holds up while it waits for people."""

from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import SORRY_SLOW
from gatewayd.model.config import ApprovalsSection, LimitsSection, SessionsSection
from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import Notice, Turn
from tests.hub.approvals.test_desk import LS, RM, Tool, pending
from tests.hub.house import Gate, configuration, echo, open_house


def peer(number: int) -> Peer:
    return Peer("dm", str(number))


# --- goes_on


@pytest.mark.parametrize(("how", "goes_on"), [("stop", False), ("time", False), ("interrupt", False), ("leave", True)])
async def test_a_core_learns_whether_the_turn_is_over_or_the_daemon_leaves(
    tmp_path: Path, autojump_clock: MockClock, how: str, goes_on: bool
) -> None:
    seen: list[bool] = []

    async def script(turn: Turn) -> str:
        assert not seen
        try:
            await anyio.sleep_forever()
        finally:
            seen.append(turn.goes_on)
        return ""

    sessions = SessionsSection(turn_timeout_seconds=50, queue_mode="interrupt")
    async with open_house(tmp_path, script, config=configuration(sessions=sessions)) as house:
        await house.say("one")
        await trio.testing.wait_all_tasks_blocked()
        if how == "stop":
            await house.ended(await house.say("/stop"))
        elif how == "time":
            await anyio.sleep(51)
        elif how == "interrupt":
            house.agents.script = echo
            await house.ended(await house.say("two"))
    assert seen == [goes_on]


@pytest.mark.parametrize("how", ["stop", "leave"])
async def test_it_learns_that_also_while_it_waits_for_people(tmp_path: Path, autojump_clock: MockClock, how: str) -> None:
    seen: list[bool] = []

    async def script(turn: Turn) -> str:
        try:
            await turn.permission(RM)
        finally:
            seen.append(turn.goes_on)
        return ""

    async with open_house(tmp_path, script) as house:
        await house.say("one")
        approval = await pending(house)
        if how == "stop":
            await house.ended(await house.say("/stop"))
            assert (await house.desk.get(approval.id)).state == "withdrawn"
        else:
            assert (await house.desk.get(approval.id)).state == "pending"
    assert seen == [how == "leave"]


# --- What the user hears meanwhile


async def test_a_notice_is_shown_once_and_at_most_a_few(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        for number in (1, 1, 2, 1, 3, 4, 5, 6, 7):
            await turn.emit(Notice(f"try {number}"))
            await anyio.sleep(1)
        return "done"

    async with open_house(tmp_path, script) as house:
        await house.ended(await house.say("go"))
        assert house.texts == [f"try {number}" for number in range(1, 6)] + ["done"]


async def test_a_notice_is_not_repeated_by_the_next_attempt(tmp_path: Path, autojump_clock: MockClock) -> None:
    attempts: list[int] = []

    async def script(turn: Turn) -> str:
        attempts.append(turn.request.attempt)
        await turn.emit(Notice("the model is busy"))
        await anyio.sleep(1)
        if len(attempts) < 3:
            raise TryAgain("still busy")
        return "done"

    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await anyio.sleep(500)
        await house.ended(row)
        assert attempts == [1, 2, 3]
        assert house.texts == ["the model is busy", "done"]


async def test_a_notice_right_before_the_end_comes_before_the_reply(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        await turn.emit(Notice("half a character: \ud800" + "x" * 1000))
        await turn.emit(Notice("  "))
        return "done"

    async with open_house(tmp_path, script) as house:
        await house.ended(await house.say("go"))
        assert house.texts == [("half a character: \ufffd" + "x" * 1000)[:500], "done"]


async def test_a_notice_of_a_turn_that_fails_is_shown_all_the_same(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        await turn.emit(Notice("the server has been restarted"))
        raise AgentFailed("and forgot everything")

    async with open_house(tmp_path, script) as house:
        await house.ended(await house.say("go"))
        assert house.texts[0] == "the server has been restarted"
        assert len(house.texts) == 2


# --- Waiting for people


async def asks_user(turn: Turn) -> str:
    return str(await turn.question(Question("Why?")))


async def asks_operator(turn: Turn) -> str:
    return (await turn.permission(RM)).outcome


@pytest.mark.parametrize("script", [asks_user, asks_operator])
async def test_a_turn_that_waits_for_people_frees_its_slot_for_another_turn(
    tmp_path: Path, autojump_clock: MockClock, script: object
) -> None:
    one = configuration(limits=LimitsSection(turns=1))
    async with open_house(tmp_path, script, config=one) as house:  # type: ignore[arg-type]
        waits = await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        house.agents.script = gate = Gate()
        other = await house.say("hello", peer=peer(8))
        await trio.testing.wait_all_tasks_blocked()
        assert gate.running == ["hello"]
        # The answer has come, but there is a slot again only when the other one has ended.
        if script is asks_user:
            await house.ended(await house.say("because"))
        else:
            await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.reason_of(waits))[0] == "running"
        third = await house.say("third", peer=peer(9))
        gate.gate.set()
        for row in (waits, other, third):
            assert (await house.ended(row)).reason == "answered"
        assert gate.most == 1


async def test_a_question_asked_while_the_slot_is_retaken_frees_it_once_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Two requests of one turn: the first is answered and waits for a slot while the second is asked. The turn must not sit on
    the slot as long as people think about the second."""
    asked_second = anyio.Event()

    async def script(turn: Turn) -> str:
        async def first() -> None:
            await turn.permission(RM)

        async def second() -> None:
            await asked_second.wait()
            await turn.permission(LS)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(first)
            tasks.start_soon(second)
        return "over"

    one = configuration(limits=LimitsSection(turns=1))
    async with open_house(tmp_path, script, config=one) as house:
        row = await house.say("go")
        approval = await pending(house)
        house.agents.script = gate = Gate()
        other = await house.say("hello", peer=peer(8))
        await trio.testing.wait_all_tasks_blocked()
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        asked_second.set()
        second = await pending(house)
        gate.gate.set()
        await house.ended(other)
        with anyio.fail_after(60):
            assert (await house.ended(await house.say("again", peer=peer(9)))).reason == "answered"
        await house.desk.decide(second.id, allow=True, by="operator:me")
        await house.ended(row)


async def test_an_abandoned_core_takes_no_slot_for_good(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Answered while another turn has the only slot, it gets the slot when its own turn is long over."""
    told: list[str] = []

    async def script(turn: Turn) -> str:
        with anyio.CancelScope(shield=True):
            told.append((await turn.permission(RM)).outcome)
        return ""

    one = configuration(limits=LimitsSection(turns=1))
    async with open_house(tmp_path, script, config=one) as house:
        row = await house.say("go")
        approval = await pending(house)
        house.agents.script = gate = Gate()
        other = await house.say("hello", peer=peer(8))
        await trio.testing.wait_all_tasks_blocked()
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        await house.ended(await house.say("/stop"))
        await house.ended(row)
        assert told == [], "it waits for a slot"
        gate.gate.set()
        await house.ended(other)
        assert told == ["allowed"]
        for number in range(3):
            with anyio.fail_after(60):
                assert (await house.ended(await house.say("hello", peer=peer(number)))).reason == "answered"


async def test_an_abandoned_core_asks_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    told: list[object] = []

    async def script(turn: Turn) -> str:
        with anyio.CancelScope(shield=True):
            await anyio.sleep(20)
            told.append((await turn.permission(RM)).outcome)
            told.append(await turn.question(Question("Why?")))
        return ""

    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await anyio.sleep(1)
        await house.say("/stop")
        assert (await house.ended(row)).reason == "stopped"
        await anyio.sleep(30)
        assert (told, await house.desk.list()) == (["withdrawn", None], [])


async def test_a_turns_time_stands_still_while_it_waits_for_its_user(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        await anyio.sleep(6)
        await turn.question(Question("Why?"))
        await anyio.sleep(6)
        return "over"

    sessions = SessionsSection(turn_timeout_seconds=10)
    async with open_house(tmp_path, script, config=configuration(sessions=sessions)) as house:
        row = await house.say("go")
        await anyio.sleep(1000)
        await house.say("because")
        assert (await house.ended(row)).reason == "turn_timed_out"
        assert house.texts[-1] == SORRY_SLOW


# --- Drain


@pytest.mark.parametrize("script", [asks_user, asks_operator])
async def test_a_stop_does_not_wait_for_people(tmp_path: Path, autojump_clock: MockClock, script: object) -> None:
    async with open_house(tmp_path, script) as house:  # type: ignore[arg-type]
        row = await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        with anyio.fail_after(1):
            await house.turns.drain()
        assert (await house.reason_of(row))[0] == "running"


async def test_a_stop_does_not_wait_for_whom_begins_to_wait_for_people(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = anyio.Event()

    async def script(turn: Turn) -> str:
        await gate.wait()
        await turn.permission(ToolRequest("shell", "{}"))
        return ""

    async with open_house(tmp_path, script) as house, anyio.create_task_group() as tasks:
        await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        drained = anyio.Event()

        async def drain() -> None:
            await house.turns.drain()
            drained.set()

        tasks.start_soon(drain)
        await trio.testing.wait_all_tasks_blocked()
        assert not drained.is_set()
        gate.set()
        with anyio.fail_after(1):
            await drained.wait()
        assert (await pending(house)).state == "pending"


async def test_a_stop_waits_for_an_answer_that_is_being_committed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, asks_user) as house, anyio.create_task_group() as tasks:
        await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        gate = house.flaky.holds["end_question"] = anyio.Event()
        answering = await house.say("because")
        tasks.start_soon(house.turns.drain)
        await trio.testing.wait_all_tasks_blocked()
        gate.set()
        assert (await house.ended(answering)).reason == "answer"


async def test_what_waits_for_people_at_a_stop_goes_on_at_the_next_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    config = configuration(approvals=ApprovalsSection(timeout_seconds=10_000))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.turns.drain()
    async with open_house(tmp_path, tool, config=config) as house:
        assert (await pending(house)).id == approval.id
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await house.ended(row)
        assert tool.ran == [RM]
