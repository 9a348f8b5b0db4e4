"""The whole hub: the snapshot names every problem, and the flush waits only for what can be sent."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import trio
from trio.testing import MockClock

from gatewayd.model.config import LimitsSection
from gatewayd.model.status import AccountState, AccountStatus, AgentStatus, Problem
from gatewayd.ports.agent import Turn
from tests.hub.house import EPOCH, Gate, House, configuration, echo, now, open_house


def state(house: House, state: AccountState) -> None:
    """The one account is in this state now."""
    why = "why" if state != "connected" else None
    house.accounts.statuses = (AccountStatus("chat", "main", state, EPOCH, why),)


@asynccontextmanager
async def open_site(state_dir: Path, script: Gate | None = None, *, inbox_backlog: int = 100) -> AsyncIterator[House]:
    config = configuration(limits=LimitsSection(inbox_backlog=inbox_backlog))
    async with open_house(state_dir, script or _echo, config=config) as house:
        state(house, "connected")
        house.gateway.enter("ready")
        yield house


async def _echo(turn: Turn) -> str:
    return await echo(turn)


async def test_a_healthy_hub_has_no_problem_and_each_fault_is_one_sentence(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_site(tmp_path, Gate(), inbox_backlog=1) as house:
        assert (house.gateway.snapshot().ready, house.gateway.snapshot().problems) == (True, ())
        state(house, "parked")
        house.agents.status = AgentStatus("assistant", "echo", "waiting", "refused", since=EPOCH)
        for text in ("one", "two"):
            await house.say(text)
            await trio.testing.wait_all_tasks_blocked()
        full_since = now()
        await trio.sleep(100)
        snapshot = house.gateway.snapshot()
        assert not snapshot.ready
        assert snapshot.problems == (
            Problem("inbox_full", "failing", "", full_since, "the inbox is full: 1 message waits for a turn"),
            Problem("account_down", "failing", "chat/main", EPOCH, "chat/main is parked: why"),
            Problem("agent_down", "failing", "assistant", EPOCH, "agent assistant is waiting: refused"),
        )
        assert (snapshot.lanes.running, snapshot.lanes.waiting, snapshot.counters["inbound_waiting"]) == (1, 1, 1)


async def test_the_flush_waits_for_what_a_connected_account_can_send(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_site(tmp_path) as house:
        await house.ended(await house.say("hello"))
        with anyio.move_on_after(60) as scope:
            await house.gateway.flush()
        assert scope.cancelled_caught
        [row] = house.handed
        await house.outbox.mark_sending(row)
        await house.outbox.settle(row, "ready", next_attempt_at=now() + 600)
        with anyio.fail_after(1):
            await house.gateway.flush()


async def test_the_flush_does_not_wait_for_an_account_that_is_parked(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_site(tmp_path) as house:
        await house.ended(await house.say("hello"))
        state(house, "parked")
        with anyio.fail_after(1):
            await house.gateway.flush()
