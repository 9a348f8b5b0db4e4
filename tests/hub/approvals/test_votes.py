"""Several people, and yes for a session."""

from functools import partial
from pathlib import Path

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import (
    ApprovalRule,
    SessionsSection,
)
from gatewayd.model.errors import Conflict
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.approval import ToolRequest
from tests.hub.approvals.approvers import TEAM_CHAT, asking, buttons, only_prompt, text
from tests.hub.approvals.test_desk import LS, RM, Tool, pending
from tests.hub.house import House, open_house


async def test_two_of_three_must_allow_and_the_prompt_says_how_many_have(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(quorum=2)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        assert "0 of 2 have allowed it." in text(await only_prompt(house))
        await house.press(await only_prompt(house), "once", by="1")
        approval = await pending(house)
        prompt = await only_prompt(house)
        assert "1 of 2 have allowed it." in text(prompt)
        assert buttons(prompt)[:2] == ["Allow once", "Deny"]
        await house.press(prompt, "once", by="1")
        assert (await pending(house)).votes == approval.votes, "twice is once"
        assert tool.ran == []
        await house.press(prompt, "once", by="3")
        await house.ended(row)
        assert tool.ran == [RM]
        assert "**Allowed** by tg:1 and tg:3." in text(await only_prompt(house))
        assert house.answers() == ["Noted: 1 of 2.", "You have answered this already.", "Allowed."]


async def test_a_vote_before_a_restart_counts_after_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(quorum=2)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        await house.press(prompt, "once", by="1")
        await pending(house)
    async with open_house(tmp_path, tool, config=asking(quorum=2)) as house:
        assert len((await pending(house)).votes) == 1
        await house.press(prompt, "once", by="1")
        await pending(house)
        await house.press(prompt, "once", by="2")
        await house.ended(row)
        assert tool.ran == [RM]


async def test_one_no_denies_whatever_was_said_before(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(quorum=3)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        for by, data in (("1", "once"), ("2", "session"), ("3", "deny")):
            await house.press(prompt, data, by=by)
        await house.ended(row)
        assert [(decision.outcome, decision.by) for decision in tool.decisions] == [("denied", "tg:3")]


async def test_two_identities_of_one_person_are_one_voice(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    config = replace(asking(quorum=2), sessions=SessionsSection(identity_links={"ann": ("tg:1", "tg:2")}))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        await house.press(prompt, "once", by="1")
        second = await house.press(prompt, "once", by="2")
        approval = await pending(house)
        assert [vote.by for vote in approval.votes] == ["tg:1"]
        assert await house.reason_of(second) == ("done", "approval_refused_again")
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await house.ended(row)
        assert tool.decisions[0].by == "tg:1 and operator:me", "an operator with a token is another"


async def test_news_that_come_in_the_wrong_order_do_not_reopen_a_prompt(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking(quorum=2)) as house:
        row = await house.say("go")
        approval = await pending(house)
        gate = house.flaky.holds["vote_approval"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(house.desk.decide, approval.id, allow=True, by="operator:1"))
            await trio.testing.wait_all_tasks_blocked()
            del house.flaky.holds["vote_approval"]
            await house.desk.decide(approval.id, allow=True, by="operator:2")
            gate.set()
        await house.ended(row)
        prompt = await only_prompt(house)
        assert "**Allowed** by operator:1 and operator:2." in text(prompt)
        assert buttons(prompt) == []
        assert house.desk.pending_count() == 0


async def test_one_operator_is_one_voice(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking(quorum=2)) as house:
        await house.say("go")
        approval = await pending(house)
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        with pytest.raises(Conflict, match="waits for 1 more"):
            await house.desk.decide(approval.id, allow=True, by="operator:me")
        assert (await pending(house)).state == "pending"


async def run_again(house: House, text: str = "go") -> None:
    with anyio.fail_after(60):
        await house.ended(await house.say(text))


@pytest.mark.parametrize(("grant", "covers"), [("input", [RM]), ("tool", [RM, LS]), ("off", [])])
async def test_a_yes_for_the_session_covers_what_the_policy_says(
    tmp_path: Path, autojump_clock: MockClock, grant: str, covers: list[ToolRequest]
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(session_grant=grant, seconds=5)) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        assert len(buttons(prompt)) == (2 if grant == "off" else 3)
        await house.press(prompt, f"ap:{approval.id}:session")
        if grant == "off":
            await trio.testing.wait_all_tasks_blocked()
            assert "session_grant" in house.answers()[0]
            await house.press(prompt, "once")
        await house.ended(row)
        tool.requests = (RM, LS)
        tool.ran.clear()
        tool.decisions.clear()
        await run_again(house)
        assert tool.ran == covers
        granted = [decision for decision in tool.decisions if decision.allowed]
        assert {decision.by for decision in granted} == ({f"session:{approval.id}"} if covers else set())
        used = [row for row in await house.desk.list("allowed") if row.consumed_at is not None]
        assert len(used) == 1 + len(covers), "each run has a row of its own, and used it up"


async def test_new_ends_what_was_allowed_for_the_session(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(seconds=5)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        await house.press(await only_prompt(house), "session")
        await house.ended(row)
        await run_again(house)
        assert tool.ran == [RM, RM]
        await run_again(house, "/new")
        await run_again(house)
        assert [decision.outcome for decision in tool.decisions] == ["allowed", "allowed", "expired"]


async def test_another_conversation_has_another_session(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(seconds=5)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        await house.press(await only_prompt(house), "session")
        await house.ended(row)
        await house.ended(await house.say("go", peer=Peer("dm", "8")))
        assert [decision.outcome for decision in tool.decisions] == ["allowed", "expired"]


async def test_a_rule_that_denies_wins_over_a_grant(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(session_grant="tool")) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        await house.press(await only_prompt(house), "session")
        await house.ended(row)
    deny = ApprovalRule("deny", "shell", {"command": "rm *"})
    async with open_house(tmp_path, tool, config=asking(session_grant="tool", rules=(deny,))) as house:
        await run_again(house)
        tool.requests = (LS,)
        await run_again(house)
        assert [(decision.outcome, decision.by) for decision in tool.decisions[1:]] == [
            ("denied", "policy:rule 1"),
            ("allowed", f"session:{(await house.desk.list('allowed'))[-1].id}"),
        ]


async def test_a_quorum_grants_the_session_only_when_all_meant_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(quorum=2, seconds=5)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        await house.press(prompt, "session", by="1")
        await house.press(prompt, "once", by="2")
        await house.ended(row)
        assert "for this session" not in text(await only_prompt(house))
        await run_again(house)
        assert [decision.outcome for decision in tool.decisions] == ["allowed", "expired"]


async def test_what_a_rule_decides_leaves_a_row_and_an_entry(tmp_path: Path, autojump_clock: MockClock) -> None:
    rules = (ApprovalRule("deny", "shell", {"command": "rm *"}), ApprovalRule("allow", "shell"))
    tool = Tool(RM, LS)
    async with open_house(tmp_path, tool, config=asking(rules=rules)) as house:
        await run_again(house)
        assert tool.ran == [LS]
        rows = [(row.state, row.decided_by, row.consumed_at is not None) for row in await house.desk.list(None)]
        assert rows == [("allowed", "policy:rule 2", True), ("denied", "policy:rule 1", False)]
        entries = await house.audited()
        assert [(entry.action, entry.actor) for entry in entries] == [
            ("approval.denied", "policy:rule 1"),
            ("approval.allowed", "policy:rule 2"),
        ]
        assert await house.screen(TEAM_CHAT) == [], "nobody was asked"


async def test_a_person_with_a_token_and_a_chat_is_one_voter(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    config = replace(asking(quorum=2), sessions=SessionsSection(identity_links={"alice": ("tg:1", "operator:alice")}))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        await house.press(await only_prompt(house), "once", by="1")
        assert [vote.by for vote in (await pending(house)).votes] == ["tg:1"]
        with pytest.raises(Conflict, match=r"operator:alice \(person:alice\) has answered"):
            await house.desk.decide(approval.id, allow=True, by="operator:alice")
        assert tool.ran == []
        await house.desk.decide(approval.id, allow=True, by="operator:bob")
        await house.ended(row)
        assert tool.ran == [RM]


@pytest.mark.parametrize(
    ("shown", "reloaded", "label", "covers"),
    [
        ("input", "tool", "exactly this input", [RM]),
        ("tool", "input", "every use of shell", [RM]),
        ("tool", "tool", "every use of shell", [RM, LS]),
        ("input", "off", "exactly this input", []),
    ],
)
async def test_an_old_prompt_grants_what_it_says_whatever_a_reload_has_changed(
    tmp_path: Path, autojump_clock: MockClock, shown: str, reloaded: str, label: str, covers: list[ToolRequest]
) -> None:
    """And no more of it is used than the policy that is in force allows."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking(session_grant=shown, seconds=5)) as house:
        row = await house.say("go")
        await pending(house)
        await house.send_all()
        prompt = await only_prompt(house)
        house.configured.replace(asking(session_grant=reloaded, seconds=5))
        assert buttons(prompt)[2] == f"Allow for this session: {label}"
        await house.press(prompt, "session")
        await house.ended(row)
        assert f"for this session ({label})" in text(await only_prompt(house))
        tool.requests = (RM, LS)
        tool.ran.clear()
        await run_again(house)
        assert tool.ran == covers


async def test_a_grant_for_any_input_is_over_when_the_policy_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking(session_grant="tool")) as house:
        row = await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me", scope="session")
        await house.ended(row)
    tool = Tool(LS)
    async with open_house(tmp_path, tool, config=asking(session_grant="tool")) as house:
        await house.ended(await house.say("again"))
        assert tool.ran == [LS]
    async with open_house(tmp_path, Tool(LS), config=asking(session_grant="input")) as house:
        await house.say("again")
        assert (await pending(house)).input == LS.input
