"""The gateway joins all parts of the hub, for the HTTP front and the daemon, and shows their state in one snapshot."""

import os
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol

import anyio
import structlog

from gatewayd import __version__
from gatewayd.hub.accounts.manager import ChannelManager
from gatewayd.hub.agents.late_texts import LateTexts
from gatewayd.hub.agents.pool import AgentPool
from gatewayd.hub.approvals.desk import ApprovalDesk
from gatewayd.hub.approvals.gaps import Gaps
from gatewayd.hub.approvals.questions import QuestionDesk
from gatewayd.hub.approvals.responses import ApprovalResponses
from gatewayd.hub.audit import AuditLog
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.inbox.access import AccessControl
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.inbox.inbox import InboxDesk
from gatewayd.hub.operations.dead_letter_counts import DeadLetterCounter
from gatewayd.hub.operations.dead_letter_queue import DeadLetterQueue
from gatewayd.hub.operations.health import Facts, RejectedReload, problems_of
from gatewayd.hub.operations.retention import Retention
from gatewayd.hub.operations.trace import Tracer
from gatewayd.hub.outbox.drafts import draft_texts
from gatewayd.hub.outbox.files import OutgoingFiles
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.hub.turns.runner import TurnRunner
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.model.config import GatewayConfig
from gatewayd.model.records.pairing import PairingRow
from gatewayd.model.status import DaemonState, Snapshot, Stall, StallStatistics
from gatewayd.ports.store import Account

_LOOK_AGAIN_SECONDS = 0.2
_log = structlog.get_logger("gatewayd.store")
_WELCOME = "You are let in. Please write your message again."


class Stalls(Protocol):
    """The watchdog of the event loop: gatewayd/process/stalls.py."""

    def last_stall(self) -> Stall | None:
        """The newest stall that has ended."""

    def statistics(self) -> StallStatistics: ...


@dataclass(kw_only=True)
class Gateway:
    """Every part of the hub, by its name, with the state of the daemon, the snapshot and the configuration. Made by wiring.py."""

    context: Context
    configured: Configured
    manager: ChannelManager
    agents: AgentPool
    inbox: InboxDesk
    backlog: Backlog
    outbox: Outbox
    files: OutgoingFiles
    outcomes: ReplyOutcomes
    access: AccessControl
    approvals: ApprovalDesk
    questions: QuestionDesk
    responses: ApprovalResponses
    gaps: Gaps
    sessions: SessionMap
    turns: TurnRunner
    late: LateTexts
    dead_letters: DeadLetterQueue
    dead_letter_counter: DeadLetterCounter
    tracer: Tracer
    retention: Retention
    stalls: Stalls

    def __post_init__(self) -> None:
        self.store, self.events, self.now = self.context.store, self.context.events, self.context.now
        self.audit = AuditLog(self.store, now=self.now)
        self.version = __version__
        self.started_at = self.now()
        self._began = anyio.current_time()
        self._state: DaemonState = "starting"
        self._state_since = self.started_at
        self._refused: RejectedReload | None = None
        self._no_descriptors_since: float | None = None
        self.store.watch(self._tell_of_store)

    @property
    def config(self) -> GatewayConfig:
        """The configuration in force."""
        return self.configured.config

    @property
    def state(self) -> DaemonState:
        return self._state

    def enter(self, state: DaemonState) -> None:
        """Set the state of the daemon."""
        self._state = state
        self._state_since = self.now()

    def note_refused(self, refused: RejectedReload | None) -> None:
        """Record why the newest configuration is not in force; None: it is."""
        self._refused = refused

    def note_no_descriptors(self, since: float | None) -> None:
        """Record since when connections cannot be accepted, because descriptors or memory are used up; None: they can."""
        self._no_descriptors_since = since

    @property
    def uptime_s(self) -> float:
        """Seconds since the start, by the monotonic clock."""
        return anyio.current_time() - self._began

    async def claim(self, accounts: Collection[Account]) -> list[Account]:
        """Store that these accounts belong to this gateway. Return all accounts that do, also removed ones, whose open rows this
        gateway must end. :raises StoreRefused:"""
        return await self.store.claim_accounts(self.context.name, accounts)

    async def let_in(self, code: str, *, by: str) -> PairingRow:
        """Approve a pairing, and notify the person.

        :raises NotFound: no such pending code, or it has expired.
        """
        row = await self.access.approve(code, by=by)
        self.manager.account(row.channel, row.account)  # or NotFound
        plugin = self.configured.plugin_for(row.channel, row.account, row.peer)
        await self.outbox.write(draft_texts(row.channel, row.account, row.peer, _WELCOME, plugin))
        return row

    async def flush(self) -> None:
        """Start no new turn, and wait until no turn runs and every connected account has sent what it can send now."""
        await self.turns.drain()
        while any(self.outbox.due(a.channel, a.account) for a in self.manager.snapshot() if a.state == "connected"):
            # An account that is not connected any more settles nothing, so check again after a moment.
            with anyio.move_on_after(_LOOK_AGAIN_SECONDS):
                await self.outbox.wait_settled()

    def snapshot(self) -> Snapshot:
        """The state of all parts, from memory, without I/O and always in the same order."""
        accounts, agents = self.manager.snapshot(), self.agents.snapshot()
        inbox, outbox = self.backlog.status(), self.outbox.status()
        abandoned_tasks = self.turns.abandoned_tasks()
        facts = Facts(
            now=self.now(),
            state=self.state,
            state_since=self._state_since,
            store=self.store.statistics(),
            inbox=inbox,
            dead_letters=self.dead_letter_counter.counts,
            accounts=accounts,
            agents=agents,
            abandoned_tasks=abandoned_tasks,
            stall=self.stalls.last_stall(),
            refused=self._refused,
            no_descriptors_since=self._no_descriptors_since,
        )
        problems = problems_of(facts)
        return Snapshot(
            version=self.version,
            pid=os.getpid(),
            state=self.state,
            started_at=self.started_at,
            uptime_s=self.uptime_s,
            ready=not any(problem.level == "failing" for problem in problems),
            problems=problems,
            accounts=accounts,
            lanes=self.turns.status(),
            outbox=outbox,
            approvals_pending=self.approvals.pending_count(),
            pairings_pending=self.access.pending_count(),
            agents=agents,
            counters=self._counters(),
            inbox=inbox,
            dead_letters=self.dead_letter_counter.counts,
            abandoned_tasks=abandoned_tasks,
        )

    def _tell_of_store(self, refusal: str | None) -> None:
        """Report whether the store writes. The event log retries this event, so it also probes the store."""
        if refusal is None:
            _log.info("store_writable")
        else:
            _log.error("store_unwritable", reason=refusal)
        self.events.emit("gateway.store", writes=refusal is None, reason=refusal)

    def _counters(self) -> dict[str, int]:
        return {
            "inbound_received": self.inbox.received,
            "inbound_waiting": self.backlog.waiting,
            "outbound_sent": self.outbox.sent(),
            "events": self.events.last_seq,
            "events_dropped": self.events.dropped,
        }
