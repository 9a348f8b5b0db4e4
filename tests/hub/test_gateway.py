"""The joined hub: the snapshot names every problem, and the flush waits for what can go out and for nothing else."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import trio
from trio.testing import MockClock

from gatewayd.hub.agents import AgentPool
from gatewayd.hub.gateway import Gateway
from gatewayd.hub.manager import ChannelManager
from gatewayd.hub.repair import RepairDesk
from gatewayd.hub.retention import Cleaner
from gatewayd.hub.story import StoryTeller
from gatewayd.hub.tally import LetterTally
from gatewayd.model.config import LimitsSection
from gatewayd.model.status import AccountState, AccountStatus, AgentStatus, Problem
from gatewayd.ports.agent import Turn
from tests.hub.house import EPOCH, Gate, House, configuration, echo, now, open_house


class Accounts:
    """The one account, in a state of the test's."""

    def __init__(self) -> None:
        self.state: AccountState = "connected"

    def snapshot(self) -> tuple[AccountStatus, ...]:
        return (AccountStatus("chat", "main", self.state, EPOCH, "why" if self.state != "connected" else None),)


class Agents:
    def __init__(self) -> None:
        self.status = AgentStatus("assistant", "echo", "open")

    def snapshot(self) -> tuple[AgentStatus, ...]:
        return (self.status,)


class Site:
    def __init__(self, house: House) -> None:
        self.house = house
        self.accounts = Accounts()
        self.agents = Agents()
        self.gateway = Gateway(
            config=house.config,
            store=house.store,
            events=house.events,
            manager=cast(ChannelManager, self.accounts),
            inbox=house.inbox,
            backlog=house.backlog,
            outbox=house.outbox,
            access=house.access,
            approvals=house.desk,
            questions=house.questions,
            presses=house.presses,
            sessions=house.sessions,
            turns=house.turns,
            agents=cast(AgentPool, self.agents),
            repair=RepairDesk(house.store, house.inbox, house.outbox, house.events, now=now),
            tally=LetterTally(house.store, house.events),
            cleaner=Cleaner(house.store, house.outbox, house.events, house.config, now=now),
            late=house.late,
            stories=StoryTeller(house.store, accounts=house.inbox.takers),
            now=now,
        )
        self.gateway.state = "ready"


@asynccontextmanager
async def open_site(state_dir: Path, script: Gate | None = None, *, inbox_waiting: int = 100) -> AsyncIterator[Site]:
    config = configuration(limits=LimitsSection(inbox_waiting=inbox_waiting))
    async with open_house(state_dir, script or _echo, config=config) as house:
        yield Site(house)


async def _echo(turn: Turn) -> str:
    return await echo(turn)


async def test_a_healthy_hub_has_no_problem_and_each_fault_is_one_sentence(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_site(tmp_path, Gate(), inbox_waiting=1) as site:
        assert (site.gateway.snapshot().ready, site.gateway.snapshot().problems) == (True, ())
        site.accounts.state = "parked"
        site.agents.status = AgentStatus("assistant", "echo", "waiting", "refused", since=EPOCH)
        for text in ("one", "two"):
            await site.house.say(text)
            await trio.testing.wait_all_tasks_blocked()
        full_since = now()
        await trio.sleep(100)
        snapshot = site.gateway.snapshot()
        assert not snapshot.ready
        assert snapshot.problems == (
            Problem("inbox_full", "failing", "", full_since, "the inbox is full: 1 message waits for a turn"),
            Problem("account_down", "failing", "chat/main", EPOCH, "chat/main is parked: why"),
            Problem("agent_down", "failing", "assistant", EPOCH, "agent assistant is waiting: refused"),
        )
        assert (snapshot.lanes.running, snapshot.lanes.waiting, snapshot.counters["inbound_waiting"]) == (1, 1, 1)


async def test_the_flush_waits_for_what_a_connected_account_can_send(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_site(tmp_path) as site:
        await site.house.ended(await site.house.say("hello"))
        with anyio.move_on_after(60) as scope:
            await site.gateway.flush()
        assert scope.cancelled_caught
        [row] = site.house.handed
        await site.house.outbox.mark_sending(row)
        await site.house.outbox.settle(row, "ready", next_attempt_at=now() + 600)
        with anyio.fail_after(1):
            await site.gateway.flush()


async def test_the_flush_does_not_wait_for_an_account_that_is_parked(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_site(tmp_path) as site:
        await site.house.ended(await site.house.say("hello"))
        site.accounts.state = "parked"
        with anyio.fail_after(1):
            await site.gateway.flush()
