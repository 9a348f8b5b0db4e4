"""Turns under a changing configuration: what runs ends, what waits goes where the new one says, and nothing is lost."""

from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.model.config import (
    AccountFrame,
    AgentFrame,
    AgentSettings,
    ApprovalsSection,
    ApproverGroup,
    BindingConfig,
    GatewayConfig,
    GroupRules,
    LimitsSection,
    MatchConfig,
    SessionsSection,
)
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import Turn
from tests.hub.house import OPEN, Gate, ScriptedAgents, configuration, open_house


def with_agents(*names: str, bindings: tuple[BindingConfig, ...] = (), frame: AccountFrame = OPEN) -> GatewayConfig:
    agents = tuple(AgentSettings(name, AgentFrame(), AgentFrame()) for name in names)
    return replace(configuration(frame=frame), agents=agents, bindings=bindings)


OLD = with_agents("old")
NEW = with_agents("new")


async def by_agent(turn: Turn) -> str:
    return f"{turn.request.agent_id}: {turn.request.text}"


async def test_a_turn_that_runs_ends_and_what_waits_goes_to_the_new_agent(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=OLD) as house:
        rows = [await house.say(text) for text in ("first", "second", "third")]
        await anyio.sleep(1)
        assert gate.running == ["first"]
        house.configured.replace(NEW)
        await anyio.sleep(1)
        assert gate.running == ["first"], "one answer after the other in a chat"
        gate.gate.set()
        assert [(await house.ended(row)).state for row in rows] == ["done"] * 3
        assert [turn.request.agent_id for turn in house.agents.turns] == ["old", "new", "new"]
        assert [turn.request.text for turn in house.agents.turns] == ["first", "second", "third"]
        assert house.texts == ["re: first", "re: second", "re: third"]
        assert (house.backlog.waiting, house.turns.status().live) == (0, 0)


async def test_what_waits_in_a_group_goes_to_the_agent_that_the_group_has_now(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate, group = Gate(), Peer("group", "-100")

    def of_group(agent: str | None) -> GatewayConfig:
        return with_agents("old", "new", frame=replace(OPEN, groups={"-100": GroupRules(agent=agent)}))

    async with open_house(tmp_path, gate, config=of_group(None)) as house:
        rows = [await house.say(text, peer=group) for text in ("first", "second")]
        await anyio.sleep(1)
        house.configured.replace(of_group("new"))
        rows.append(await house.say("third", peer=group))
        gate.gate.set()
        assert [(await house.ended(row)).state for row in rows] == ["done"] * 3
        assert [turn.request.agent_id for turn in house.agents.turns] == ["old", "new", "new"]


async def test_a_turn_that_does_not_end_is_cut_and_begun_anew_with_the_new_agent(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def script(turn: Turn) -> str:
        if turn.request.agent_id == "old":
            await anyio.sleep_forever()
        return await by_agent(turn)

    async with open_house(tmp_path, script, config=OLD) as house:
        row = await house.say("hello")
        await anyio.sleep(1)
        house.configured.replace(NEW)
        await anyio.sleep(1)
        assert [turn.request.agent_id for turn in house.agents.turns] == ["old"], "it has its time"
        house.turns.hand_over_turns("old")
        assert (await house.ended(row)).reason == "answered"
        assert house.texts == ["new: hello"]
        first, second = house.agents.turns
        assert first.request.turn_id == second.request.turn_id
        assert (second.request.attempt, second.request.session_key) == (2, "new:chat:main:dm:7")


async def test_what_a_cut_turn_has_asked_for_is_void(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        if turn.request.agent_id == "new":
            return "fine"
        return (await turn.permission(ToolRequest("shell", '{"command":"rm"}'))).outcome

    async with open_house(tmp_path, script, config=OLD) as house:
        row = await house.say("hello")
        await anyio.sleep(1)
        [asked] = await house.desk.list()
        house.configured.replace(NEW)
        house.turns.hand_over_turns("old")
        assert (await house.ended(row)).state == "done"
        assert (await house.desk.get(asked.id)).state == "withdrawn"
        assert house.texts[-1] == "fine"


async def test_a_turn_that_only_waits_for_an_agent_that_is_gone_goes_to_another_at_once(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Away(ScriptedAgents):
        async def core(self, agent_id: str) -> "ScriptedAgents":
            if agent_id == "old":
                raise TryAgain("away")
            return self

    async with open_house(tmp_path, config=OLD, agents=Away(by_agent)) as house:
        row = await house.say("hello")
        await anyio.sleep(3)
        house.configured.replace(NEW)
        ended = await house.ended(row)
        assert (ended.state, ended.attempts) == ("done", 1)
        assert house.texts[-1] == "new: hello"


async def test_a_turn_that_waits_for_an_agent_goes_to_another_by_a_binding_unless_it_was_begun(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Away(ScriptedAgents):
        is_old_gone = True

        async def core(self, agent_id: str) -> "ScriptedAgents":
            if agent_id == "old" and self.is_old_gone:
                raise TryAgain("away")
            return self

    async def script(turn: Turn) -> str:
        if turn.request.text == "begun" and turn.request.attempt == 1:
            agents.is_old_gone = True
            raise TryAgain("cut")
        return await by_agent(turn)

    two = with_agents("old", "other")
    agents = Away(script)
    async with open_house(tmp_path, config=two, agents=agents) as house:
        agents.is_old_gone = False
        begun = await house.say("begun", peer=Peer("dm", "8"))
        await anyio.sleep(3)
        rows = [await house.say(text) for text in ("first", "second")]
        await anyio.sleep(3)
        house.configured.replace(replace(two, bindings=(BindingConfig(MatchConfig(channel="chat"), "other"),)))
        for row in rows:
            assert (await house.ended(row)).reason == "answered"
        assert house.texts[-2:] == ["other: first", "other: second"]
        agents.is_old_gone = False
        await house.ended(begun)
        assert house.texts[-1] == "old: begun"


async def test_a_stop_by_the_user_holds_also_while_the_turn_is_cut(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.sleep(3)
        raise AssertionError("unreachable")

    async with open_house(tmp_path, script, config=OLD) as house:
        row = await house.say("hello")
        await anyio.sleep(1)
        house.turns.hand_over_turns("old")
        await house.say("/stop")
        ended = await house.ended(row)
        assert (ended.state, ended.reason, len(house.agents.turns)) == ("done", "stopped", 1)


async def test_a_stop_while_another_agent_is_about_to_take_the_message_holds(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    async with open_house(tmp_path, script, config=OLD) as house:
        row = await house.say("hello")
        await anyio.sleep(1)
        house.configured.replace(NEW)
        house.flaky.holds["questions_of"] = held = anyio.Event()
        house.turns.hand_over_turns("old")
        await anyio.sleep(1)
        stop = await house.say("/stop")
        held.set()
        assert (await house.ended(row)).reason == "stopped"
        await house.ended(stop)
        assert (house.texts, len(house.agents.turns)) == (["Stopped."], 1)


async def test_a_new_session_that_the_old_agent_cannot_open_any_more_is_begun_by_the_new_one(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    class Gone(ScriptedAgents):
        async def core(self, agent_id: str) -> "ScriptedAgents":
            if agent_id == "old":
                await anyio.sleep(5)
                raise NeedsOperator("there is no agent 'old' any more")
            return self

    async with open_house(tmp_path, config=OLD, agents=Gone(by_agent)) as house:
        row = await house.say("/new hello")
        await anyio.sleep(1)
        house.configured.replace(NEW)
        assert (await house.ended(row)).reason == "answered"
        assert house.texts == ["new: hello"]


async def test_other_bindings_hold_for_what_waits(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    two = with_agents("old", "other")
    async with open_house(tmp_path, gate, config=two) as house:
        rows = [await house.say(text) for text in ("first", "second")]
        await anyio.sleep(1)
        house.configured.replace(replace(two, bindings=(BindingConfig(MatchConfig(channel="chat"), "other"),)))
        gate.gate.set()
        for row in rows:
            await house.ended(row)
        assert [turn.request.agent_id for turn in house.agents.turns] == ["old", "other"]


async def test_a_reload_without_a_difference_moves_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=OLD) as house:
        rows = [await house.say(text) for text in ("first", "second", "third")]
        await anyio.sleep(1)
        for _ in range(5):
            house.configured.replace(OLD)
            await anyio.sleep(0.1)
        assert house.turns.status().waiting == 2
        gate.gate.set()
        for row in rows:
            await house.ended(row)
        assert house.texts == ["re: first", "re: second", "re: third"]


async def test_what_waits_for_an_account_that_is_gone_ends(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=OLD) as house:
        running, waiting = [await house.say(text) for text in ("first", "second")]
        await anyio.sleep(1)
        house.configured.replace(replace(OLD, accounts=OLD.accounts[1:]))
        assert await house.reason_of(await house.ended(waiting)) == ("dropped", "account_removed")
        assert gate.running == ["first"], "the turn that runs ends, and its reply is kept"
        gate.gate.set()
        assert (await house.ended(running)).state == "done"
        assert [row.payload.body.text for row in house.handed] == ["re: first"]
        assert house.backlog.waiting == 0


async def test_edits_go_with_their_message_and_commands_keep_their_place(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    async with open_house(tmp_path, gate, config=OLD) as house:
        await house.say("first")
        second = await house.say("second")
        edit = await house.say("second, mended", kind="edit", message_id=second.envelope.message_id)
        fresh = await house.say("/new")
        await anyio.sleep(1)
        house.configured.replace(NEW)
        gate.gate.set()
        for row in (second, edit, fresh):
            assert (await house.ended(row)).state == "done"
        assert [turn.request.text for turn in house.agents.turns] == ["first", "second, mended"]


async def test_other_modes_and_limits_hold_for_what_waits(tmp_path: Path, autojump_clock: MockClock) -> None:
    gate = Gate()
    narrow = replace(OLD, limits=LimitsSection(turns=1))
    async with open_house(tmp_path, gate, config=narrow) as house:
        rows = [await house.say(text) for text in ("a1", "a2", "a3")]
        rows.append(await house.say("b1", channel="sms"))
        await anyio.sleep(1)
        assert gate.most == 1
        house.configured.replace(replace(OLD, sessions=SessionsSection(queue_mode="collect")))
        await anyio.sleep(1)
        assert sorted(gate.running) == ["a1", "b1"], "more turns may run at once now"
        gate.gate.set()
        for row in rows:
            await house.ended(row)
        assert [turn.request.text for turn in house.agents.turns] == ["a1", "b1", "a2\n\na3"]


@pytest.mark.parametrize("kept", [True, False])
async def test_who_may_answer_a_request_holds_at_once_also_for_one_that_waits(
    tmp_path: Path, autojump_clock: MockClock, kept: bool
) -> None:
    async def script(turn: Turn) -> str:
        return (await turn.permission(ToolRequest("shell", '{"command":"ls"}'))).outcome

    def team(*people: str) -> ApprovalsSection:
        return ApprovalsSection(groups={"team": ApproverGroup(people=people)})

    policy = replace(AgentFrame().approvals, ask=("team",))
    config = configuration(approvals=team("tg:1"), policy=policy)
    async with open_house(tmp_path, script, config=config) as house:
        row = await house.say("go", channel="tg")
        await anyio.sleep(1)
        await house.send_all()
        [prompt] = [row for row in house.handed if row.payload.choices]
        house.configured.replace(configuration(approvals=team("tg:1" if kept else "tg:2"), policy=policy))
        await house.press(prompt, "once", by="1")
        await anyio.sleep(1)
        assert (house.texts[-1] == "allowed") is kept
        if not kept:
            await house.press(prompt, "once", by="2")
        assert (await house.ended(row)).reason == "answered"
        assert house.texts[-1] == "allowed"


async def test_a_turn_that_runs_on_with_the_old_agent_is_stopped_and_answered_in_its_chat(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async def script(turn: Turn) -> str:
        if turn.request.text == "ask me":
            return " ".join(await turn.question(Question("which?")) or ())
        await anyio.sleep_forever()
        raise AssertionError("unreachable")

    two = with_agents("old", "other")
    bound = replace(two, bindings=(BindingConfig(MatchConfig(channel="chat"), "other"),))
    async with open_house(tmp_path, script, config=two) as house:
        asking = await house.say("ask me")
        await anyio.sleep(1)
        house.configured.replace(bound)
        await house.say("this one")
        assert (await house.ended(asking)).state == "done"
        assert house.texts[-1] == "this one"
        house.configured.replace(two)
        endless = await house.say("for ever")
        await anyio.sleep(1)
        house.configured.replace(bound)
        waiting = await house.say("next")
        await anyio.sleep(1)
        assert len(house.agents.turns) == 2, "the next one waits, though another agent has it"
        await house.say("/stop")
        assert (await house.ended(endless)).reason == "stopped"
        assert await house.reason_of(waiting) == ("dropped", "stopped")
