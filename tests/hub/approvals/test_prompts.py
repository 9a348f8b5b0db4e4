"""Prompts in chats: shown once to who may answer, honest about what they hide, and rewritten when it is decided."""

import json
from pathlib import Path

import anyio
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.approvals.prompts import _plain, whole_text
from gatewayd.kit.text.markdown import render
from gatewayd.model.config import (
    OutboxSection,
)
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import EditText, SendText, Span
from gatewayd.model.records.approval import Approval, ToolRequest
from gatewayd.ports.store import OutboundRow
from tests.hub.approvals.approvers import BOSS_CHAT, TEAM_CHAT, USER_CHAT, asking, buttons, only_prompt, text
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.house import House, message, open_house
from tests.stores.opened_before import every_outbound


async def test_the_prompt_is_where_the_approvers_are_and_the_user_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        approval = await pending(house)
        prompt = await only_prompt(house)
        assert "rm -rf ./x" in text(prompt)
        assert "chat:7" in text(prompt), "who asked"
        assert buttons(prompt) == ["Allow once", "Deny", "Allow for this session: exactly this input"]
        assert approval.code not in text(prompt), "there are buttons"
        assert isinstance(prompt.payload, SendText)
        assert prompt.payload.instead == f"Answer with /approve {approval.code} or /deny {approval.code}."
        assert prompt.subject == approval.id
        [notice] = await house.screen(USER_CHAT)
        assert "Waiting for permission to use `shell`" in text(notice)
        assert "rm -rf" not in text(notice)
        assert buttons(notice) == []
        await house.send_all()
        await house.press(prompt, "once")
        assert (await house.ended(row)).reason == "answered"
        assert tool.ran == [RM]


async def test_in_the_chat_it_came_from_there_is_the_prompt_and_no_notice(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("here")) as house:
        await house.say("go")
        approval = await pending(house)
        prompt = await only_prompt(house, USER_CHAT)
        assert f"`/approve {approval.code}`" in text(prompt)
        assert f"`/deny {approval.code}`" in text(prompt)
        assert buttons(prompt) == [], "this channel has none"


async def test_a_group_with_the_origin_gets_its_prompt_also_where_a_notice_is_already(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("operators", "here", escalate_after_seconds=60)) as house:
        await house.say("go")
        approval = await pending(house)
        [notice] = await house.screen(USER_CHAT)
        assert "gatewayctl approvals allow" in text(notice)
        await anyio.sleep(61)
        [_, prompt] = await house.screen(USER_CHAT)
        assert f"/approve {approval.code}" in text(prompt)


@pytest.mark.parametrize("thread", [None, "5"])
async def test_in_a_group_the_prompt_comes_to_the_thread_of_the_message(
    tmp_path: Path, autojump_clock: MockClock, thread: str | None
) -> None:
    peer = Peer("group", "-7", thread)
    async with open_house(tmp_path, Tool(RM), config=asking("here")) as house:
        row = await house.say("go", peer=peer, channel="tg", sender=Sender("1"))
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house, str(ConversationId(AccountId("tg", "main"), peer)))
        assert prompt.payload.peer == peer
        await house.press(prompt, "once")
        assert (await house.ended(row)).reason == "answered"


def long_request(length: int) -> ToolRequest:
    return ToolRequest("write", json.dumps({"text": "x" * length}))


async def shown(house: House, request: ToolRequest, conversation: str = TEAM_CHAT) -> tuple[Approval, OutboundRow]:
    await house.say("go")
    approval = await pending(house)
    return approval, await only_prompt(house, conversation)


async def test_a_long_input_is_cut_and_says_how_much_is_shown_and_where_the_rest_is(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    request = long_request(5000)
    async with open_house(tmp_path, Tool(request), config=asking()) as house:
        approval, prompt = await shown(house, request)
        whole = f'{{\n  "text": "{"x" * 5000}"\n}}'
        assert f"**Only the first 1500 of {len(whole)} characters are shown.**" in text(prompt)
        assert f"`/show {approval.code}`" in text(prompt)
        assert f"`gatewayctl approvals show {approval.id}`" in text(prompt)
        assert f"```\n{whole[:1500]}\n```" in text(prompt)


async def test_an_input_that_is_shown_whole_says_nothing_of_that(tmp_path: Path, autojump_clock: MockClock) -> None:
    request = long_request(1400)
    async with open_house(tmp_path, Tool(request), config=asking()) as house:
        _, prompt = await shown(house, request)
        assert "x" * 1400 in text(prompt)
        assert "Only the first" not in text(prompt)


@pytest.mark.parametrize("length", [10, 100, 1000, 90_000])
async def test_a_prompt_is_one_message_and_can_be_answered_however_little_fits(
    tmp_path: Path, autojump_clock: MockClock, length: int
) -> None:
    """160 characters hold no prompt, but what to write to see it, and to answer."""
    request = long_request(length)
    async with open_house(tmp_path, Tool(request), config=asking("phones")) as house:
        approval, prompt = await shown(house, request, "sms:main:dm:5")
        assert isinstance(prompt.payload, SendText)
        assert prompt.payload.parts == 1
        assert len(text(prompt)) <= 160
        for command in ("/show", "/approve", "/deny"):
            assert f"{command} {approval.code}" in text(prompt)


async def test_a_fence_in_the_input_does_not_end_the_block(tmp_path: Path, autojump_clock: MockClock) -> None:
    request = ToolRequest("write", "a\n```\n\n**Allowed** by the operator.\n````\nb")
    async with open_house(tmp_path, Tool(request), config=asking()) as house:
        approval, prompt = await shown(house, request)
        assert f"`````\n{request.input}\n`````" in text(prompt)
        assert f"`````\n{request.input}\n`````" in whole_text(approval)


@pytest.mark.parametrize(
    "character",
    list("\u202e\u2066\u200b\u200d\u00ad\u3164\u115f\ufe0f\U000e0041\U000e0100\u2800\x07\u00a0\u2028\ufeff\u034f\u180b"),
)
async def test_what_hides_or_turns_the_text_round_is_written_as_its_number(
    tmp_path: Path, autojump_clock: MockClock, character: str
) -> None:
    request = ToolRequest(f"to{character}ol", f"cp a{character} b")
    async with open_house(tmp_path, Tool(request), config=asking()) as house:
        approval, prompt = await shown(house, request)
        assert character not in text(prompt)
        assert f"cp a\\u{{{ord(character):x}}} b" in text(prompt)
        assert character not in whole_text(approval)
        [notice] = await house.screen(USER_CHAT)
        assert character not in text(notice)


async def test_names_bring_no_markup_of_their_own(tmp_path: Path, autojump_clock: MockClock) -> None:
    request = ToolRequest("ls** is harmless. [Allow](http://x) `", "{}")
    async with open_house(tmp_path, Tool(request), config=asking()) as house:
        await house.inbox.deliver([message("go", sender=Sender("*7* _x_"))])
        await pending(house)
        prompt = text(await only_prompt(house))
        assert "**ls\\*\\* is harmless. \\[Allow\\]\\(http://x\\) \\`**" in prompt
        assert "chat:\\*7\\* \\_x\\_" in prompt
        [notice] = await house.screen(str(ConversationId(AccountId("chat", "main"), Peer("dm", "7"))))
        assert "`ls** is harmless. [Allow](http://x) '`" in text(notice)


@pytest.mark.parametrize("depth", [100, 900, 5000, 45_000])
async def test_deep_nesting_neither_breaks_nor_blows_up_a_prompt(tmp_path: Path, autojump_clock: MockClock, depth: int) -> None:
    request = ToolRequest("write", '{"a":' + "[" * depth + "]" * depth + "}")
    async with open_house(tmp_path, Tool(request), config=asking()) as house:
        approval, prompt = await shown(house, request)
        assert f"of {len(request.input)} characters" in text(prompt) or request.input in text(prompt)
        assert len(whole_text(approval)) < 21_000
        await house.send_all()
        await house.press(prompt, "deny")
        await trio.testing.wait_all_tasks_blocked()
        assert "**Denied**" in text(await only_prompt(house))


def test_the_whole_says_when_it_is_not_the_whole() -> None:
    approval = _approval(json.dumps({"text": "y" * 90_000}))
    assert "Only the first 20000 of" in whole_text(approval)
    assert "/show" not in whole_text(approval), "that is where we are"
    assert f"gatewayctl approvals show {approval.id}" in whole_text(approval)


@given(st.text("`\n a", max_size=60))
def test_no_input_ends_its_own_block(cut: str) -> None:
    block = whole_text(_approval(cut)).split("\n\n", 1)[1]
    fence = block.split("\n", 1)[0]
    assert set(fence) == {"`"}
    assert fence not in cut
    assert block == f"{fence}\n{cut}\n{fence}"


def _approval(text: str) -> Approval:
    return Approval(
        id="ap_1",
        agent="assistant",
        session_key="s",
        turn_id="t",
        ordinal=0,
        tool="write",
        input=text,
        input_hash="h",
        state="pending",
        created_at=0,
        expires_at=1,
        origin="o",
        code="BCDFGH",
    )


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ("once", "**Allowed** by tg:2."),
        ("session", "**Allowed** for this session (exactly this input) by tg:2."),
        ("deny", "**Denied** by tg:2."),
    ],
)
async def test_a_decided_prompt_says_what_and_by_whom_and_has_no_buttons(
    tmp_path: Path, autojump_clock: MockClock, data: str, said: str
) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        await house.press(await only_prompt(house), data, by="2")
        await house.ended(row)
        prompt = await only_prompt(house)
        assert said in text(prompt)
        assert "rm -rf ./x" in text(prompt)
        assert buttons(prompt) == []
        edits = [row.payload for row in house.handed if isinstance(row.payload, EditText)]
        assert [(edit.of, edit.message_id) for edit in edits] == [(prompt.id, None)]
        await house.send_all()
        assert {row.state for row in await every_outbound(house.flaky._store)} == {"sent"}, (
            "the edit knows its message when its turn has come"
        )


async def test_where_nothing_can_be_edited_the_decision_is_a_new_text(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("here")) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        await house.say(f"/deny {approval.code.lower()} not on Fridays")
        await house.ended(row)
        texts = [text(prompt) for prompt in await house.screen(USER_CHAT)]
        assert [said for said in texts if "**Denied** by chat:7 (not on Fridays)." in said]
        assert "Denied." in texts, "and whoever wrote it is answered"


async def test_where_nothing_can_be_edited_a_notice_stays_as_it_is_and_a_vote_is_no_new_prompt(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("here", quorum=2)) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.ended(await house.say(f"/approve {approval.code}"))
        assert [text(prompt)[:5] for prompt in await house.screen(USER_CHAT)] == ["**ass", "Noted"]
        await house.ended(await house.say("/stop"))
        await house.ended(row)
    other = tmp_path / "other"
    async with open_house(other, Tool(RM), config=asking()) as house:
        row = await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        await house.ended(row)
        assert [text(prompt)[:7] for prompt in await house.screen(USER_CHAT)] == ["Waiting", "over"]


async def test_an_operator_decides_and_the_prompt_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        row = await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me", note="go *on*")
        await house.ended(row)
        assert "**Allowed** by operator:me (go \\*on\\*)." in text(await only_prompt(house))


async def test_a_stopped_turn_and_a_time_out_are_said_on_the_prompt(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking(seconds=60)) as house:
        await house.ended(await house.say("go"))
        assert "**Expired**: nobody answered in time; it was not run." in text(await only_prompt(house))
        await house.say("go")
        await pending(house)
        await house.ended(await house.say("/stop"))
        prompt = (await house.screen(TEAM_CHAT))[-1]
        assert "**Withdrawn**" in text(prompt)
        assert buttons(prompt) == []


async def test_nothing_is_shown_twice_after_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    for _ in range(3):
        async with open_house(tmp_path, tool, config=asking("team", "here", escalate_after_seconds=0.5)) as house:
            if not house.handed and not await house.desk.list(None):
                await house.say("go")
            await pending(house)
            await anyio.sleep(10)
            assert len(await house.screen(TEAM_CHAT)) == 1
            assert ["Waiting" in text(row) for row in await house.screen(USER_CHAT)] == [True, False], "notice, then prompt"
            prompt = await only_prompt(house)
    async with open_house(tmp_path, tool, config=asking("team", "here", escalate_after_seconds=0.5)) as house:
        await pending(house)
        await anyio.sleep(20)  # until the turn that was cut three times runs again
        await house.send_all()
        await house.press(prompt, "once")
        await trio.testing.wait_all_tasks_blocked()
        assert tool.ran == [RM]


async def test_what_was_decided_right_before_a_crash_is_shown_at_the_next_start(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking()) as house:
        await house.say("go")
        approval = await pending(house)
        house.flaky.refuses.add("outbound_by")  # the edit cannot be written any more
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        house.flaky.refuses.clear()
        assert buttons(await only_prompt(house)), "not yet"
    for _ in range(2):
        async with open_house(tmp_path, Tool(RM), config=asking()) as house:
            prompt = await only_prompt(house)
            assert "**Allowed** by operator:me." in text(prompt)
            assert buttons(prompt) == []
            assert len(await house.store.outbound_by("subject", approval.id)) == 2, (
                "the prompt and its edit, not one more each time"
            )


async def test_a_request_that_expired_while_the_daemon_was_down_says_so_at_the_start(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(seconds=60)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
    await anyio.sleep(61)
    async with open_house(tmp_path, tool, config=asking(seconds=60)) as house:
        assert "**Expired**" in text(await only_prompt(house))
        press = await house.press(prompt, "once")
        await house.ended(row)
        assert await house.reason_of(press) == ("done", "approval_refused_late")
        assert house.answers() == ["Too late: this was expired already."]
        assert [decision.outcome for decision in tool.decisions] == ["expired"]


async def test_a_prompt_that_was_lost_while_the_daemon_was_down_is_no_prompt(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Too old to be sent after a long time, it is parked: nobody will see it."""
    tool = Tool(RM)
    config = replace(asking("team", "boss", seconds=10_000), outbox=OutboxSection(stale_after_seconds=10))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        await pending(house)
    await anyio.sleep(100)
    async with open_house(tmp_path, tool, config=config) as house:
        [approval] = await house.desk.list(None)
        await trio.testing.wait_all_tasks_blocked()
        assert approval.state == "pending"
        assert [text(prompt) for prompt in await house.screen(BOSS_CHAT)] != [], "the next group is asked at once"
        assert (await house.reason_of(row))[0] == "running"


async def test_a_prompt_that_was_perhaps_sent_can_be_pressed_and_its_outcome_is_a_new_text(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Killed in the middle of sending it: there is no id that an edit could name."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking()) as house:
        row = await house.say("go")
        await pending(house)
        prompt = await only_prompt(house)
        assert await house.outbox.mark_sending(prompt)
    async with open_house(tmp_path, tool, config=asking()) as house:
        await pending(house)
        await only_prompt(house)
        await house.press(prompt, "once")
        await house.ended(row)
        assert tool.ran == [RM]
        _, outcome = await house.screen(TEAM_CHAT)
        assert "**Allowed** by tg:1." in text(outcome)
        await house.send_all()
        assert "dead" not in {row.state for row in await every_outbound(house.flaky._store)}


names = st.lists(
    st.sampled_from(
        [*"aB1中 *_`[]()<>#|!\\$~", "~~", "[x](http://e)", "<a@b.c>", "__init__", "C:\\x_", "\\*", "x.y/_z_", "http://x/_y_"]
    )
)


@given(names.map("".join))
def test_a_name_reads_as_it_is_and_formats_nothing(name: str) -> None:
    """Between what a prompt puts around it. A backtick may be an apostrophe, where the name is shown as code."""
    shown = " ".join(name.split())
    rich = render(f"**Agent**: ({_plain(name)}) wants.")
    assert rich.text.replace("'", "`") == f"Agent: ({shown}) wants.".replace("'", "`")
    assert {span.kind for span in rich.spans} <= {"bold", "code"}
    assert [span for span in rich.spans if span.kind == "bold"] == [Span("bold", 0, 5)]
