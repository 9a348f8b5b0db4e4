"""Who is asked next, and what becomes of a request that nobody can be shown."""

from functools import partial
from pathlib import Path

import anyio
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.approvals.prompts import can_operators_answer
from gatewayd.model.config import (
    AgentApprovals,
    ApprovalsSection,
    ApproverGroup,
    AuthSection,
    GatewayConfig,
    TokenConfig,
)
from gatewayd.model.message.envelope import Peer
from gatewayd.model.secret import Secret
from tests.hub.approvals.approvers import BOSS_CHAT, TEAM_CHAT, asking, buttons, only_prompt, text
from tests.hub.approvals.test_desk import RM, Tool, pending
from tests.hub.house import House, configuration, open_house


async def undeliverable(house: House, tool: Tool, *, within: float = 2) -> str:
    began = anyio.current_time()
    row = await house.say("go")
    with anyio.fail_after(within):
        await house.ended(row)
    assert anyio.current_time() - began < within
    assert tool.ran == []
    [decision] = tool.decisions
    assert decision.outcome == "undeliverable"
    return decision.note or ""


async def test_a_request_that_nobody_can_be_shown_fails_at_once_with_the_reason(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("team", "boss")) as house:
        house.down["tg", "main"] = "tg/main is parked: wrong token"
        assert "wrong token" in await undeliverable(house, tool)
        assert await house.screen(TEAM_CHAT) == []
        assert house.texts == ["over"], "nor is the user told to wait"
        [approval] = await house.desk.list(None)
        assert (approval.state, "wrong token" in (approval.note or "")) == ("undeliverable", True)
        assert [entry.action for entry in await house.audited()] == ["approval.undeliverable"]


async def test_a_group_that_is_not_configured_has_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("nobody")) as house:
        assert "nobody" in await undeliverable(house, tool)


async def test_a_chat_of_an_account_that_is_gone_has_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    gone = ApprovalsSection(groups={"team": ApproverGroup(("x:1",), ("x:main:dm:1",))})
    async with open_house(tmp_path, tool, config=configuration(approvals=gone, policy=AgentApprovals(ask=("team",)))) as house:
        assert "x/main is not configured" in await undeliverable(house, tool)


async def test_a_group_without_a_chat_that_works_is_passed_over(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("phones", "team", "boss", escalate_after_seconds=60)) as house:
        house.down["sms", "main"] = "sms/main is stopped"
        row = await house.say("go")
        await pending(house)
        assert len(await house.screen(TEAM_CHAT)) == 1
        assert await house.screen(BOSS_CHAT) == []
        await anyio.sleep(59)
        assert await house.screen(BOSS_CHAT) == []
        await anyio.sleep(2)
        assert len(await house.screen(BOSS_CHAT)) == 1, "who was passed over had no minute of their own"
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        await house.ended(row)
        assert tool.ran == [RM]


async def test_a_prompt_that_the_platform_refuses_goes_to_the_next_group_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("team", "boss")) as house:
        row = await house.say("go")
        await pending(house)
        began = anyio.current_time()
        await house.lose(await only_prompt(house), "bot was kicked")
        prompt = await only_prompt(house, BOSS_CHAT)
        assert anyio.current_time() == began
        await house.lose(prompt, "chat not found")
        await house.ended(row)
        [decision] = tool.decisions
        assert decision.outcome == "undeliverable"
        assert "bot was kicked" in (decision.note or "")
        assert "chat not found" in (decision.note or "")


async def test_one_of_two_chats_is_enough(tmp_path: Path, autojump_clock: MockClock) -> None:
    both = ApproverGroup(people=("tg:1",), chats=(TEAM_CHAT, BOSS_CHAT))
    config = configuration(approvals=ApprovalsSection(groups={"both": both}), policy=AgentApprovals(ask=("both",)))
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        await pending(house)
        await house.lose(await only_prompt(house, BOSS_CHAT))
        approval = await pending(house)
        await house.send_all()
        await house.press(await only_prompt(house, TEAM_CHAT), "once")
        await house.ended(row)
        assert (await house.desk.get(approval.id)).state == "allowed"
        assert len(await house.screen(BOSS_CHAT)) == 1
        assert "Allowed" not in text(await only_prompt(house, BOSS_CHAT)), "what was never shown is not rewritten"


async def test_a_chat_whose_id_has_a_colon_is_named_as_it_is_and_is_no_thread(tmp_path: Path, autojump_clock: MockClock) -> None:
    room = ApproverGroup(people=("tg:1",), chats=("tg:main:group:-7:5",))
    config = configuration(approvals=ApprovalsSection(groups={"room": room}), policy=AgentApprovals(ask=("room",)))
    async with open_house(tmp_path, Tool(RM), config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
        await house.send_all()
        prompt = await only_prompt(house, "tg:main:group:-7%3A5")
        await house.press(prompt, "once", by="1", peer=Peer("group", "-7", "5"))
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.desk.get(approval.id)).state == "pending"
        await house.press(prompt, "once", by="1")
        await house.ended(row)
        assert (await house.desk.get(approval.id)).state == "allowed"


async def test_a_lost_prompt_matters_not_while_operators_can_answer(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("operators", "team", escalate_after_seconds=1)) as house:
        await house.say("go")
        await pending(house)
        await anyio.sleep(2)
        await house.lose(await only_prompt(house))
        assert (await pending(house)).state == "pending"


def test_operators_can_answer_when_a_token_can_or_none_is_configured() -> None:
    def auth(*scopes: str) -> GatewayConfig:
        token = TokenConfig(Secret("x" * 16), scopes=scopes)  # type: ignore[arg-type]
        return GatewayConfig(auth=AuthSection({"one": token}))

    assert can_operators_answer(GatewayConfig())
    assert can_operators_answer(auth("approvals"))
    assert can_operators_answer(auth("admin"))
    assert not can_operators_answer(auth("read", "write", "pairing"))


async def test_without_a_token_that_can_answer_operators_are_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    token = TokenConfig(Secret("x" * 16), scopes=("read",))
    config = replace(configuration(), auth=AuthSection({"one": token}))
    async with open_house(tmp_path, tool, config=config) as house:
        assert "no token has the scope approvals" in await undeliverable(house, tool)


async def test_the_next_group_is_asked_in_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("team", "boss", escalate_after_seconds=300)) as house:
        row = await house.say("go")
        await pending(house)
        await anyio.sleep(299)
        assert await house.screen(BOSS_CHAT) == []
        await anyio.sleep(2)
        await house.send_all()
        assert buttons(await only_prompt(house)), "the first can still answer"
        await house.press(await only_prompt(house, BOSS_CHAT), "once", by="9")
        await house.ended(row)
        assert tool.ran == [RM]
        assert "**Allowed** by tg:9." in text(await only_prompt(house))
        assert "**Allowed** by tg:9." in text(await only_prompt(house, BOSS_CHAT))


async def test_escalation_counts_the_time_the_daemon_was_down(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = asking("team", "boss", "operators", escalate_after_seconds=300)
    async with open_house(tmp_path, Tool(RM), config=config) as house:
        await house.say("go")
        await pending(house)
        await anyio.sleep(200)
    await anyio.sleep(50)
    async with open_house(tmp_path, Tool(RM), config=config) as house:
        await pending(house)
        assert await house.screen(BOSS_CHAT) == []
        await anyio.sleep(51)
        assert len(await house.screen(BOSS_CHAT)) == 1
    await anyio.sleep(300)
    async with open_house(tmp_path, Tool(RM), config=config) as house:
        await pending(house)
        assert len(await house.screen(BOSS_CHAT)) == 1
        assert len(await house.screen(TEAM_CHAT)) == 1


async def test_a_prompt_that_is_answered_is_not_escalated(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM), config=asking("team", "boss", escalate_after_seconds=10)) as house:
        await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=False, by="operator:me")
        await anyio.sleep(100)
        assert await house.screen(BOSS_CHAT) == []


async def test_a_prompt_on_its_way_out_when_it_is_decided_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The next group's prompt is being written at the very moment of the decision."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=asking("team", "boss", escalate_after_seconds=10)) as house:
        row = await house.say("go")
        approval = await pending(house)
        gate = house.flaky.holds["outbound_by"] = anyio.Event()
        await anyio.sleep(11)
        del house.flaky.holds["outbound_by"]
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(house.desk.decide, approval.id, allow=True, by="operator:me"))
            await trio.testing.wait_all_tasks_blocked()
            gate.set()
        await house.ended(row)
        assert tool.ran == [RM]
        for chat in (TEAM_CHAT, BOSS_CHAT):
            assert [buttons(prompt) for prompt in await house.screen(chat)] == [[]]


async def test_operators_who_cannot_answer_do_not_keep_a_lost_prompt_alive(tmp_path: Path, autojump_clock: MockClock) -> None:
    token = TokenConfig(Secret("x" * 16), scopes=("read",))
    config = replace(asking("operators", "team"), auth=AuthSection({"one": token}))
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        await pending(house)
        await house.lose(await only_prompt(house))
        with anyio.fail_after(1):
            await house.ended(row)
        assert [decision.outcome for decision in tool.decisions] == ["undeliverable"]
