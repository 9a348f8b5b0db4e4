"""The approval desk: waits, decides once, is used once, and is the same request after a crash."""

from functools import partial
from pathlib import Path

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.model.config import AgentApprovals, ApprovalsSection, LimitsSection, SessionsSection
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.approval import Approval, Decision, ToolRequest
from gatewayd.ports.agent import Turn
from tests.hub.house import Gate, House, configuration, open_house

RM = ToolRequest("shell", '{"command":"rm -rf ./x"}')
LS = ToolRequest("shell", '{"command":"ls"}')


class Tool:
    """A script that asks for ``requests`` in order and notes what really ran."""

    def __init__(self, *requests: ToolRequest) -> None:
        self.requests = requests
        self.ran: list[ToolRequest] = []
        self.decisions: list[Decision] = []

    async def __call__(self, turn: Turn) -> str:
        for request in self.requests:
            decision = await turn.permission(request)
            self.decisions.append(decision)
            if decision.allowed:
                self.ran.append(request)
        return "over"


async def pending(house: House) -> Approval:
    """The one request that waits."""
    await trio.testing.wait_all_tasks_blocked()
    [approval] = await house.desk.list()
    return approval


async def test_allowed_runs_once_and_says_by_whom(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool) as house:
        row = await house.say("go")
        approval = await pending(house)
        assert (approval.tool, approval.input, approval.origin) == (RM.tool, RM.input, "chat:main:dm:7")
        assert f"gatewayctl approvals allow {approval.id}" in house.texts[0]
        await house.desk.decide(approval.id, allow=True, by="operator:me", note="fine")
        await house.ended(row)
        assert tool.decisions == [Decision("allowed", by="operator:me", note="fine")]
        assert (await house.desk.get(approval.id)).consumed_at is not None
        assert house.desk.pending_count() == 0


async def test_denied_and_expired_are_different_things(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM, LS)
    config = configuration(approvals=ApprovalsSection(timeout_seconds=100))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        await house.desk.decide((await pending(house)).id, allow=False, by="operator:me")
        await house.ended(row)
        assert [decision.outcome for decision in tool.decisions] == ["denied", "expired"]
        assert tool.ran == []


async def test_a_request_that_nobody_can_take_fails_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=configuration(approvals=ApprovalsSection(max_pending=1))) as house:
        await house.say("go")
        await pending(house)
        await house.ended(await house.say("go", peer=Peer("dm", "8")))
        assert [decision.outcome for decision in tool.decisions] == ["undeliverable"]
        assert tool.ran == []


async def test_waiting_for_an_operator_does_not_count_as_the_turns_time(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    config = configuration(sessions=SessionsSection(turn_timeout_seconds=10))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
        await anyio.sleep(500)
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        assert (await house.ended(row)).reason == "answered"
        assert tool.ran == [RM]


async def test_a_decision_counts_once_and_the_second_is_told_what_it_was(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house:
        await house.say("go")
        approval = await pending(house)
        await house.desk.decide(approval.id, allow=False, by="operator:one")
        with pytest.raises(Conflict, match="was denied by operator:one"):
            await house.desk.decide(approval.id, allow=True, by="operator:two")
        with pytest.raises(NotFound):
            await house.desk.decide("ap_nothing", allow=True, by="operator:two")


async def test_a_stopped_turn_withdraws_its_request(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool) as house:
        await house.say("go")
        approval = await pending(house)
        await house.ended(await house.say("/stop"))
        await trio.testing.wait_all_tasks_blocked()
        assert (await house.desk.get(approval.id)).state == "withdrawn"
        with pytest.raises(Conflict):
            await house.desk.decide(approval.id, allow=True, by="operator:late")
        assert tool.ran == []


@pytest.mark.parametrize("press", ["before the crash", "after the restart"])
async def test_a_request_pending_at_a_crash_is_the_same_request_after_it(
    tmp_path: Path, autojump_clock: MockClock, press: str
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool) as house:
        row = await house.say("go")
        approval = await pending(house)
        house.flaky.refuses.add("consume_approval")  # the last moment before the answer is used
        if press == "before the crash":
            await house.desk.decide(approval.id, allow=True, by="operator:me")
            await trio.testing.wait_all_tasks_blocked()
        assert tool.ran == []
    async with open_house(tmp_path, tool) as house:
        if press == "after the restart":
            assert (await pending(house)).id == approval.id
            await house.desk.decide(approval.id, allow=True, by="operator:me")
        await house.ended(row)
        assert tool.ran == [RM]
        assert len(await house.desk.list(None)) == 1
        told = [row for row in await house.store.outbound_by("turn_id", f"turn-{row.id}") if approval.id in row.payload.body.text]
        assert len(told) == 1, "the chat is told once, not once per restart"


async def test_a_permission_used_before_the_crash_is_not_used_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    class Hangs(Tool):
        async def __call__(self, turn: Turn) -> str:
            await super().__call__(turn)
            await anyio.sleep_forever()
            return ""

    tool = Hangs(RM)
    async with open_house(tmp_path, tool) as house:
        await house.say("go")
        first = await pending(house)
        await house.desk.decide(first.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        assert tool.ran == [RM]
    async with open_house(tmp_path, tool) as house:
        await trio.testing.wait_all_tasks_blocked()
        assert tool.ran == [RM], "once for one yes"
        assert (await pending(house)).id != first.id


async def test_what_is_asked_after_the_crash_is_not_allowed_by_what_was_shown_before(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_house(tmp_path, Tool(LS)) as house:
        await house.say("go")
        shown = await pending(house)
    tool = Tool(RM)
    async with open_house(tmp_path, tool) as house:
        asked = await pending(house)
        assert (asked.input, asked.id != shown.id) == (RM.input, True)
        with pytest.raises(Conflict, match="withdrawn"):
            await house.desk.decide(shown.id, allow=True, by="operator:me")
        assert tool.ran == []


async def test_an_overdue_request_expires_at_the_start_and_a_late_press_is_told_so(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = configuration(approvals=ApprovalsSection(timeout_seconds=60))
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
    await anyio.sleep(61)
    async with open_house(tmp_path, tool, config=config) as house:
        await house.ended(row)
        with pytest.raises(Conflict, match="expired"):
            await house.desk.decide(approval.id, allow=True, by="operator:late")
        assert [decision.outcome for decision in tool.decisions] == ["expired"]


async def test_wait_decided(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house, anyio.create_task_group() as tasks:
        await house.say("go")
        approval = await pending(house)
        found: list[Approval] = []

        async def wait() -> None:
            found.append(await house.desk.wait_decided(approval.id))

        tasks.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert found == []
        await house.desk.decide(approval.id, allow=True, by="operator:me")
        await trio.testing.wait_all_tasks_blocked()
        assert found[0].state == "allowed"


async def ask_twice_at_once(turn: Turn) -> str:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(turn.permission, RM)
        tasks.start_soon(turn.permission, LS)
    await anyio.sleep_forever()
    return ""


async def test_the_time_limit_goes_on_after_several_requests_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(sessions=SessionsSection(turn_timeout_seconds=10))
    async with open_house(tmp_path, ask_twice_at_once, config=config) as house:
        row = await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        first, second = await house.desk.list()
        await anyio.sleep(60)
        await house.desk.decide(first.id, allow=True, by="operator:me")
        await anyio.sleep(60)
        await house.desk.decide(second.id, allow=True, by="operator:me")
        with anyio.fail_after(60):
            assert (await house.ended(row)).reason == "turn_timed_out"


async def test_who_presses_and_goes_away_during_the_commit_is_heard(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool) as house:
        row = await house.say("go")
        approval = await pending(house)
        house.flaky.holds["vote_approval"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(house.desk.decide, approval.id, allow=True, by="operator:me"))
            await trio.testing.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
            house.flaky.holds.pop("vote_approval").set()
        with anyio.fail_after(10):
            await house.ended(row)
        assert tool.ran == [RM]
        assert house.desk.pending_count() == 0


async def test_a_turn_stopped_while_its_request_is_committed_withdraws_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house:
        gate = house.flaky.holds["add_approval"] = anyio.Event()
        row = await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        stop = await house.say("/stop")
        gate.set()
        await house.ended(stop)
        assert (await house.ended(row)).reason == "stopped"
        assert [approval.state for approval in await house.desk.list(None)] == ["withdrawn"]
        assert house.desk.pending_count() == 0


async def test_a_full_desk_still_takes_up_the_request_that_fills_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(RM)
    config = configuration(approvals=ApprovalsSection(max_pending=1))
    async with open_house(tmp_path, tool, config=config) as house:
        row = await house.say("go")
        before = await pending(house)
    async with open_house(tmp_path, tool, config=config) as house:
        assert (await pending(house)).id == before.id
        await house.desk.decide(before.id, allow=True, by="operator:me")
        await house.ended(row)
        assert tool.ran == [RM]


async def test_a_request_of_a_turn_that_never_runs_again_is_withdrawn(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house:
        row = await house.say("go")
        await pending(house)
    async with open_house(tmp_path, Tool(RM), config=configuration(sessions=SessionsSection(max_turn_attempts=1))) as house:
        assert (await house.ended(row)).reason == "attempts_exhausted"
        assert [approval.state for approval in await house.desk.list(None)] == ["withdrawn"]
        assert house.desk.pending_count() == 0


async def test_a_request_of_a_turn_stopped_before_it_went_on_is_withdrawn(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house:
        await house.say("go", peer=Peer("dm", "8"))
        await pending(house)
        await house.say("go")
        await trio.testing.wait_all_tasks_blocked()
        assert house.desk.pending_count() == 2
    one = configuration(limits=LimitsSection(turns=1))
    async with open_house(tmp_path, Gate(), config=one) as house:
        await trio.testing.wait_all_tasks_blocked()
        [running] = house.agents.turns
        waits = Peer("dm", "7" if running.request.peer.id == "8" else "8")
        await house.ended(await house.say("/stop", peer=waits))
        assert house.desk.pending_count() == 1


async def test_a_request_nobody_could_read_is_refused(tmp_path: Path, autojump_clock: MockClock) -> None:
    tool = Tool(ToolRequest("shell", "x" * 200_000))
    async with open_house(tmp_path, tool) as house:
        await house.ended(await house.say("go"))
        assert [decision.outcome for decision in tool.decisions] == ["undeliverable"]
        assert await house.desk.list(None) == []


@pytest.mark.parametrize(
    "method", ["approvals_of", "find_grant", "add_approval", "get_approval", "outbound_by", "add_outbound", "consume_approval"]
)
async def test_a_full_disk_holds_a_request_up_and_the_turn_is_not_begun_again(
    tmp_path: Path, autojump_clock: MockClock, method: str
) -> None:
    tool = Tool(RM)
    async with open_house(tmp_path, tool) as house:
        house.flaky.refuses.add(method)
        row = await house.say("go")
        await anyio.sleep(3)
        if method == "consume_approval":
            await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
            await anyio.sleep(3)
        assert house.flaky.refused
        assert tool.ran == []
        house.flaky.refuses.clear()
        await anyio.sleep(2)
        if method != "consume_approval":
            await house.desk.decide((await pending(house)).id, allow=True, by="operator:me")
        await house.ended(row)
        assert tool.ran == [RM]
        assert len(house.agents.turns) == 1


async def test_two_votes_and_the_end_of_the_time_at_once_leave_nothing_pending(tmp_path: Path, autojump_clock: MockClock) -> None:
    """The news of a first yes of two comes after that of the time-out: the request is over, not pending again."""
    config = configuration(approvals=ApprovalsSection(timeout_seconds=60), policy=AgentApprovals(quorum=2))
    async with open_house(tmp_path, Tool(RM), config=config) as house:
        row = await house.say("go")
        approval = await pending(house)
        gate = house.flaky.holds["vote_approval"] = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(partial(house.desk.decide, approval.id, allow=True, by="operator:me"))
            await house.ended(row)
            gate.set()
        assert (await house.desk.get(approval.id)).state == "expired"
        assert house.desk.pending_count() == 0
        with anyio.fail_after(1):
            await house.desk.wait_decided(approval.id)


async def test_a_request_of_a_turn_that_is_over_is_withdrawn_at_the_start(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path, Tool(RM)) as house:
        row = await house.say("go")
        approval = await pending(house)
        # As after a crash between the end of the turn and that of its request.
        await house.store.end_inbound([row.id], state="done", reason="answered", now=0.0)
    async with open_house(tmp_path, Tool(RM)) as house:
        assert (await house.desk.get(approval.id)).state == "withdrawn"
        assert house.desk.pending_count() == 0
        assert [entry.action for entry in await house.audited()] == ["approval.withdrawn"]


async def test_a_request_waits_no_longer_than_any_may_whatever_the_clock_says(tmp_path: Path, autojump_clock: MockClock) -> None:
    """A row whose time is over in hours, as after a clock that was set back."""
    tool = Tool(RM)
    async with open_house(tmp_path, tool, config=configuration(approvals=ApprovalsSection(timeout_seconds=10_000))) as house:
        row = await house.say("go")
        await pending(house)
    async with open_house(tmp_path, tool, config=configuration(approvals=ApprovalsSection(timeout_seconds=100))) as house:
        with anyio.fail_after(101):
            await house.ended(row)
        assert [decision.outcome for decision in tool.decisions] == ["expired"]
