"""Answers from chats: who may, from where, once, in time; everybody else is refused, answered and written down."""

from pathlib import Path

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import AccountFrame
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import PressAnswer, RichText, SendText
from gatewayd.ports.store import OutboundRow
from tests.hub.approvals.approvers import TEAM_CHAT, USER_CHAT, asking, only_prompt, text
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.house import House, configuration, message, open_house

PLACE = Peer("group", "-100")


async def prompt_of(house: House, said: str = "go") -> OutboundRow:
    """A request that waits, its prompt sent to the team."""
    await house.say(said)
    await pending(house)
    await house.send_all()
    return await only_prompt(house)


async def refused(house: House, row_id: int) -> str:
    """Why the press in this row was refused. It was answered, and there is one entry of it."""
    await trio.testing.wait_all_tasks_blocked()
    row = await house.store.get_inbound(row_id)
    assert row is not None
    assert (row.state, (row.reason or "").startswith("approval_refused_")) == ("done", True)
    why = (row.reason or "").removeprefix("approval_refused_")
    [entry] = await house.audited("approval.refused")
    assert f'"why":"{why}"' in entry.detail
    assert entry.actor == f"{row.envelope.channel}:{row.envelope.sender.id}"
    [answer] = house.answers()
    assert answer
    return why


async def still_waits(house: House, tool: Tool) -> bool:
    approval = await pending(house)
    return tool.ran == [] and approval.state == "pending" and approval.votes == ()


# --- Who may, and from where


async def test_who_is_in_the_chat_but_no_approver_may_not(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        press = await house.press(await prompt_of(house), "once", by="66")
        assert await refused(house, press.id) == "not_an_approver"
        assert house.answers() == ["You may not answer this request here."]
        assert await still_waits(house, tool)


async def test_an_approver_of_another_group_may_not_answer_here(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("team", "boss", escalate_after_seconds=1)) as house:
        prompt = await prompt_of(house)
        await anyio.sleep(2)
        await house.send_all()
        press = await house.press(prompt, "once", by="9")
        assert await refused(house, press.id) == "not_an_approver"
        boss = (await house.screen("tg:main:dm:9"))[0]
        await house.press(boss, "once", by="9")
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.desk.list(None))[0].decided_by == "tg:9"


@pytest.mark.parametrize("peer", [Peer("group", "-200"), Peer("dm", "1"), Peer("channel", "-100")])
async def test_a_press_from_another_chat_is_none(tmp_path: Path, autojump_clock: MockClock, peer: Peer) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        press = await house.press(await prompt_of(house), "once", by="1", peer=peer)
        assert await refused(house, press.id) == "elsewhere"
        assert await still_waits(house, tool)


async def test_the_same_person_at_another_channel_is_another(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("here")) as house:
        await house.say("go", peer=PLACE, sender=Sender("7"), channel="sms")
        approval = await pending(house)
        await house.say(f"/approve {approval.code}", peer=PLACE, sender=Sender("7"), channel="sms")
        await trio.testing.wait_all_tasks_blocked()
        assert await still_waits(house, tool), "chat:7 is an approver, sms:7 is not"


async def test_a_button_under_another_message_is_forged(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        press = await house.press(await prompt_of(house), "once", message_id="m999")
        assert await refused(house, press.id) == "forged"
        assert await still_waits(house, tool)


async def test_a_press_that_is_faster_than_the_receipt_counts(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        prompt = await only_prompt(house)
        assert await house.outbox.mark_sending(prompt)
        await house.press(prompt, "once", message_id="m1")
        await house.ended(row)
        assert tool.ran == [RM]


async def test_an_id_that_nobody_knows(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        press = await house.press(await prompt_of(house), "ap:ap_0000000000:once")
        assert await refused(house, press.id) == "unknown"
        assert house.answers() == ["There is no such request (any more)."]


async def test_a_press_of_a_stranger_is_answered_and_written_down(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Somebody who was never let in to talk to the agent: no pairing code, no turn."""
    config = replace(asking(), accounts=configuration(frame=AccountFrame()).accounts)
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=config) as house:
        await house.access.load()
        [row] = await house.inbox.deliver([message("hello", peer=Peer("dm", "66"), channel="tg")])
        await house.backlog.wait_ended(row.id)
        approval_id = "ap_0000000000"
        press = await house.say(f"ap:{approval_id}:once", peer=Peer("dm", "66"), channel="tg", kind="button", press="p")
        assert await refused(house, press.id) == "unknown"
        assert await house.reason_of(row) == ("dropped", "pairing_required")


async def test_an_approver_who_was_never_let_in_may_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    frame = AccountFrame(dm_policy="open", group_policy="disabled")
    config = replace(asking(), accounts=configuration(frame=frame).accounts)
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        talk = await house.say("hello team", peer=PLACE, sender=Sender("1"), channel="tg")
        await house.say(f"/approve {approval.code}", peer=PLACE, sender=Sender("1"), channel="tg")
        await house.ended(row)
        assert tool.ran == [RM]
        assert await house.reason_of(talk) == ("dropped", "groups_disabled")


async def test_a_command_of_a_stranger_is_a_message_like_any_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = replace(asking(), accounts=configuration(frame=AccountFrame(dm_policy="allowlist", allow_from=("7",))).accounts)
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=config) as house:
        await house.say("go")
        approval = await pending(house)
        row = await house.ended(await house.say(f"/approve {approval.code}", peer=Peer("dm", "66"), channel="tg"))
        assert (row.state, row.reason) == ("dropped", "not_on_allow_list")
        assert await house.audited("approval.refused") == []
        assert await still_waits(house, tool)


# --- Twice, late


async def test_the_second_press_is_refused_and_nothing_runs_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        prompt = await prompt_of(house)
        await house.press(prompt, "once")
        await trio.testing.wait_all_tasks_blocked()
        house.signals.clear()
        press = await house.press(prompt, "once")
        assert await refused(house, press.id) == "late"
        assert house.answers() == ["Too late: this was allowed already."]
        assert tool.ran == [RM]


async def test_two_presses_in_one_delivery_are_one_vote(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        prompt = await prompt_of(house)
        presses = [
            message(
                prompt.payload.choices[0][0].data,
                peer=PLACE,
                channel="tg",
                kind="button",
                press=str(n),
                message_id=f"m{prompt.id}",
            )
            for n in range(2)
        ]
        rows = await house.inbox.deliver([replace(press, sender=Sender(str(n + 1))) for n, press in enumerate(presses)])
        reasons = [(await house.ended(row)).reason for row in rows]
        assert sorted(reasons, key=str) == ["approval_refused_late", "approval_vote"]
        assert tool.ran == [RM]
        assert len((await house.desk.list(None))[0].votes) == 1


async def test_an_event_that_is_delivered_again_is_no_second_press(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking(quorum=2)) as house:
        prompt = await prompt_of(house)
        press = await house.press(prompt, "once")
        assert await house.inbox.deliver([press.envelope]) == []
        await trio.testing.wait_all_tasks_blocked()
        assert house.answers() == ["Noted: 1 of 2."]


@pytest.mark.parametrize("state", ["denied", "expired", "withdrawn"])
async def test_a_late_press_is_told_what_it_was(tmp_path: Path, autojump_clock: MockClock, state: str) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(seconds=60)) as house:
        prompt = await prompt_of(house)
        if state == "denied":
            await house.desk.decide((await pending(house)).id, allow=False, by="operator:me")
        elif state == "withdrawn":
            await house.ended(await house.say("/stop"))
        else:
            await anyio.sleep(61)
        press = await house.press(prompt, "once")
        assert await refused(house, press.id) == "late"
        assert house.answers() == [f"Too late: this was {state} already."]
        assert tool.ran == []


async def test_a_press_after_the_time_is_over_does_not_count_even_if_nobody_noticed_yet(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """While the agent is away nobody waits for the request: who presses then is still too late."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(seconds=60)) as house:
        prompt = await prompt_of(house)
        house.flaky.refuses.add("decide_approval")
        await anyio.sleep(61)
        assert (await pending(house)).state == "pending"
        house.flaky.refuses.clear()
        press = await house.press(prompt, "once")
        assert await refused(house, press.id) == "late"
        assert tool.ran == []


async def test_a_late_press_rewrites_a_prompt_that_still_looked_open(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        prompt = await prompt_of(house)
        house.flaky.refuses.add("outbound_by")
        await house.desk.decide((await pending(house)).id, allow=False, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        house.flaky.refuses.clear()
        assert (await only_prompt(house)).payload.choices
        await house.press(prompt, "once")
        await trio.testing.wait_all_tasks_blocked()
        assert "**Denied** by operator:me." in text(await only_prompt(house))


# --- A flood


async def test_a_flood_of_refusals_fills_no_log_but_each_is_answered(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        prompt = await prompt_of(house)
        for _ in range(40):
            await house.press(prompt, "once", by="66")
            await trio.testing.wait_all_tasks_blocked()
        assert len(await house.audited("approval.refused")) == 10
        assert len(house.answers()) == 40
        await house.press(prompt, "once", by="67")
        await trio.testing.wait_all_tasks_blocked()
        assert len(await house.audited("approval.refused")) == 11, "somebody else is heard"
        await anyio.sleep(61)
        await house.press(prompt, "once", by="66")
        await trio.testing.wait_all_tasks_blocked()
        assert len(await house.audited("approval.refused")) == 12, "and so is he, after a minute"


# --- Restarts


async def test_a_press_that_was_counted_right_before_a_crash_counts_once_and_is_no_refusal(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Between the vote and the end of its row."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(quorum=2)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        house.flaky.refuses.add("end_inbound")
        press = await house.press(prompt, "once", by="1")
        await trio.testing.wait_all_tasks_blocked()
        assert len((await pending(house)).votes) == 1
        assert await house.reason_of(press) == ("received", None)
    async with open_house(tmp_path, tool, config=asking(quorum=2)) as house:
        assert len((await pending(house)).votes) == 1
        assert await house.reason_of(press) == ("done", "approval_vote")
        assert house.answers() == ["Noted: 1 of 2."]
        assert await house.audited("approval.refused") == []
        house.flaky.refuses.add("end_inbound")
        last = await house.press(prompt, "once", by="2")
        await trio.testing.wait_all_tasks_blocked()
    async with open_house(tmp_path, tool, config=asking(quorum=2)) as house:
        await house.ended(row)
        assert await house.reason_of(last) == ("done", "approval_vote")
        assert house.answers() == ["Allowed."]
        assert tool.ran == [RM]
        assert await house.audited("approval.refused") == []


async def test_a_press_that_was_journaled_and_not_looked_at_counts_after_the_restart(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        house.flaky.refuses.add("get_approval")
        press = await house.press(prompt, "once")
        await trio.testing.wait_all_tasks_blocked()
        assert await house.reason_of(press) == ("received", None)
        assert (await house.desk.list())[0].votes == ()
    async with open_house(tmp_path, tool, config=asking()) as house:
        await house.ended(row)
        assert await house.reason_of(press) == ("done", "approval_vote")
        assert tool.ran == [RM]
        assert house.answers() == ["Allowed."]


async def test_a_full_disk_holds_a_press_up_and_does_not_refuse_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        for method in ("vote_approval", "add_outbound", "end_inbound"):
            house.flaky.refuses.add(method)
        press = await house.press(await only_prompt(house), "once")
        await anyio.sleep(3)
        assert tool.ran == []
        house.flaky.refuses.remove("vote_approval")
        await anyio.sleep(3)
        assert tool.ran == [RM], "what is decided holds, shown or not"
        house.flaky.refuses.clear()
        await house.ended(row)
        await house.ended(press)
        assert await house.reason_of(press) == ("done", "approval_vote")
        assert house.answers() == ["Allowed."]
        assert await house.audited("approval.refused") == []


# --- Each press gets one answer


@pytest.mark.parametrize("data", ["once", "ap:ap_0:once", "ap:x", "qu:qu_0:1", "something", ""])
async def test_every_press_gets_one_answer(tmp_path: Path, autojump_clock: MockClock, data: str) -> None:
    async with open_house(tmp_path, Tool(), config=asking()) as house:
        await house.say("go")
        prompt = OutboundRow(1, "tg", "main", TEAM_CHAT, message_of(PLACE), "sent", 1, 0.0)
        press = await house.press(prompt, data)
        await house.ended(press)
        answered = [signal for signal in house.signals if isinstance(signal, PressAnswer)]
        assert [signal.press for signal in answered] == [press.envelope.press]
        assert answered[0].peer == PLACE
        assert ("ap:" in data or "qu:" in data) == (len(house.agents.turns) == 1), "no press of ours is a message to the agent"


def message_of(peer: Peer) -> SendText:
    return SendText(peer, RichText("prompt"))


async def test_who_went_away_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Answering a press is a call to a platform: one that hangs holds up nobody's decision."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("team", "here", escalate_after_seconds=0.1)) as house:
        prompt = await prompt_of_two(house)
        house.accounts.hangs = True
        for _ in range(100):
            await house.press(prompt, "once", by="66")
        await house.press(prompt, "deny")
        await trio.testing.wait_all_tasks_blocked()
        assert [decision.outcome for decision in tool.decisions] == ["denied"]
        assert len(house.answers()) <= 64, "and they do not pile up"


async def prompt_of_two(house: House) -> OutboundRow:
    await house.say("go")
    await pending(house)
    await anyio.sleep(1)
    await house.send_all()
    assert len(await house.screen(USER_CHAT)) == 2
    return await only_prompt(house)
