"""Lanes: one turn at a time per session key, lanes in parallel, nothing kept in memory for a lane without work."""

import heapq
from collections.abc import Callable, Sequence

import anyio
import msgspec
import structlog

from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox import Outbox, draft_replies
from gatewayd.hub.reply import Agents, ReplyEngine, TurnControl, insist
from gatewayd.hub.sessions import SessionMap
from gatewayd.model.config import GatewayConfig, QueueMode
from gatewayd.model.errors import GatewayError
from gatewayd.model.route import Route
from gatewayd.model.status import LaneStatus
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import EndState, InboundRow

# Acted on at once, also while a turn runs; /new keeps its place in the lane, so that what came before it stays before it.
_AT_ONCE = frozenset({"/stop", "/status"})
_COMMANDS = _AT_ONCE | {"/new"}


class _Waiting(msgspec.Struct, frozen=True):
    """A row in a lane, ordered by its id: that is the order of the commits, while two deliveries may resume in either."""

    id: int
    row: InboundRow
    route: Route

    def __lt__(self, other: "_Waiting") -> bool:
        return self.id < other.id


class Lane:
    """The messages of one session key that wait, and the turn that runs."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.waiting: list[_Waiting] = []
        self.control: TurnControl | None = None
        self.started_at: float | None = None

    def take(self, mode: QueueMode) -> list[_Waiting]:
        """The next turn's rows. A turn that was under way before a restart gets the same rows again, whatever the mode."""
        first = heapq.heappop(self.waiting)
        if command_of(first.row) is not None:
            return [first]
        if first.row.turn_id is not None:
            same = [w for w in self.waiting if w.row.turn_id == first.row.turn_id]
        elif mode == "queue":
            return [first]
        else:
            same = self._until_command()
        self.waiting = [w for w in self.waiting if w not in same]
        heapq.heapify(self.waiting)
        return [first, *sorted(same)]

    def _until_command(self) -> list[_Waiting]:
        same: list[_Waiting] = []
        for waiting in sorted(self.waiting):
            if command_of(waiting.row) is not None:
                break
            same.append(waiting)
        return same


class TurnRunner:
    """Owns every live lane. ``run`` is its task; ``taken`` and ``ended`` (set by the gateway) tell the inbox."""

    def __init__(
        self,
        engine: ReplyEngine,
        outbox: Outbox,
        events: EventLog,
        sessions: SessionMap,
        agents: Agents,
        config: GatewayConfig,
        plugins: dict[str, ChannelPlugin],
        *,
        now: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._outbox = outbox
        self._events = events
        self._sessions = sessions
        self._agents = agents
        self._plugins = plugins
        self._now = now
        self._mode = config.sessions.queue_mode
        self._modes = {(a.channel, a.account): a.frame.queue_mode or self._mode for a in config.accounts}
        self._slots = anyio.CapacityLimiter(config.limits.turns)
        self._lanes: dict[str, Lane] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._draining = False
        self._idle = anyio.Event()
        self._commands = 0
        self._log = structlog.get_logger("gatewayd.turns")
        self.taken: Callable[[int], None] = lambda count: None
        self.ended: Callable[[Sequence[InboundRow]], None] = lambda rows: None

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run lanes until cancelled. A row whose turn is cancelled here stays open in the store and runs after the restart."""
        async with anyio.create_task_group() as tasks:
            self._tasks = tasks
            for lane in self._lanes.values():
                self._start(lane)
            task_status.started()
            await anyio.sleep_forever()

    def add(self, row: InboundRow, route: Route) -> None:
        """Put an admitted row in its lane. Never waits."""
        if command_of(row) in _AT_ONCE and self._tasks is not None and not self._draining:
            self._commands += 1
            self._tasks.start_soon(self._run_command, row, route, name=f"command in {route.session_key}")
            return
        lane = self._lanes.get(route.session_key)
        if lane is None:
            lane = self._lanes[route.session_key] = Lane(route.session_key)
            heapq.heappush(lane.waiting, _Waiting(row.id, row, route))
            if self._tasks is not None:
                self._start(lane)
            return
        if row.envelope.kind == "edit" and self._replace_waiting(lane, row):
            return
        heapq.heappush(lane.waiting, _Waiting(row.id, row, route))
        if self._mode_of(row) == "interrupt" and lane.control is not None:
            lane.control.stop("interrupted")

    async def drain(self) -> None:
        """Start no further turn; returns when none runs. What waits stays in the store for the next start."""
        self._draining = True
        while self._commands or any(lane.control is not None for lane in self._lanes.values()):
            self._idle = anyio.Event()
            await self._idle.wait()

    def status(self) -> LaneStatus:
        lanes = self._lanes.values()
        return LaneStatus(
            live=len(lanes),
            running=sum(lane.control is not None for lane in lanes),
            waiting=sum(len(lane.waiting) for lane in lanes),
        )

    def _mode_of(self, row: InboundRow) -> QueueMode:
        return self._modes.get((row.envelope.channel, row.envelope.account), self._mode)

    def _start(self, lane: Lane) -> None:
        assert self._tasks is not None
        self._tasks.start_soon(self._run_lane, lane, name=f"lane {lane.key}")

    async def _run_lane(self, lane: Lane) -> None:
        while lane.waiting and not self._draining:
            async with self._slots:
                if self._draining or not lane.waiting:
                    break
                await self._run_turn(lane)
            self._idle.set()
        # No await since the look at ``waiting``: nothing can have been added in between.
        del self._lanes[lane.key]

    async def _run_turn(self, lane: Lane) -> None:
        batch = lane.take(self._mode_of(lane.waiting[0].row))
        rows = [waiting.row for waiting in batch]
        route = batch[-1].route
        self.taken(len(rows))
        lane.control, lane.started_at = TurnControl(), self._now()
        try:
            if command_of(rows[0]) is not None:
                await self._new_session(rows[0], route)
            elif rows[0].envelope.kind == "edit" and rows[0].turn_id is None:
                await self._end(rows, "dropped", "edited_after_answer")
            else:
                await self._engine.run(rows, route, lane.control)
        finally:
            lane.control = lane.started_at = None
        self.ended(rows)

    def _replace_waiting(self, lane: Lane, edit: InboundRow) -> bool:
        """An edit of a message that still waits takes its place: the agent sees the text as it is now."""
        for index, waiting in enumerate(lane.waiting):
            old = waiting.row.envelope
            same = old.message_id == edit.envelope.message_id and old.peer == edit.envelope.peer
            if same and waiting.row.turn_id is None and command_of(waiting.row) is None and self._tasks is not None:
                merged = _Waiting(waiting.id, _with_text_of(waiting.row, edit), waiting.route)
                lane.waiting[index] = merged
                self._tasks.start_soon(self._end_waiting, [edit], "merged_edit")
                return True
        return False

    async def _run_command(self, row: InboundRow, route: Route) -> None:
        try:
            lane = self._lanes.get(route.session_key)
            if command_of(row) == "/stop":
                text = await self._stop(lane)
            else:
                text = await self._describe(lane, route)
            self.taken(1)
            await self._end([row], "done", "command", text=text)
            self.ended([row])
        finally:
            self._commands -= 1
            self._idle.set()

    async def _stop(self, lane: Lane | None) -> str:
        if lane is None:
            return "Nothing is running."
        dropped = [waiting.row for waiting in lane.waiting]
        lane.waiting.clear()
        running = lane.control is not None
        if lane.control is not None:
            lane.control.stop("stopped")
        if dropped:
            await self._end_waiting(dropped, "stopped")
        return "Stopped." if running or dropped else "Nothing is running."

    async def _describe(self, lane: Lane | None, route: Route) -> str:
        session = await self._sessions.find(route.session_key)
        lines = [f"Agent **{route.agent_id}**."]
        lines.append(f"Session {session.generation} of this conversation." if session else "No session yet.")
        if lane is not None and lane.started_at is not None:
            lines.append(f"A turn has been running for {self._now() - lane.started_at:.0f} s; {len(lane.waiting)} waiting.")
        else:
            lines.append("No turn is running.")
        return " ".join(lines)

    async def _new_session(self, row: InboundRow, route: Route) -> None:
        try:
            core = await self._agents.core(route.agent_id)
            await self._sessions.reset(route, core)
        except GatewayError as error:
            self._log.warning("no new session", session_key=route.session_key, reason=error.reason)
            await self._end([row], "dead", "agent_failed", text="Sorry, the agent could not open a new session.")
            return
        await self._end([row], "done", "command", text="A new session has begun.")

    async def _end_waiting(self, rows: Sequence[InboundRow], reason: str) -> None:
        self.taken(len(rows))
        await self._end(rows, "dropped", reason)
        self.ended(rows)

    async def _end(self, rows: Sequence[InboundRow], state: EndState, reason: str, *, text: str = "") -> None:
        envelope = rows[0].envelope
        replies = draft_replies(envelope, text, self._plugins[envelope.channel]) if text else []
        await insist(lambda: self._outbox.end_inbound(rows, state=state, reason=reason, replies=replies))
        for row in rows:
            self._events.emit(f"inbound.{state}", id=row.id, reason=reason)


def command_of(row: InboundRow) -> str | None:
    """The chat command of a message (``/stop``, ``/stop@name``), or None. Other slash words belong to the agent."""
    if row.envelope.kind != "message":
        return None
    words = row.envelope.text.split(maxsplit=1)
    word = words[0].split("@", 1)[0].lower() if words else ""
    return word if word in _COMMANDS else None


def _with_text_of(row: InboundRow, edit: InboundRow) -> InboundRow:
    envelope = msgspec.structs.replace(row.envelope, text=edit.envelope.text, attachments=edit.envelope.attachments)
    return msgspec.structs.replace(row, envelope=envelope)
