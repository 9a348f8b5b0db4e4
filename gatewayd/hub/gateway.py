"""The joined hub: what the HTTP front and the daemon see of it, and the truth about all of it in one snapshot."""

import os
from collections.abc import Callable

import anyio

from gatewayd import __version__
from gatewayd.hub.access import AccessControl
from gatewayd.hub.agents import AgentPool
from gatewayd.hub.approvals import ApprovalDesk
from gatewayd.hub.audit import AuditLog
from gatewayd.hub.events import EventLog
from gatewayd.hub.inbox import InboxDesk
from gatewayd.hub.manager import ChannelManager
from gatewayd.hub.outbox import Outbox, draft_texts
from gatewayd.hub.presses import Presses
from gatewayd.hub.questions import QuestionDesk
from gatewayd.hub.sessions import SessionMap
from gatewayd.hub.turns import TurnRunner
from gatewayd.model.config import GatewayConfig
from gatewayd.model.status import AccountStatus, AgentStatus, DaemonState, Problem, Snapshot
from gatewayd.ports.store import PairingRow, Store

_LOOK_AGAIN_SECONDS = 0.2
_WELCOME = "You are let in. Please write your message again."


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
        questions: QuestionDesk,
        presses: Presses,
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
        self.questions = questions
        self.presses = presses
        self.sessions = sessions
        self.turns = turns
        self.agents = agents
        self.audit = AuditLog(store, now=now)
        self.now = now
        self.version = __version__
        self.started_at = now()
        self.state: DaemonState = "starting"
        self._problem_of_store = problem_of_store

    async def let_in(self, code: str, *, by: str) -> PairingRow:
        """Approve a pairing, and tell the person.

        :raises NotFound: no such pending code, or it has expired.
        """
        row = await self.access.approve(code, by=by)
        plugin = self.manager.account(row.channel, row.account).plugin
        await self.outbox.write(draft_texts(row.channel, row.account, row.peer, _WELCOME, plugin))
        return row

    async def flush(self) -> None:
        """Returns when no turn runs and every connected account has sent what it can send now. No new turn is started."""
        await self.turns.drain()
        while any(self.outbox.due(a.channel, a.account) for a in self.manager.snapshot() if a.state == "connected"):
            # An account that leaves ``connected`` settles nothing any more, so look again after a moment in any case.
            with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
                await self.outbox.wait_settled()

    def snapshot(self) -> Snapshot:
        """Everything at this moment, from memory: no I/O, the same order every time."""
        accounts, agents = self.manager.snapshot(), self.agents.snapshot()
        problems = self._problems(accounts, agents)
        return Snapshot(
            version=self.version,
            pid=os.getpid(),
            state=self.state,
            started_at=self.started_at,
            uptime_s=max(0.0, self.now() - self.started_at),
            ready=not any(problem.level == "failing" for problem in problems),
            problems=tuple(problems),
            accounts=accounts,
            lanes=self.turns.status(),
            outbox=self.outbox.status(),
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

    def _problems(self, accounts: tuple[AccountStatus, ...], agents: tuple[AgentStatus, ...]) -> list[Problem]:
        """What is wrong now. A reply that a platform refused is no ill health of ours: it is counted in ``outbox``."""
        problems = []
        if self.state != "ready":
            problems.append(Problem(self.state, "failing", "", self.started_at, f"the daemon is {self.state}"))
        if why := self._problem_of_store():
            since = self.store.statistics().last_error_at or self.now()
            problems.append(Problem("store_refuses", "failing", "", since, f"the store does not write: {why}"))
        for account in filter(is_down, accounts):
            name, reason = f"{account.channel}/{account.account}", f": {account.reason}" if account.reason else ""
            text = f"{name} is {account.state}{reason}"
            problems.append(Problem("account_down", "failing", name, account.since, text))
        for agent in agents:
            if agent.state != "open":
                text = f"agent {agent.agent} is {agent.state}: {agent.reason}"
                problems.append(Problem("agent_down", "failing", agent.agent, agent.since, text))
        if self.inbox.full():
            text = f"the inbox is full: {self.inbox.waiting} messages wait for a turn"
            problems.append(Problem("inbox_full", "failing", "", self.now(), text))
        return problems


def is_down(account: AccountStatus) -> bool:
    """True for an account that should be connected and is not."""
    return account.state in ("starting", "waiting", "parked")
