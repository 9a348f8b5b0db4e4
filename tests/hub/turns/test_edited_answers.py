"""An answer that is edited: the newest text is the answer, and no edit is a turn, whatever happens in between."""

import tempfile
from pathlib import Path

import anyio
import trio
from hypothesis import event, example, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import QueueMode, SessionsSection
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.store import InboundRow
from tests.examples import examples
from tests.hub.curious import WHY, Curious, open_question
from tests.hub.house import House, configuration, message, open_house


def edited(first: InboundEnvelope, text: str) -> InboundEnvelope:
    return replace(first, event_key=f"{first.event_key}/{text}", kind="edit", text=text)


async def test_an_answer_that_was_edited_while_the_daemon_was_down(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        house.flaky.refuses.add("end_question")
        first = message("becuase")
        answer, edit = await house.inbox.deliver([first, edited(first, "because")])  # journaled, and no more than that
    async with open_house(tmp_path, script) as house:
        ends = [await house.ended(each) for each in (row, answer, edit)]
        assert [end.reason for end in ends] == ["answered", "answer", "answer"]
        assert script.answers == [("because",)]
        assert [turn.request.text for turn in house.agents.turns] == ["go"]
        assert house.backlog.waiting == 0


async def test_an_answer_that_is_edited_into_a_command_is_an_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        house.flaky.refuses.add("end_question")
        first = message("because")
        rows = await house.inbox.deliver([first, edited(first, "/skip")])
        await anyio.sleep(0.5)
        house.flaky.refuses.clear()
        assert [(await house.ended(each)).reason for each in (row, *rows)] == ["answered", "answer", "answer"]
        assert script.answers == [("/skip",)]


async def test_an_edit_that_comes_after_the_commit_changes_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        gate = house.flaky.holds["end_question"] = anyio.Event()
        first = message("because")
        [answer] = await house.inbox.deliver([first])
        await trio.testing.wait_all_tasks_blocked()
        [edit] = await house.inbox.deliver([edited(first, "becoz")])
        gate.set()
        assert [(await house.ended(each)).reason for each in (row, answer, edit)] == ["answered", "answer", "edited_after_answer"]
        assert script.answers == [("because",)]
        assert house.backlog.waiting == 0


async def test_an_edit_that_comes_before_its_message_changes_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        first = message("because")
        edit, answer = await house.inbox.deliver([edited(first, "becoz"), first])
        assert [(await house.ended(each)).reason for each in (row, answer, edit)] == ["answered", "answer", "edited_after_answer"]
        assert script.answers == [("because",)]


async def test_an_edited_answer_that_is_too_late_is_a_message_with_its_newest_text(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        house.flaky.refuses.add("end_question")
        first = message("becuase")
        [answer] = await house.inbox.deliver([first])
        await anyio.sleep(0.5)
        # The operator was faster.
        await house.flaky._store.end_question(question.id, "answered", now=1.0, answers=("no",), by="operator:me")
        [edit] = await house.inbox.deliver([edited(first, "because")])
        house.flaky.refuses.clear()
        assert [(await house.ended(each)).reason for each in (row, answer, edit)] == ["answered"] * 3
        assert [turn.request.text for turn in house.agents.turns] == ["go", "because"]
        assert house.backlog.waiting == 0


STEPS = ("edit", "edit", "refuse", "accept", "wait", "other")
LIVES = st.lists(st.lists(st.sampled_from(STEPS), max_size=4), min_size=1, max_size=3)


@given(LIVES, st.sampled_from(["queue", "collect"]))
@settings(max_examples=examples(20))
@example([["edit"], []], "queue")
@example([["edit", "accept"]], "queue")
@example([["edit", "other"], ["edit"]], "collect")
def test_the_newest_text_is_the_answer_and_no_edit_is_a_turn(lives: list[list[str]], mode: QueueMode) -> None:
    """Each list is a life of the daemon, which ends with a kill."""
    trio.run(play, lives, mode, clock=MockClock(autojump_threshold=0))


async def play(lives: list[list[str]], mode: QueueMode) -> None:
    config = configuration(sessions=SessionsSection(queue_mode=mode))
    script, first = Curious(WHY), message("text 0")
    told: list[InboundRow] = []
    others: list[InboundRow] = []
    with tempfile.TemporaryDirectory() as folder:
        for number, steps in enumerate(lives, 1):
            async with open_house(Path(folder), script, config=config) as house:
                if not told:
                    await house.say("go")
                    await open_question(house)
                    house.flaky.refuses.add("end_question")
                    told += await house.inbox.deliver([first])
                for step in steps:
                    await take(house, step, first, told, others)
                    await trio.testing.wait_all_tasks_blocked()
                if number == len(lives):
                    house.flaky.refuses.clear()
                    await anyio.sleep(10)
                    await check(house, script, told, others)


async def take(house: House, step: str, first: InboundEnvelope, told: list[InboundRow], others: list[InboundRow]) -> None:
    if step == "edit":
        told += await house.inbox.deliver([edited(first, f"text {len(told)}")])
    elif step == "refuse":
        house.flaky.refuses.add("end_question")
    elif step == "accept":
        house.flaky.refuses.clear()
        await anyio.sleep(2)
    elif step == "wait":
        await anyio.sleep(2)
    else:
        others += await house.inbox.deliver([message("by the way")])


async def check(house: House, script: Curious, told: list[InboundRow], others: list[InboundRow]) -> None:
    ends = [await house.reason_of(row) for row in told]
    counted = [end for end in ends if end == ("done", "answer")]
    event(f"edits that count: {len(counted) - 1}")
    assert counted
    assert ends == [*counted, *[("dropped", "edited_after_answer")] * (len(ends) - len(counted))]
    assert script.answers[-1] == (told[len(counted) - 1].envelope.text,)
    texts = [turn.request.text for turn in house.agents.turns]
    assert not any("text" in text for text in texts), "neither the answer nor an edit of it is a turn"
    assert {await house.reason_of(row) for row in others} <= {("done", "answered")}
    assert house.backlog.waiting == 0
