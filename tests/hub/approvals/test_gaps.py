"""What waits for a press is shown anew after a gap in which presses were lost: durably, boundedly, and as the same request."""

from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.approvals.shown import SHOWN_ANEW_MAX, is_due, prompts_of
from gatewayd.model.config import AgentApprovals, ApprovalsSection, ApproverGroup, GatewayConfig
from gatewayd.model.lifecycle import OUTBOUND, OutboundState
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, OutboundPayload, RichText, SendText
from gatewayd.ports.store import OutboundRow
from tests.hub.approvals.approvers import buttons, text
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.curious import WHERE, Curious, open_question, state_of
from tests.hub.house import FORGETS, House, configuration, open_house

CHAT, USER = "deaf:main:group:-100", "deaf:main:dm:7"
ANEW = "Asked again below: a press may have been lost."
ANSWERS = ["Allow once", "Deny", "Allow for this session: exactly this input"]


def asking(channel: str = "deaf", **policy: object) -> GatewayConfig:
    team = ApproverGroup(people=(f"{channel}:1", f"{channel}:2"), chats=(f"{channel}:main:group:-100",))
    section = ApprovalsSection(timeout_seconds=100_000, groups={"team": team})
    agent = AgentApprovals(ask=("team",), escalate_after_seconds=90_000, **policy)  # type: ignore[arg-type]
    return configuration(approvals=section, policy=agent, channels=("chat", channel))


async def gap(house: House, channel: str = "deaf") -> None:
    """Time passes, and the account is connected again."""
    await trio.sleep(60)
    house.gateway.gaps.note_end(channel, "main")
    await trio.testing.wait_all_tasks_blocked()


async def test_a_request_that_waits_is_shown_anew_and_either_prompt_decides_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    for pressed in (0, 1):
        tool = Tool(RM)
        async with open_house(tmp_path / str(pressed), tool, config=asking()) as house:
            row = await house.say("go")
            approval = await pending(house)
            await house.send_all()
            await gap(house)
            old, new = await house.screen(CHAT)
            assert (ANEW in text(old), ANEW in text(new)) == (True, False)
            assert "rm -rf ./x" in text(new)
            assert (buttons(old), buttons(new)) == (ANSWERS, ANSWERS)
            assert new.subject == approval.id
            await house.send_all()
            await house.press((old, new)[pressed], "once")
            assert (await house.ended(row)).reason == "answered"
            late = await house.press((new, old)[pressed], "once", by="2")
            assert (await house.ended(late)).reason == "approval_refused_late"
            assert tool.ran == [RM]
            assert [(text(each).partition("\n")[0], buttons(each)) for each in await house.screen(CHAT)] == [
                ("**shell**: **Allowed** by deaf:1.", [])
            ] * 2


async def test_one_gap_shows_it_once_and_many_gaps_a_few_times(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        await house.say("go")
        await pending(house)
        await gap(house)
        assert len(await house.screen(CHAT)) == 1, "it was not sent yet"
        await house.send_all()
        house.gateway.gaps.note_end("deaf", "main")
        house.gateway.gaps.note_end("deaf", "main")
        await trio.testing.wait_all_tasks_blocked()
        assert len(await house.screen(CHAT)) == 1, "it was sent when the gap was over"
        for shown in [2, 3, 4, 4, 4]:
            await gap(house)
            await gap(house)
            assert len(await house.screen(CHAT)) == shown, "one that was not sent is not shown once more"
            await house.send_all()
        assert shown == 1 + SHOWN_ANEW_MAX
        assert [ANEW in text(each) for each in await house.screen(CHAT)] == [True] * SHOWN_ANEW_MAX + [False]


async def test_a_crash_in_the_middle_leaves_one_new_prompt_for_each_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
    for _ in range(3):  # each of these dies after the commit, and before the first send
        async with open_house(tmp_path, tool, config=asking()) as house:
            await gap(house)
            assert [ANEW in text(each) for each in await house.screen(CHAT)] == [True, False]
    async with open_house(tmp_path, tool, config=asking()) as house:
        await house.send_all()
        _, new = await house.screen(CHAT)
        await house.press(new, "once")
        assert (await house.ended(row)).reason == "answered"
        assert tool.ran == [RM]


async def test_what_was_decided_meanwhile_is_not_shown_anew(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await house.ended(row)
        await house.send_all()
        await gap(house)
        assert len(await house.screen(CHAT)) == 1


async def test_a_decision_at_the_same_moment_is_shown_in_both(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        house.flaky.holds["add_outbound"] = anyio.Event()
        await gap(house)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: house.desk.decide(approval.id, allow=True, by="operator:me"))
            await trio.testing.wait_all_tasks_blocked()
            house.flaky.holds.pop("add_outbound").set()
        await house.ended(row)
        assert [("Allowed" in text(each), buttons(each)) for each in await house.screen(CHAT)] == [(True, [])] * 2


async def test_a_platform_that_repeats_presses_is_shown_nothing_anew(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("tg")) as house:
        await house.say("go")
        await pending(house)
        await house.send_all()
        await gap(house, "tg")
        assert len(await house.screen("tg:main:group:-100")) == 1


async def test_a_disk_that_is_full_is_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        await house.say("go")
        await pending(house)
        await house.send_all()
        house.flaky.refuses.add("add_outbound")
        await gap(house)
        assert len(await house.screen(CHAT)) == 1
        house.flaky.refuses.clear()
        await trio.sleep(60)
        assert len(await house.screen(CHAT)) == 2


async def test_a_new_prompt_that_is_refused_takes_nothing_from_the_old_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        await gap(house)
        old, new = await house.screen(CHAT)
        await house.lose(new)
        await house.send_all()
        assert (await pending(house)).state == "pending"
        await house.press(old, "once")
        assert (await house.ended(row)).reason == "answered"
        assert tool.ran == [RM]
        assert "**Allowed**" in text((await house.screen(CHAT))[0])


async def test_a_vote_is_shown_in_the_newest_prompt(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking(quorum=2)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        await gap(house)
        await house.send_all()
        old, new = await house.screen(CHAT)
        await house.press(old, "once")
        await trio.testing.wait_all_tasks_blocked()
        old, new = await house.screen(CHAT)
        assert (ANEW in text(old), "1 of 2 have allowed it" in text(new), buttons(new)) == (True, True, ANSWERS)
        await house.press(old, "once", by="2")
        assert (await house.ended(row)).reason == "answered"


async def test_a_press_under_another_message_is_forged_all_the_same(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        await house.say("go")
        await pending(house)
        await house.send_all()
        await gap(house)
        await house.send_all()
        old, _ = await house.screen(CHAT)
        press = await house.press(old, "once", message_id="m999")
        assert (await house.ended(press)).reason == "approval_refused_forged"


@pytest.mark.parametrize("pressed", [0, 1])
async def test_a_question_is_shown_anew_and_answered_once(tmp_path: Path, autojump_clock: MockClock, pressed: int) -> None:
    script = Curious(WHERE)
    async with open_house(tmp_path, script, config=configuration(channels=("deaf",))) as house:
        row = await house.say("go", channel="deaf")
        question = await open_question(house)
        await house.send_all()
        await gap(house)
        await gap(house)
        await house.send_all()
        old, new = await house.screen(USER)
        assert (ANEW in text(old), "1. North" in text(new)) == (True, True)
        assert buttons(old) == buttons(new) == ["North", "South", "Skip"]
        await house.press((old, new)[pressed], "1", by="7")
        await house.ended(row)
        assert (script.answers, await state_of(house, question)) == ([("South",)], "answered")
        old, new, _ = await house.screen(USER)
        assert [(text(each), buttons(each)) for each in (old, new)] == [("Where to?\n\n**Answer**: South", [])] * 2
        await house.send_all()
        await gap(house)
        assert len(await house.screen(USER)) == 3


async def test_a_question_is_shown_anew_before_its_turn_runs_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    script, config = Curious(WHERE), configuration(channels=("deaf",))
    async with open_house(tmp_path, script, config=config) as house:
        row = await house.say("go", channel="deaf")
        await open_question(house)
        await house.send_all()
    async with open_house(tmp_path, script, config=config) as house:
        await gap(house)
        await house.send_all()
        _, new = await house.screen(USER)
        await house.press(new, "0", by="7")
        await house.ended(row)
        assert script.answers == [("North",)]


STATES: Sequence[OutboundState] = tuple(OUTBOUND.stages)
CHOICES = ((Choice("Yes", "ap:1:once"),),)


@given(
    st.lists(
        st.tuples(st.sampled_from("ab"), st.sampled_from(["prompt", "edit", "outcome"]), st.sampled_from(STATES)), max_size=12
    )
)
def test_what_is_due_is_a_newest_prompt_that_was_seen_with_buttons(told: list[tuple[str, str, OutboundState]]) -> None:
    rows = [_row(number, *one) for number, one in enumerate(told)]
    for chat, prompts in prompts_of(rows).items():
        mine = [row for row in rows if row.conversation == chat]
        assert prompts[0] is mine[0]
        assert all(isinstance(row.payload, SendText) and row.payload.choices for row in prompts[1:])
        due = is_due(prompts, before=1000.0)
        assert due == (
            prompts[-1].state in ("sending", "sent", "unknown")
            and prompts[-1].payload.choices == CHOICES
            and len(prompts) <= SHOWN_ANEW_MAX
        )
        assert not is_due([*prompts[:-1], replace(prompts[-1], sending_at=1000.0)], before=1000.0)


def _row(number: int, chat: str, kind: str, state: OutboundState) -> OutboundRow:
    peer, body = Peer("dm", chat), RichText("?")
    payload: OutboundPayload = EditText(peer, body, of=0, choices=CHOICES)
    if kind != "edit":
        payload = SendText(peer, body, choices=CHOICES if kind == "prompt" else ())
    return OutboundRow(number, FORGETS.id, "main", chat, payload, state, 1, 1.0, sending_at=float(number))
