"""What one run of a turn asks: several at once, under ids of the core or without, taken back, and asked again by a later run."""

from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.hub.approvals.requests import ApprovalRequests
from gatewayd.model.config import AgentApprovals, AgentFrame, AgentSettings, ApprovalRule
from gatewayd.model.errors import Conflict, TryAgain
from gatewayd.model.records.approval import Approval, Decision, ToolRequest
from gatewayd.ports.agent import CoreTurnState, Turn
from tests.hub.approvals.approvers import TEAM_CHAT, asking, buttons, text
from tests.hub.approvals.test_desk import LS, RM, Tool, pending
from tests.hub.house import House, ScriptedAgents, configuration, open_house


class Parallel:
    """Asks for everything at once. ``told`` are the answers by the core's id, else by the input."""

    def __init__(self, *requests: ToolRequest) -> None:
        self.requests = requests
        self.told: dict[str, list[Decision]] = {}

    async def __call__(self, turn: Turn) -> str:
        async with anyio.create_task_group() as tasks:
            for request in self.requests:
                tasks.start_soon(self._ask, turn, request)
                await anyio.sleep(1)
        return "over"

    async def _ask(self, turn: Turn, request: ToolRequest) -> None:
        decision = await turn.permission(request)
        self.told.setdefault(request.ref or request.input, []).append(decision)


def agents(script: Parallel | Tool, known: CoreTurnState) -> ScriptedAgents:
    found = ScriptedAgents(script)
    found.known = known
    return found


class Down(ScriptedAgents):
    """Its core is not open."""

    async def core(self, agent_id: str) -> ScriptedAgents:
        raise TryAgain("it is being opened")


async def all_pending(house: House) -> list[Approval]:
    await anyio.sleep(10)
    return await house.desk.list()


A, B, C = (replace(RM, ref=name) for name in "abc")


async def test_several_at_once_are_all_shown_and_answered_one_by_one(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Parallel(RM, LS)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        first, second = await all_pending(house)
        assert [first.input, second.input] == [RM.input, LS.input]
        await house.desk.decide(second.id, allow=True, by="operator:me")
        assert [approval.id for approval in await all_pending(house)] == [first.id]
        await house.desk.decide(first.id, allow=False, by="operator:me")
        await house.ended(row)
        assert {key: [told.outcome for told in found] for key, found in script.told.items()} == {
            RM.input: ["denied"],
            LS.input: ["allowed"],
        }


async def test_the_same_twice_at_once_needs_two_answers(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Parallel(RM, RM)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        first, second = await all_pending(house)
        await house.desk.decide(first.id, allow=True, by="operator:me")
        assert [approval.id for approval in await all_pending(house)] == [second.id]
        await house.desk.decide(second.id, allow=True, by="operator:me")
        await house.ended(row)
        assert [told.outcome for told in script.told[RM.input]] == ["allowed", "allowed"]


@pytest.mark.parametrize("order", [(A, B, C), (C, B, A), (B, C, A)])
async def test_what_waits_under_ids_is_found_in_any_order_and_beside_something_new(
    tmp_path: Path, autojump_clock: MockClock, order: tuple[ToolRequest, ...]
) -> None:
    """The agent's server lives on over our restart, and asks for one thing more meanwhile."""
    async with open_house(tmp_path, Parallel(A, B), config=asking()) as house:
        row = await house.say("go")
        before = {approval.ref: approval.id for approval in await all_pending(house)}
        assert set(before) == {"a", "b"}
    script = Parallel(*order)
    async with open_house(tmp_path, script, agents=agents(script, "running"), config=asking()) as house:
        after = {approval.ref: approval.id for approval in await all_pending(house)}
        assert {ref: after[ref] for ref in before} == before
        assert set(after) == {"a", "b", "c"}
        for ref, approval_id in after.items():
            await house.desk.decide(approval_id, allow=ref == "b", by="operator:me")
        await house.ended(row)
        assert {ref: told[0].outcome for ref, told in script.told.items()} == {"a": "denied", "b": "allowed", "c": "denied"}
        assert len(await house.screen(TEAM_CHAT)) == 3


async def test_an_answer_under_an_id_is_told_again_after_a_crash(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(A)
    async with open_house(tmp_path, tool, agents=agents(tool, "running")) as house:
        await house.say("go")
        approval = await pending(house)
        house.flaky.refuses.add("end_inbound")  # told, and killed before the turn has ended
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        assert tool.ran == [A]
        used = (await house.desk.get(approval.id)).consumed_at
        assert used is not None
    async with open_house(tmp_path, tool, agents=agents(tool, "running")) as house:
        await trio.testing.wait_all_tasks_blocked()
        assert tool.decisions == [Decision("allowed", by="operator:me")] * 2
        assert len(await house.desk.list(None)) == 1
        assert (await house.desk.get(approval.id)).consumed_at == used, "it was used up then"


@pytest.mark.parametrize("request_", [RM, A], ids=["without an id", "with an id"])
@pytest.mark.parametrize("answered", [True, False], ids=["answered", "pending"])
async def test_what_one_agent_was_allowed_another_one_is_not(
    request_: ToolRequest, answered: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Where the configuration of the next start gives the message to another agent: people have read who asks."""
    tool = Tool(request_)
    async with open_house(tmp_path, tool, config=asking()) as house:
        await house.say("go")
        first = await pending(house)
        house.flaky.refuses.add("end_inbound")
        if answered:
            await house.desk.decide(first.id, allow=True, by="operator:me", scope="session")
        await trio.testing.wait_all_tasks_blocked()
    ran = list(tool.ran)
    config = replace(asking(), agents=(AgentSettings("other", asking().agents[0].frame, AgentFrame()),))
    async with open_house(tmp_path, tool, agents=agents(tool, "running"), config=config) as house:
        await trio.testing.wait_all_tasks_blocked()
        asked = {row.agent: row.state for row in await house.desk.list(None)}
        assert asked == {"assistant": "allowed" if answered else "withdrawn", "other": "pending"}
        assert tool.ran == ran == ([request_] if answered else [])


async def test_under_one_id_but_with_another_input_it_is_another_request(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(A)
    async with open_house(tmp_path, tool, agents=agents(tool, "running")) as house:
        await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        tool.requests = (replace(LS, ref="a"),)
        await house.say("go")
        assert (await pending(house)).input == LS.input
    async with open_house(tmp_path, tool, agents=agents(tool, "running")) as house:
        assert (await pending(house)).input == LS.input
        assert tool.ran == [A]


async def test_a_lost_turn_voids_what_waits_under_its_ids(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Run again from the start, its agent will ask under other ids: a press on the old prompt would run nothing."""
    async with open_house(tmp_path, Tool(A), config=asking()) as house:
        await house.say("go")
        old = await pending(house)
        await house.send_all()
    tool = Tool(B)
    async with open_house(tmp_path, tool, agents=agents(tool, "lost"), config=asking()) as house:
        new = await pending(house)
        assert new.id != old.id
        assert (await house.desk.get(old.id)).state == "withdrawn"
        gone, prompt = await house.screen(TEAM_CHAT)
        assert "**Withdrawn**" in text(gone)
        assert buttons(gone) == []
        assert prompt.subject == new.id


async def test_what_was_used_before_a_turn_was_lost_is_not_used_again_under_its_id(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """The agent's ids may begin anew: the same one would run a second time."""

    class Hangs(Tool):
        async def __call__(self, turn: Turn) -> str:
            await super().__call__(turn)
            await anyio.sleep_forever()
            return ""

    tool = Hangs(A)
    async with open_house(tmp_path, tool, agents=agents(tool, "lost")) as house:
        await house.say("go")
        first = await pending(house)
        await house.desk.decide(first.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        assert tool.ran == [A]
    tool = Hangs(A)
    async with open_house(tmp_path, tool, agents=agents(tool, "lost")) as house:
        assert (await pending(house)).id != first.id
        assert tool.ran == []


async def test_a_yes_that_was_not_used_before_the_turn_was_lost_holds_for_the_very_same(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    """Pressed while the agent's server was being started again: nobody has to press twice."""
    async with open_house(tmp_path, Tool(A), config=asking()) as house:
        row = await house.say("go")
        old = await pending(house)
    async with open_house(tmp_path, agents=Down(Tool(A)), config=asking()) as house:
        await house.desk.decide(old.id, allow=True, by="operator:me")
    tool = Tool(replace(A, ref="another"))
    async with open_house(tmp_path, tool, agents=agents(tool, "lost"), config=asking()) as house:
        await house.ended(row)
        assert [request.input for request in tool.ran] == [A.input]
        assert len(await house.desk.list(None)) == 1
        assert (await house.desk.get(old.id)).consumed_at is not None


async def test_asked_twice_under_one_id_in_one_run_it_is_one_request(tmp_path: Path, autojump_clock: MockClock) -> None:
    script = Parallel(A, A, B)
    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        first, other = await all_pending(house)
        assert (first.ref, other.ref) == ("a", "b")
        await house.desk.decide(first.id, allow=True, by="operator:me")
        await house.desk.decide(other.id, allow=False, by="operator:me")
        await house.ended(row)
        assert [told.outcome for told in script.told["a"]] == ["allowed", "allowed"], "its core runs it once"
        assert len(await house.desk.list("allowed")) == 1


async def test_a_wait_that_the_core_gives_up_withdraws_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    decisions: list[Decision] = []

    async def script(turn: Turn) -> str:
        with anyio.move_on_after(5):
            await turn.permission(A)
        decisions.append(await turn.permission(A))
        return "over"

    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        approval = await pending(house)
        await anyio.sleep(10)
        assert (await pending(house)).id == approval.id
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await house.ended(row)
        assert [decision.outcome for decision in decisions] == ["allowed"]


# --- Taken back


@pytest.mark.parametrize("when", ["it waits", "it is on its way into the store", "it is about to be asked"])
async def test_what_the_core_takes_back_is_withdrawn(tmp_path: Path, autojump_clock: MockClock, when: str) -> None:
    """Answered elsewhere within a moment: whenever the news comes, nobody waits, and nobody is shown a request that is void."""
    told: list[Decision] = []

    async def script(turn: Turn) -> str:
        async def ask() -> None:
            told.append(await turn.permission(A))

        async with anyio.create_task_group() as tasks:
            if when == "it is about to be asked":
                await turn.withdraw("a", why="answered elsewhere")
            tasks.start_soon(ask)
            await anyio.sleep(1)
            await turn.withdraw("a", why="answered elsewhere")
        return "over"

    async with open_house(tmp_path, script, config=asking()) as house:
        if when == "it is on its way into the store":
            house.flaky.holds["add_approval"] = anyio.Event()
        row = await house.say("go")
        await anyio.sleep(2)
        for gate in house.flaky.holds.values():
            gate.set()
        with anyio.fail_after(5):
            await house.ended(row)
        assert told == [Decision("withdrawn", by="gatewayd", note="answered elsewhere")]
        [approval] = await house.desk.list(None)
        assert approval.state == "withdrawn"
        assert house.desk.pending_count() == 0
        shown = await house.screen(TEAM_CHAT)
        assert len(shown) == (1 if when == "it waits" else 0)
        assert all("**Withdrawn**" in text(prompt) for prompt in shown)


async def test_to_take_back_what_was_never_asked_is_no_error(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def script(turn: Turn) -> str:
        for number in range(5000):
            await turn.withdraw(f"per_{number}", why="gone")
        return "over"

    async with open_house(tmp_path, script) as house:
        assert (await house.ended(await house.say("go"))).reason == "answered"


# --- Which row is whose


async def test_a_number_that_was_left_out_makes_no_row_anothers(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A request that was cut on its way into the store leaves a gap in the turn's numbers. After a restart the next one must
    not come to lie upon a row of another request: that one may be allowed."""
    rules = (ApprovalRule("allow", "shell", {"command": "ls"}),)
    config = configuration(policy=AgentApprovals(rules=rules))

    async def cut(turn: Turn) -> str:
        with anyio.CancelScope() as scope:
            scope.cancel()
            await turn.permission(replace(LS, tool="shell2"))
        house.flaky.refuses.add("consume_approval")
        await turn.permission(LS)  # allowed by the rule, and never used
        return ""

    async with open_house(tmp_path, cut, config=config) as house:
        await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        [allowed] = await house.desk.list("allowed")
        # The gap, as a write that was cut leaves it.
        await house.store.add_approval(replace(allowed, id="ap_gap", ordinal=allowed.ordinal + 2))
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("/status")
        await house.ended(row)
        asked = await pending(house)
        assert (asked.input, asked.ordinal) == (RM.input, allowed.ordinal + 3)
        assert tool.ran == []


async def test_a_row_that_has_the_number_already_is_left_alone(tmp_path: Path, autojump_clock: MockClock) -> None:
    """As after the cancelled write of a parallel request whose row was committed all the same."""
    tool = Tool(LS, RM)
    async with open_house(tmp_path, tool, config=configuration()) as house:
        await house.say("go")
        first = await pending(house)
        hidden = replace(first, id="ap_hidden", ordinal=1, state="allowed", decided_by="operator:x", decided_at=0.0)
        await house.store.add_approval(hidden)
        await house.desk.decide(first.id, allow=True, by="operator:me")
        second = await pending(house)
        assert (second.input, second.ordinal) == (RM.input, 2)
        assert tool.ran == [LS]


# --- Never shown


@pytest.mark.parametrize(
    "request_",
    [
        ToolRequest("x" * 201, "{}"),
        ToolRequest("shell", "x" * 100_001),
        ToolRequest("shell", "{}", "r" * 100_001),
        ToolRequest("shell\ud800", "{}"),
        ToolRequest("shell", "rm \udfff"),
        ToolRequest("shell", "{}", "\ud800"),
    ],
)
async def test_what_cannot_be_shown_whole_is_refused_and_harms_nothing(
    tmp_path: Path, autojump_clock: MockClock, request_: ToolRequest
) -> None:
    tool = Tool(request_, LS)
    async with open_house(tmp_path, tool) as house:
        row = await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        assert (await house.ended(row)).reason == "answered"
        assert [decision.outcome for decision in tool.decisions] == ["undeliverable", "allowed"]
        assert tool.ran == [LS]


async def test_the_longest_that_is_shown(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(ToolRequest("x" * 200, "y" * 100_000))
    async with open_house(tmp_path, tool) as house:
        row = await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        await house.ended(row)
        assert len(tool.ran) == 1


# --- After the end


async def test_a_core_that_goes_on_after_its_end_gets_nothing_more(tmp_path: Path, autojump_clock: MockClock) -> None:
    """It ignores its cancellation, and asks again when its turn is over: no row, no prompt, and no place that it keeps."""
    gate, told = anyio.Event(), list[Decision | tuple[str, ...] | None]()

    async def script(turn: Turn) -> str:
        with anyio.CancelScope(shield=True):
            told.append(await turn.permission(RM))
            await gate.wait()
            told.append(await turn.permission(LS))
        return "over"

    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await pending(house)
        await house.ended(await house.say("/stop"))
        assert (await house.ended(row)).reason == "stopped"
        gate.set()
        await trio.testing.wait_all_tasks_blocked()
        assert [decision.outcome for decision in told if isinstance(decision, Decision)] == ["withdrawn", "withdrawn"]
        assert house.desk.pending_count() == 0
        assert len(await house.desk.list(None)) == 1


async def test_deciding_and_withdrawing_at_once_is_one_of_the_two(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(A)
    async with open_house(tmp_path, tool) as house:
        row = await house.say("go")
        approval = await pending(house)

        async def decide() -> None:
            with suppress(Conflict):
                await house.desk.decide(approval.id, allow=True, by="operator:me")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(decide)
            tasks.start_soon(partial(house.agents.turns[0].withdraw, "a", why="gone"))
        await house.ended(row)
        state = (await house.desk.get(approval.id)).state
        assert [decision.outcome for decision in tool.decisions] == [state]
        assert len(tool.ran) == (state == "allowed")


async def test_two_runs_of_one_turn_at_once_share_a_row_and_use_it_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    """As when a run that ignores its cancellation has not let go yet."""
    told: list[str] = []

    async def script(turn: Turn) -> str:
        async def ask(requests: ApprovalRequests) -> None:
            told.append((await requests.permission(RM)).outcome)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(ask, ApprovalRequests(house.desk, house.store, turn.request))
            await anyio.sleep(1)
            tasks.start_soon(ask, ApprovalRequests(house.desk, house.store, turn.request))
        return "over"

    async with open_house(tmp_path, script) as house:
        row = await house.say("go")
        await anyio.sleep(2)
        await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        await house.ended(row)
        assert sorted(told) == ["allowed", "withdrawn"]


@pytest.mark.parametrize("ended", ["undeliverable", "withdrawn"])
async def test_what_was_not_answered_is_asked_again_by_the_next_run(
    tmp_path: Path, autojump_clock: MockClock, ended: str
) -> None:
    class Hangs(Tool):
        async def __call__(self, turn: Turn) -> str:
            await super().__call__(turn)
            await anyio.sleep_forever()
            return ""

    tool = Hangs(A)
    async with open_house(tmp_path, tool, config=asking()) as house:
        if ended == "undeliverable":
            house.down["tg", "main"] = "tg/main is parked"
        await house.say("go")
        await anyio.sleep(1)
        if ended == "withdrawn":
            await house.agents.turns[0].withdraw("a", why="gone")
        await trio.testing.wait_all_tasks_blocked()
        assert [decision.outcome for decision in tool.decisions] == [ended]
    async with open_house(tmp_path, tool, agents=agents(tool, "running"), config=asking()) as house:
        assert (await pending(house)).state == "pending"
        assert len(await house.desk.list(None)) == 2
