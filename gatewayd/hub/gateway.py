"""The joined hub: what the HTTP front and the daemon see of it, and the truth about all of it in one snapshot."""

import os
from collections.abc import Callable

import anyio

from gatewayd import __version__
from gatewayd.hub.access import AccessControl
from gatewayd.hub.agents import AgentPool
from gatewayd.hub.approvals import ApprovalDesk
from gatewayd.hub.events import EventLog
from gatewayd.hub.inbox import InboxDesk
from gatewayd.hub.manager import ChannelManager
from gatewayd.hub.outbox import Outbox
from gatewayd.hub.sessions import SessionMap
from gatewayd.hub.turns import TurnRunner
from gatewayd.model.config import GatewayConfig
from gatewayd.model.status import AccountStatus, AgentStatus, DaemonState, OutboxStatus, Snapshot
from gatewayd.ports.store import Store

_LOOK_AGAIN_SECONDS = 0.2


class Gateway:
    """Made by daemon.py, which also moves ``state``. ``problem_of_store`` says why the store does not write, or None."""

    def __init__(
        self,
        *,
        config: GatewayConfig,
        store: Store,
        events: EventLog,
        manager: ChannelManager,
        inbox: InboxDesk,
        outbox: Outbox,
        access: AccessControl,
        approvals: ApprovalDesk,
        sessions: SessionMap,
        turns: TurnRunner,
        agents: AgentPool,
        problem_of_store: Callable[[], str | None],
        now: Callable[[], float],
    ) -> None:
        self.config = config
        self.store = store
        self.events = events
        self.manager = manager
        self.inbox = inbox
        self.outbox = outbox
        self.access = access
        self.approvals = approvals
        self.sessions = sessions
        self.turns = turns
        self.agents = agents
        self.now = now
        self.version = __version__
        self.started_at = now()
        self.state: DaemonState = "starting"
        self._problem_of_store = problem_of_store

    async def flush(self) -> None:
        """Returns when no turn runs and every connected account has sent what it can send now. No new turn is started."""
        await self.turns.drain()
        while any(self.outbox.due(a.channel, a.account) for a in self.manager.snapshot() if a.state == "connected"):
            # An account that leaves ``connected`` settles nothing any more, so look again after a moment in any case.
            with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
                await self.outbox.wait_settled()

    def snapshot(self) -> Snapshot:
        """Everything at this moment, from memory: no I/O, the same order every time."""
        accounts, agents, outbox = self.manager.snapshot(), self.agents.snapshot(), self.outbox.status()
        problems = self._problems(accounts, agents, outbox)
        return Snapshot(
            version=self.version,
            pid=os.getpid(),
            state=self.state,
            started_at=self.started_at,
            uptime_s=max(0.0, self.now() - self.started_at),
            ready=self.state == "ready" and self._problem_of_store() is None and not any(map(is_down, accounts)),
            problems=tuple(problems),
            accounts=accounts,
            lanes=self.turns.status(),
            outbox=outbox,
            approvals_pending=self.approvals.pending_count(),
            pairings_pending=self.access.pending_count(),
            agents=agents,
            counters=self._counters(),
        )

    def _counters(self) -> dict[str, int]:
        return {
            "inbound_received": self.inbox.received,
            "inbound_waiting": self.inbox.waiting,
            "outbound_sent": self.outbox.sent(),
            "events": self.events.last_seq,
            "events_dropped": self.events.dropped,
        }

    def _problems(self, accounts: tuple[AccountStatus, ...], agents: tuple[AgentStatus, ...], outbox: OutboxStatus) -> list[str]:
        problems = []
        if self.state != "ready":
            problems.append(f"the daemon is {self.state}")
        if why := self._problem_of_store():
            problems.append(f"the store does not write: {why}")
        for account in filter(is_down, accounts):
            reason = f": {account.reason}" if account.reason else ""
            problems.append(f"{account.channel}/{account.account} is {account.state}{reason}")
        problems += [f"agent {agent.agent} is {agent.state}: {agent.reason}" for agent in agents if agent.state != "open"]
        if self.inbox.full():
            problems.append(f"the inbox is full: {self.inbox.waiting} messages wait for a turn")
        if outbox.unknown:
            problems.append(f"{outbox.unknown} replies were perhaps sent: a crash or time-out hid the outcome")
        if outbox.parked:
            problems.append(f"{outbox.parked} replies are parked: they were too old to be sent")
        if outbox.dead:
            problems.append(f"{outbox.dead} replies are dead letters: the platform refused them")
        return problems


def is_down(account: AccountStatus) -> bool:
    """True for an account that should be connected and is not."""
    return account.state in ("starting", "waiting", "parked")
