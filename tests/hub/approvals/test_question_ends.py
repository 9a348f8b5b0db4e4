"""Questions that end otherwise: in time, by a stop, elsewhere, and over restarts."""

from pathlib import Path

import anyio
import pytest
import trio
import trio.testing
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import AgentFrame, AgentSettings, ApprovalsSection, OutboxSection, SessionsSection
from gatewayd.model.message.payload import EditText
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import Turn
from gatewayd.stores.sqlite import run_inline
from tests.hub.approvals.approvers import buttons, only_prompt, text
from tests.hub.curious import TG_USER, USER, WHERE, WHY, Curious, open_question, state_of
from tests.hub.house import ScriptedAgents, configuration, now, open_house
from tests.stores.opened_before import open_store

# --- Ends without an answer


async def test_nobody_answers_in_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    section = ApprovalsSection(question_timeout_seconds=100)
    sessions = SessionsSection(turn_timeout_seconds=5)
    async with open_house(tmp_path, script, config=configuration(approvals=section, sessions=sessions)) as house:
        row = await house.say("go", channel="tg")
        question = await open_question(house)
        began = anyio.current_time()
        assert (await house.ended(row)).reason == "answered", "the turn's own time stood still meanwhile"
        assert anyio.current_time() - began == pytest.approx(100, abs=1)
        assert script.answers == [None]
        assert await state_of(house, question) == "expired"
        assert "**Nobody answered in time.**" in text((await house.screen(TG_USER))[0])
        after = await house.ended(await house.say("because", channel="tg"))
        assert after.reason == "answered", "it is a message like any other"


async def test_stop_withdraws_the_question(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Curious(WHY)) as house:
        row = await house.say("go", channel="tg")
        question = await open_question(house)
        await house.ended(await house.say("/stop", channel="tg"))
        assert (await house.ended(row)).reason == "stopped"
        assert await state_of(house, question) == "withdrawn"
        assert "**Not asked any more.**" in text((await house.screen(TG_USER))[0])
        assert (await house.ended(await house.say("because", channel="tg"))).reason == "answered"


async def test_a_stop_while_the_answer_is_committed_loses_neither(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Curious(WHY)) as house:
        row = await house.say("go")
        question = await open_question(house)
        gate = house.flaky.holds["end_question"] = anyio.Event()
        answering = await house.say("because")
        await trio.testing.wait_all_tasks_blocked()
        stop = await house.say("/stop")
        gate.set()
        assert (await house.ended(stop)).reason == "command"
        assert (await house.ended(row)).reason == "stopped"
        assert (await house.ended(answering)).reason == "answer"
        assert await state_of(house, question) == "answered"


async def test_an_answer_that_comes_too_late_by_a_hair_is_a_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The core was answered elsewhere while the message was on its way into the store."""
    script = Curious(replace(WHY, ref="q1"))
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        house.flaky.refuses.add("end_question")
        answering = await house.say("because")
        await trio.testing.wait_all_tasks_blocked()
        house.flaky.refuses.clear()
        await house.agents.turns[0].withdraw("q1", why="answered elsewhere")
        await house.ended(row)
        assert script.answers == [None]
        assert await state_of(house, question) == "withdrawn"
        assert (await house.ended(answering)).reason == "answered"
        assert house.texts[-1] == "re: because"


async def test_a_question_that_the_platform_refuses_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        await house.lose(house.handed[0])
        with anyio.fail_after(2):
            await house.ended(row)
        assert script.answers == [None]
        assert await state_of(house, question) == "expired"


async def test_a_question_that_became_too_old_to_be_sent_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    config = configuration(outbox=OutboxSection(stale_after_seconds=10))
    async with open_house(tmp_path, script, config=config) as house:
        row = await house.say("go")
        await open_question(house)
    await anyio.sleep(100)
    async with open_house(tmp_path, script, config=config) as house:
        with anyio.fail_after(2):
            await house.ended(row)
        assert script.answers == [None]


async def test_an_abandoned_run_does_not_take_the_next_ones_question_away(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It ignores its cancellation while its question is being shown."""

    async def stubborn(turn: Turn) -> str:
        with anyio.CancelScope(shield=True):
            await turn.question(WHERE)
        return ""

    script = Curious(WHY)
    async with open_house(tmp_path, stubborn) as house:
        gate = house.flaky.holds["add_outbound"] = anyio.Event()
        old = await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        house.agents.script = script
        await house.ended(await house.say("/stop"))
        await house.ended(old)
        del house.flaky.holds["add_outbound"]
        row = await house.say("go")
        await open_question(house)
        gate.set()
        await open_question(house)
        await house.say("because")
        assert (await house.ended(row)).reason == "answered"
        assert script.answers == [("because",)]


async def test_a_full_disk_holds_an_answer_up(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go", channel="tg")
        await open_question(house)
        house.flaky.refuses |= {"end_question", "add_outbound"}
        answering = await house.say("because", channel="tg")
        await anyio.sleep(3)
        assert script.answers == []
        house.flaky.refuses.remove("end_question")
        await anyio.sleep(3)
        assert script.answers == [("because",)], "what was answered holds, shown or not"
        house.flaky.refuses.clear()
        await house.ended(row)
        assert (await house.ended(answering)).reason == "answer"
        assert len(house.agents.turns) == 1


# --- Elsewhere than in the chat


@pytest.mark.parametrize(("answers", "state"), [(("North",), "answered"), (None, "dismissed")])
async def test_an_operator_answers_through_the_proxy(
    tmp_path: Path, autojump_clock: MockClock, answers: tuple[str, ...] | None, state: str
) -> None:
    script = Curious(replace(WHERE, ref="q1"))
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        found = house.questions.find_pending(agent="assistant", ref="q1")
        assert found is not None
        assert found.id == question.id
        assert house.questions.find_pending(agent="assistant", ref="q2") is None
        assert await house.questions.decide(question.id, answers, by="operator:me")
        await house.ended(row)
        assert script.answers == [answers]
        ended = await house.questions.get(question)
        assert (ended.state, ended.answered_by) == (state, "operator:me")
        assert not await house.questions.decide(question.id, ("South",), by="operator:me")


async def test_the_chat_and_the_proxy_never_both_count(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        await house.say("go")
        question = await open_question(house)
        gate = house.flaky.holds["end_question"] = anyio.Event()
        answering = await house.say("because")
        await trio.testing.wait_all_tasks_blocked()
        assert not await house.questions.decide(question.id, ("no",), by="operator:me")
        gate.set()
        await house.ended(answering)
        assert script.answers == [("because",)]


@pytest.mark.parametrize("when", ["before it is stored", "while it is stored", "while it is shown", "while it waits its turn"])
async def test_what_the_core_takes_back_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock, when: str) -> None:
    told: list[tuple[str, ...] | None] = []
    question = replace(WHY, ref="q1")

    async def script(turn: Turn) -> str:
        async def ask(question: Question) -> None:
            told.append(await turn.question(question))

        async with anyio.create_task_group() as tasks:
            if when == "while it waits its turn":
                tasks.start_soon(turn.question, WHERE)
                await anyio.sleep(1)
            if when == "before it is stored":
                await turn.withdraw("q1", why="gone")
            tasks.start_soon(ask, question)
            await anyio.sleep(1)
            await turn.withdraw("q1", why="gone")
        return "done"

    async with open_house(tmp_path, script) as house:
        method = {"while it is stored": "add_question", "while it is shown": "add_outbound"}.get(when)
        if method is not None:
            house.flaky.holds[method] = anyio.Event()
        row = await house.say("go", channel="tg")
        await anyio.sleep(3)
        if method is not None:
            house.flaky.holds.pop(method).set()
        if when == "while it waits its turn":
            await house.say("1", channel="tg")
        with anyio.fail_after(5):
            await house.ended(row)
        assert told == [None]
        assert await house.store.pending_questions(limit=10) == []
        stored = [each for each in await house.store.questions_of(f"turn-{row.id}") if each.question.ref == "q1"]
        assert len(stored) == (1 if method else 0)
        asked = [prompt for prompt in await house.screen(TG_USER) if "Why?" in text(prompt)]
        assert all(buttons(prompt) == [] for prompt in asked)


# --- Restarts


async def test_asked_and_not_shown_before_a_crash(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        house.flaky.refuses.add("add_outbound")
        row = await house.say("go")
        question = await open_question(house)
        assert house.texts == []
    async with open_house(tmp_path, script) as house:
        assert (await open_question(house)).id == question.id
        assert len(await house.screen(USER)) == 1
        await house.say("because")
        await house.ended(row)
        assert script.answers == [("because",)]


async def test_shown_before_a_crash_is_not_shown_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHERE)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go", channel="tg")
        question = await open_question(house)
        await house.send_all()
        prompt = await only_prompt(house, TG_USER)
    async with open_house(tmp_path, script) as house:
        assert (await open_question(house)).id == question.id
        await only_prompt(house, TG_USER)
        await house.press(prompt, "0", by="7")
        await house.ended(row)
        assert script.answers == [("North",)]


@pytest.mark.parametrize("known", ["lost", "running"])
async def test_answered_before_a_crash_and_not_handed_over(tmp_path: Path, autojump_clock: MockClock, known: str) -> None:
    """Asked again by the same turn, it is answered from the store, and its prompt is closed."""
    script = Curious(replace(WHERE, ref="q1") if known == "running" else WHERE)
    agents = ScriptedAgents(script)
    agents.known = known  # type: ignore[assignment]
    async with open_house(tmp_path, script, agents=agents) as house:
        row = await house.say("go", channel="tg")
        question = await open_question(house)
        await house.send_all()
        prompt = await only_prompt(house, TG_USER)
        house.flaky.refuses.add("end_question")
        press = await house.press(prompt, "1", by="7")
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store:  # the last that the process did
        assert await store.end_question(question.id, "answered", now=now(), answers=("South",), by="tg:7", inbound_ids=[press.id])
    for _ in range(2):
        async with open_house(tmp_path, script, agents=agents) as house:
            await house.ended(row)
            assert script.answers == [("South",)]
            assert await house.reason_of(press) == ("done", "answer")
            prompt = (await house.screen(TG_USER))[0]
            assert "**Answer**: South" in text(prompt)
            edits = [
                row for row in await house.store.outbound_by("subject", prompt.subject or "") if isinstance(row.payload, EditText)
            ]
            assert len(edits) == 1


@pytest.mark.parametrize("answered", [True, False])
async def test_what_one_agent_was_answered_another_one_is_not(answered: bool, tmp_path: Path, autojump_clock: MockClock) -> None:
    """Where the configuration of the next start gives the message to another agent, which asks the very same."""
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        first = await open_question(house)
        house.flaky.refuses.add("end_inbound")
        if answered:
            assert await house.questions.decide(first.id, ("for the first",), by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
    config = configuration()
    config = replace(config, agents=(AgentSettings("other", config.agents[0].frame, AgentFrame()),))
    script.answers.clear()
    async with open_house(tmp_path, script, config=config) as house:
        await trio.sleep(1)
        assert script.answers == []
        second = await open_question(house)
        assert second.id != first.id
        assert await state_of(house, first) == ("answered" if answered else "withdrawn")
        assert await house.questions.decide(second.id, ("for the other",), by="operator:me")
        await house.ended(row)
        assert script.answers == [("for the other",)]


async def test_a_message_that_came_while_the_daemon_was_down_is_the_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        house.flaky.refuses.add("end_question")
        answering = await house.say("because")  # journaled, and no more than that
    async with open_house(tmp_path, script) as house:
        with anyio.fail_after(10):
            assert (await house.ended(answering)).reason == "answer", "who waits for its end hears of it"
        await house.ended(row)
        assert script.answers == [("because",)]
        assert [turn.request.text for turn in house.agents.turns] == ["go"]
        assert house.backlog.waiting == 0


async def test_what_was_said_before_the_question_is_no_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = anyio.Event()

    class Slow(Curious):
        async def __call__(self, turn: Turn) -> str:
            await gate.wait()
            return await super().__call__(turn)

    script = Slow(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        before = await house.say("and mind the gap")
        await anyio.sleep(1)
        gate.set()
        question = await open_question(house)
        assert await state_of(house, question) == "pending"
        await house.say("because")
        await house.ended(row)
        assert script.answers == [("because",)]
        assert (await house.ended(before)).reason == "answered"


async def test_a_lost_turn_that_asks_under_another_id_asks_anew(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Curious(replace(WHY, ref="q1"))) as house:
        await house.say("go", channel="tg")
        old = await open_question(house)
    script = Curious(replace(WHY, ref="q2"))
    async with open_house(tmp_path, script) as house:
        new = await open_question(house)
        assert new.id != old.id
        assert await state_of(house, old) == "withdrawn"
        assert [buttons(prompt) for prompt in await house.screen(TG_USER)] == [[], ["Skip"]]


async def test_a_question_of_a_turn_that_is_over_is_withdrawn_at_the_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Curious(WHY)) as house:
        row = await house.say("go")
        question = await open_question(house)
        # As after a crash between the end of the turn and that of its question.
        await house.store.end_inbound([row.id], state="done", reason="answered", now=0.0)
    async with open_house(tmp_path, Curious(WHY)) as house:
        assert await state_of(house, question) == "withdrawn"


async def test_asked_again_under_its_id_in_one_run_it_is_one_question(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(replace(WHY, ref="q1"), replace(WHY, ref="q1"), replace(WHY, ref="q2"))
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        await house.ended(await house.say("because"))
        await house.ended(await house.say("and again"))
        await house.ended(row)
        assert script.answers == [("because",), ("because",), ("and again",)]
