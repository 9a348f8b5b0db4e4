"""Questions of agents: the next message or press is the answer, and an answer is never a turn as well."""

from pathlib import Path

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.approvals.question_prompts import answers_of
from gatewayd.model.config import ApprovalsSection, QueueMode, SessionsSection
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.question import Option, Question, QuestionRow
from gatewayd.ports.agent import Turn
from tests.hub.approvals.approvers import buttons, only_prompt, text
from tests.hub.curious import TG_USER, WHERE, WHY, Curious, open_question, state_of
from tests.hub.house import Gate, configuration, message, open_house

# --- Answers


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("1", ("North",)),
        ("south", ("South",)),
        (" South ", ("South",)),
        ("3", ("3",)),
        ("0", ("0",)),
        ("-1", ("-1",)),
        ("straight on, then left", ("straight on, then left",)),
        ("/skip", None),
        ("/Skip", None),
    ],
)
async def test_the_next_message_is_the_answer(
    tmp_path: Path, autojump_clock: MockClock, said: str, answer: tuple[str, ...] | None
) -> None:
    script = Curious(WHERE)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        assert house.texts[0].startswith("Where to?\n1. North – over the hill\n2. South\n\n")
        answering = await house.ended(await house.say(said))
        assert (answering.state, answering.reason) == ("done", "answer")
        await house.ended(row)
        assert script.answers == [answer]
        assert await state_of(house, question) == ("answered" if answer else "dismissed")
        assert len(house.agents.turns) == 1, "an answer is no turn"
        assert house.backlog.waiting == 0


@pytest.mark.parametrize(
    ("said", "answer"),
    [
        ("1, 2", ("North", "South")),
        ("2", ("South",)),
        ("north,, up", ("North", "up")),
        (" , ", None),
        ("12345,１", ("12345", "North")),  # a full-width digit is a digit
    ],
)
def test_several_answers_stand_between_commas(said: str, answer: tuple[str, ...] | None) -> None:
    assert answers_of(_row(replace(WHERE, multiple=True)), message(said)) == answer


@pytest.mark.parametrize(
    ("data", "answer"),
    [("0", ("North",)), ("1", ("South",)), ("2", None), ("skip", None), ("-1", None), ("", None), ("9" * 50, None), ("x", None)],
)
def test_what_a_press_says(data: str, answer: tuple[str, ...] | None) -> None:
    assert answers_of(_row(WHERE), message(f"qu:qu_1:{data}", kind="button")) == answer


def _row(question: Question) -> QuestionRow:
    return QuestionRow("qu_1", "t", 0, "s", question, "pending", 0, 1)


async def test_buttons_answer_and_disappear(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHERE)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go", channel="tg")
        await open_question(house)
        await house.send_all()
        prompt = await only_prompt(house, TG_USER)
        assert buttons(prompt) == ["North", "South", "Skip"]
        press = await house.press(prompt, "1", by="7")
        await house.ended(row)
        assert script.answers == [("South",)]
        assert await house.reason_of(press) == ("done", "answer")
        assert house.answers() == [""]
        prompt, _ = await house.screen(TG_USER)
        assert text(prompt) == "Where to?\n\n**Answer**: South"
        assert len(await house.store.outbound_by("subject", prompt.subject or "")) == 2, "rewritten once"
        assert buttons(prompt) == []


async def test_several_answers_have_no_buttons_but_skip(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Curious(replace(WHERE, multiple=True))) as house:
        await house.say("go", channel="tg")
        await open_question(house)
        prompt = await only_prompt(house, TG_USER)
        assert buttons(prompt) == ["Skip"]
        assert "with commas between them" in text(prompt)
        await house.send_all()
        await house.press(prompt, "skip", by="7")
        await trio.testing.wait_all_tasks_blocked()
        assert "**Skipped.**" in text((await house.screen(TG_USER))[0])


async def test_a_button_always_has_a_text_that_can_be_read(tmp_path: Path, autojump_clock: MockClock) -> None:
    odd = Question("Which?", (Option(""), Option("\u202eabc"), Option("x" * 100), Option(" \n")))
    async with open_house(tmp_path, Curious(odd)) as house:
        await house.say("go", channel="tg")
        await open_question(house)
        assert buttons(await only_prompt(house, TG_USER)) == ["1", "\\u{202e}abc", "x" * 60, "4", "Skip"]


async def test_half_a_character_is_asked_all_the_same(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(Question("Wh\ud800y?", (Option("b\udfffc"),)))
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await open_question(house)
        await house.say("1")
        assert (await house.ended(row)).reason == "answered"
        assert script.answers == [("b\ufffdc",)]


async def test_questions_at_once_are_asked_one_after_the_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    told: dict[str, tuple[str, ...] | None] = {}

    async def script(turn: Turn) -> str:
        async def ask(question: Question) -> None:
            told[question.text] = await turn.question(question)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, WHY)
            await anyio.sleep(1)
            tasks.start_soon(ask, WHERE)
        return "done"

    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await anyio.sleep(2)
        await open_question(house)
        assert [said[:4] for said in house.texts] == ["Why?"]
        await house.ended(await house.say("because"))
        await house.ended(await house.say("2"))
        await house.ended(row)
        assert told == {"Why?": ("because",), "Where to?": ("South",)}


# --- What is no answer


async def test_another_chats_message_is_no_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Two chats of one session: the answer has to come from where the question was asked."""
    script = Curious(WHY)
    config = configuration(sessions=SessionsSection(dm_scope="main"))
    async with open_house(tmp_path, script, config=config) as house:
        row = await house.say("go")
        await open_question(house)
        other = await house.say("hello", peer=Peer("dm", "8"))
        await open_question(house)
        await house.say("because")
        await house.ended(row)
        assert script.answers == [("because",)]
        assert (await house.ended(other)).reason == "answered"
        assert [turn.request.text for turn in house.agents.turns] == ["go", "hello"]


async def test_two_lanes_have_their_own_questions(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    eight = Peer("dm", "8")
    async with open_house(tmp_path, script) as house:
        rows = [await house.say("go"), await house.say("go", peer=eight)]
        await trio.testing.wait_all_tasks_blocked()
        assert len(await house.store.pending_questions(limit=10)) == 2
        await house.ended(await house.say("eight's", peer=eight))
        await house.ended(rows[1])
        assert script.answers == [("eight's",)]
        await house.ended(await house.say("seven's"))
        await house.ended(rows[0])
        assert script.answers == [("eight's",), ("seven's",)]


async def test_a_second_message_is_not_the_answer_too(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        await house.say("go")
        await open_question(house)
        first, second = await house.inbox.deliver([message("one"), message("two")])
        assert (await house.ended(first)).reason == "answer"
        assert (await house.ended(second)).reason == "answered"
        assert script.answers == [("one",)]
        assert [turn.request.text for turn in house.agents.turns] == ["go", "two"]


@pytest.mark.parametrize("said", ["/new", "/status"])
async def test_a_command_is_no_answer(tmp_path: Path, autojump_clock: MockClock, said: str) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        command = await house.say(said)
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == "pending"
        await house.say("because")
        await house.ended(row)
        assert (await house.ended(command)).reason == "command"
        assert script.answers == [("because",)]


@pytest.mark.parametrize("kind", ["edit", "membership"])
async def test_only_a_message_or_a_press_is_an_answer(tmp_path: Path, autojump_clock: MockClock, kind: str) -> None:
    async with open_house(tmp_path, Curious(WHY)) as house:
        await house.say("go")
        question = await open_question(house)
        await house.ended(await house.say("because", kind=kind))
        assert await state_of(house, question) == "pending"


async def test_an_attachment_without_a_word_is_no_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Curious(WHY)) as house:
        await house.say("go")
        question = await open_question(house)
        waits = await house.say("  ")
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == "pending"
        await house.say("because")
        assert (await house.ended(waits)).reason == "answered", "it had its own turn"


@pytest.mark.parametrize("mode", ["queue", "collect", "interrupt"])
async def test_a_late_press_is_dropped_with_a_reason_and_disturbs_nothing(
    tmp_path: Path, autojump_clock: MockClock, mode: QueueMode
) -> None:
    script = Curious(WHERE, WHY)
    async with open_house(tmp_path, script, config=configuration(sessions=SessionsSection(queue_mode=mode))) as house:
        row = await house.say("go", channel="tg")
        await open_question(house)
        await house.send_all()
        old = await only_prompt(house, TG_USER)
        await house.press(old, "0", by="7")
        second = await open_question(house)
        late = await house.press(old, "1", by="7")
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, second) == "pending", "a press under another question is no answer to this one"
        await house.ended(await house.say("because", channel="tg"))
        assert (await house.ended(row)).reason == "answered"
        assert script.answers == [("North",), ("because",)]
        await house.ended(late)
        assert await house.reason_of(late) == ("dropped", "late_press")
        again = await house.ended(await house.press(old, "1", by="7"))
        assert (again.state, again.reason) == ("dropped", "late_press")
        assert len(house.agents.turns) == 1
        assert house.answers() == ["", "", ""]


async def test_a_late_press_between_messages_is_no_part_of_them(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    config = configuration(sessions=SessionsSection(queue_mode="collect"))
    async with open_house(tmp_path, gate, config=config) as house:
        first = await house.say("first")
        await trio.testing.wait_all_tasks_blocked()
        late = message("qu:qu_0:1", kind="button", press="p")
        rows = await house.inbox.deliver([message("a"), message("b"), late, message("c"), message("d")])
        gate.gate.set()
        reasons = [(await house.ended(row)).reason for row in [first, *rows]]
        assert reasons == ["answered", "answered", "answered", "late_press", "answered", "answered"]
        assert [turn.request.text for turn in house.agents.turns] == ["first", "a\n\nb", "c\n\nd"]


async def test_a_press_that_was_missed_at_first_answers_a_question_that_is_still_open(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Curious(WHERE)) as house:
        row = await house.say("go")
        question = await open_question(house)
        press = await house.ended(await house.say(f"qu:{question.id}:0", kind="button", press="p", missed=True))
        assert (press.reason, (await house.ended(row)).reason) == ("answer", "answered")


@pytest.mark.parametrize("mode", ["collect", "interrupt"])
async def test_an_answer_neither_interrupts_nor_is_collected(tmp_path: Path, autojump_clock: MockClock, mode: QueueMode) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script, config=configuration(sessions=SessionsSection(queue_mode=mode))) as house:
        row = await house.say("go")
        await open_question(house)
        rows = await house.inbox.deliver([message("because"), message("and then"), message("that")])
        ends = [await house.ended(each) for each in [row, *rows]]
        told = {"collect": "answered", "interrupt": "interrupted"}[mode]
        assert [end.reason for end in ends] == [told, "answer", "answered", "answered"]
        assert [turn.request.text for turn in house.agents.turns] == ["go", "and then\n\nthat"]


async def test_more_questions_than_may_be_open_are_not_asked(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def ask(turn: Turn) -> str:
        return str(await turn.question(Question("which?")))

    config = configuration(approvals=ApprovalsSection(max_pending=2))
    async with open_house(tmp_path, ask, config=config) as house:
        rows = []
        for number in range(3):
            rows.append(await house.say("ask", peer=Peer("dm", str(number))))
            await trio.testing.wait_all_tasks_blocked()  # turns that begin at once ask in any order
        await house.ended(rows[2])
        assert house.texts.count("None") == 1
        await house.send_all()
        await house.say("this", peer=Peer("dm", "0"))
        await house.ended(rows[0])
        assert house.texts[-1] == "('this',)"
        await house.say("ask", peer=Peer("dm", "3"))
        await house.send_all()
        assert sum(said.startswith("which?") for said in house.texts) == 3
