"""The joined hub: what the HTTP front and the daemon see of it, and the truth about all of it in one snapshot."""

import os
from collections.abc import Awaitable, Callable
from typing import Protocol

import anyio
import structlog

from gatewayd import __version__
from gatewayd.hub.access import AccessControl
from gatewayd.hub.agents import AgentPool
from gatewayd.hub.approvals import ApprovalDesk
from gatewayd.hub.audit import AuditLog
from gatewayd.hub.backlog import Backlog
from gatewayd.hub.events import EventLog
from gatewayd.hub.inbox import InboxDesk
from gatewayd.hub.late import LateTexts
from gatewayd.hub.manager import ChannelManager
from gatewayd.hub.outbox import Outbox, draft_texts
from gatewayd.hub.presses import Presses
from gatewayd.hub.problems import Facts, Refused, problems_of
from gatewayd.hub.questions import QuestionDesk
from gatewayd.hub.repair import RepairDesk
from gatewayd.hub.retention import Cleaner
from gatewayd.hub.sessions import SessionMap
from gatewayd.hub.story import StoryTeller
from gatewayd.hub.tally import LetterTally
from gatewayd.hub.turns import TurnRunner
from gatewayd.model.config import GatewayConfig
from gatewayd.model.errors import Conflict
from gatewayd.model.reload import ReloadReport
from gatewayd.model.status import DaemonState, Snapshot, Stall, StallStatistics
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import PairingRow, Store

_LOOK_AGAIN_SECONDS = 0.2
_log = structlog.get_logger("gatewayd.store")
_WELCOME = "You are let in. Please write your message again."


class Reconfigured(Protocol):
    """A part that goes on by another configuration, in one step that cannot fail."""

    def reconfigure(self, config: GatewayConfig, /) -> None: ...


class Gateway:
    """Made by joining.py; daemon.py moves ``state``, and sets ``last_stall`` (the newest stall of the event loop) and ``refused``
    (why the newest configuration is not in force).

    ``plugins`` are those of the configured channels, one mapping for all parts: it only grows. ``parts`` are what follows a new
    configuration, ``reload`` reads one and puts it in force (hub/reload.py).
    """

    def __init__(
        self,
        *,
        config: GatewayConfig,
        store: Store,
        events: EventLog,
        manager: ChannelManager,
        inbox: InboxDesk,
        backlog: Backlog,
        outbox: Outbox,
        access: AccessControl,
        approvals: ApprovalDesk,
        questions: QuestionDesk,
        presses: Presses,
        sessions: SessionMap,
        turns: TurnRunner,
        agents: AgentPool,
        repair: RepairDesk,
        tally: LetterTally,
        late: LateTexts,
        stories: StoryTeller,
        cleaner: Cleaner,
        now: Callable[[], float],
    ) -> None:
        self.config = config
        self.store = store
        self.events = events
        self.manager = manager
        self.inbox = inbox
        self.backlog = backlog
        self.outbox = outbox
        self.access = access
        self.approvals = approvals
        self.questions = questions
        self.presses = presses
        self.sessions = sessions
        self.turns = turns
        self.agents = agents
        self.repair = repair
        self.late = late
        self.stories = stories
        self.cleaner = cleaner
        self.audit = AuditLog(store, now=now)
        self.tally = tally
        self.now = now
        self.version = __version__
        self.started_at = now()
        self._began = anyio.current_time()
        self.last_stall: Callable[[], Stall | None] = lambda: None
        self.no_descriptors_since: Callable[[], float | None] = lambda: None
        self.stalls: Callable[[], StallStatistics] = StallStatistics
        self.refused: Refused | None = None
        store.watch(self._tell_of_store)
        self.plugins: dict[str, ChannelPlugin] = {}
        self.parts: list[Reconfigured] = []
        self.reload: Callable[[str], Awaitable[ReloadReport]] = _no_reload
        self._state: DaemonState = "starting"
        self._state_since = self.started_at

    @property
    def state(self) -> DaemonState:
        return self._state

    @state.setter
    def state(self, state: DaemonState) -> None:
        self._state = state
        self._state_since = self.now()

    @property
    def uptime_s(self) -> float:
        """By the monotonic clock: a wall clock that is set makes nothing older or younger."""
        return anyio.current_time() - self._began

    def reconfigure(self, config: GatewayConfig) -> None:
        """Put a configuration in force that was checked: every part has it when this returns. A part that fails is a bug; then
        every part has the one before it."""
        before = self.config
        try:
            self._take(config)
        except Exception:
            self._take(before)
            raise

    def _take(self, config: GatewayConfig) -> None:
        self.config = config
        for part in self.parts:
            part.reconfigure(config)

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
        inbox, outbox = self.backlog.status(), self.outbox.status()
        left_behind = self.turns.standing()
        facts = Facts(
            now=self.now(),
            state=self.state,
            state_since=self._state_since,
            store=self.store.statistics(),
            inbox=inbox,
            letters=self.tally.counts,
            accounts=accounts,
            agents=agents,
            left_behind=left_behind,
            stall=self.last_stall(),
            refused=self.refused,
            no_descriptors_since=self.no_descriptors_since(),
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
            letters=self.tally.counts,
            left_behind=left_behind,
        )

    def _tell_of_store(self, refusal: str | None) -> None:
        """The event is the probe, too: the event log tries until it is written, whoever else writes or does not."""
        if refusal is None:
            _log.info("store_writes_again")
        else:
            _log.error("store_refuses", reason=refusal)
        self.events.emit("gateway.store", writes=refusal is None, reason=refusal)

    def _counters(self) -> dict[str, int]:
        return {
            "inbound_received": self.inbox.received,
            "inbound_waiting": self.backlog.waiting,
            "outbound_sent": self.outbox.sent(),
            "events": self.events.last_seq,
            "events_dropped": self.events.dropped,
        }


async def _no_reload(actor: str) -> ReloadReport:
    raise Conflict("this configuration came from nowhere that could be read again")
