"""Whose message answers a question: in a group only that of those who were asked, and by no connector but the one that asked."""

from pathlib import Path

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.approvals.question_prompts import may_answer
from gatewayd.hub.inbox.inbox import NOT_YOURS
from gatewayd.model.config import GroupRules, SessionsSection
from gatewayd.model.message.envelope import Peer, Sender, Writer
from tests.hub.approvals.approvers import only_prompt
from tests.hub.curious import WHERE, WHY, Curious, open_question, state_of
from tests.hub.house import OPEN, configuration, message, open_house

GROUP = Peer("group", "-5")
ANN, BOB = Sender("1"), Sender("2")
CONNECTOR, OTHER = "connector:one", "connector:two"


async def test_in_a_group_only_who_was_asked_answers(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go", peer=GROUP, sender=ANN)
        question = await open_question(house)
        beside = await house.say("what a day", peer=GROUP, sender=BOB)
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == "pending"
        await house.say("because", peer=GROUP, sender=ANN)
        assert [(await house.ended(each)).reason for each in (row, beside)] == ["answered", "answered"]
        assert script.answers == [("because",)]
        assert (await house.questions.get(question)).answered_by == "chat:1"
        assert [turn.request.text for turn in house.agents.turns] == ["go", "what a day"], "it is a message of its own"


async def test_of_a_turn_of_several_writers_each_may_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    config = configuration(sessions=SessionsSection(queue_mode="collect"))
    async with open_house(tmp_path, script, config=config) as house:
        first = message("go", peer=GROUP, sender=ANN)
        await house.inbox.deliver([first, message("now", peer=GROUP, sender=BOB)])
        question = await open_question(house)
        await house.ended(await house.say("because", peer=GROUP, sender=ANN))
        assert await state_of(house, question) == "answered"


async def test_a_press_by_somebody_else_is_answered_in_words_and_disturbs_nothing(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    script = Curious(WHERE)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go", peer=GROUP, sender=ANN, channel="tg")
        question = await open_question(house)
        await house.send_all()
        prompt = await only_prompt(house, "tg:main:group:-5")
        press = await house.press(prompt, "0", by="2")
        assert (await house.ended(press)).reason == "not_asked", "at once, and not behind the turn that waits"
        assert house.answers() == [NOT_YOURS]
        assert await state_of(house, question) == "pending"
        await house.press(prompt, "1", by="1")
        await house.ended(row)
        assert script.answers == [("South",)]
        assert house.answers() == [NOT_YOURS, ""]
        assert house.backlog.waiting == 0


async def test_a_connector_does_not_answer_what_a_user_was_asked(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Curious(WHY)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        question = await open_question(house)
        brought = await house.say("sneaky", via=CONNECTOR)
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == "pending"
        await house.say("because")
        await house.ended(row)
        assert script.answers == [("because",)]
        assert (await house.ended(brought)).reason == "answered"


@pytest.mark.parametrize(("via", "answers"), [(CONNECTOR, True), (OTHER, False), (None, True)])
async def test_what_was_asked_through_a_connector_is_answered_through_it_or_in_the_chat(
    tmp_path: Path, autojump_clock: MockClock, via: str | None, *, answers: bool
) -> None:
    async with open_house(tmp_path, Curious(WHY)) as house:
        await house.say("go", via=CONNECTOR)
        question = await open_question(house)
        await house.say("because", via=via)
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == ("answered" if answers else "pending")


@pytest.mark.parametrize(
    ("sender", "reply", "answers"),
    [
        (Sender("9"), True, True),
        (Sender("9"), False, False),
        (Sender("5"), True, True),
        (BOB, True, False),
        (ANN, False, True),
    ],
)
async def test_who_may_act_for_others_answers_by_a_reply(
    tmp_path: Path, autojump_clock: MockClock, sender: Sender, *, reply: bool, answers: bool
) -> None:
    """9 is an operator of the account, 5 one of the group's commanders."""
    frame = replace(OPEN, operators=("9",), groups={"-5": GroupRules(commands=("5",))})
    async with open_house(tmp_path, Curious(WHY), config=configuration(frame=frame)) as house:
        await house.say("go", peer=GROUP, sender=ANN)
        question = await open_question(house)
        await house.send_all()
        [shown] = await house.store.outbound_by("subject", question.id)
        said = await house.say("because", peer=GROUP, sender=sender, reply_to=f"m{shown.id}" if reply else None)
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == ("answered" if answers else "pending")
        assert (await house.reason_of(said))[1] == ("answer" if answers else None)


async def test_a_reply_to_a_question_that_was_shown_before_a_restart_counts(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(frame=replace(OPEN, operators=("9",)))
    async with open_house(tmp_path, Curious(WHY), config=config) as house:
        await house.say("go", peer=GROUP, sender=ANN)
        question = await open_question(house)
        await house.send_all()
        [shown] = await house.store.outbound_by("subject", question.id)
    async with open_house(tmp_path, Curious(WHY), config=config) as house:
        await anyio.sleep(100)
        await house.say("because", peer=GROUP, sender=Sender("9"), reply_to=f"m{shown.id}")
        await trio.testing.wait_all_tasks_blocked()
        assert await state_of(house, question) == "answered"


async def test_an_operator_may_press_for_others(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(frame=replace(OPEN, operators=("9",)))
    async with open_house(tmp_path, Curious(WHERE), config=config) as house:
        await house.say("go", peer=GROUP, sender=ANN, channel="tg")
        question = await open_question(house)
        await house.send_all()
        await house.press(await only_prompt(house, "tg:main:group:-5"), "1", by="9")
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.questions.get(question)).answers == ("South",)


NAMES = st.sampled_from([None, CONNECTOR, OTHER])
AUTHORS = st.builds(Writer, st.sampled_from(["1", "2"]), NAMES)
KINDS = st.sampled_from(["dm", "group"])


@given(st.lists(AUTHORS, min_size=1, max_size=3), AUTHORS, KINDS, st.booleans(), st.booleans())
def test_nobody_answers_who_was_not_asked(writers: list[Writer], author: Writer, kind: str, reply: bool, operator: bool) -> None:
    sender, via = author.id, author.via
    peer = Peer("dm", "7") if kind == "dm" else GROUP
    said = message(peer=peer, sender=Sender(sender), via=via, reply_to="m1" if reply else None)
    frame = replace(OPEN, operators=(sender,) if operator else ())
    may = may_answer(said, frame, writers, {"m1"})
    if via is not None and all(writer.via != via for writer in writers):
        assert not may, "no connector answers for another, or for the platform"
    elif kind == "dm":
        assert may
    else:
        assert may == (author in writers or (operator and reply and via is None))
