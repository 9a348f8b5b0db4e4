"""Lanes: one turn at a time per session key, lanes in parallel, nothing kept in memory for a lane without work."""

import heapq
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from itertools import islice, takewhile

import anyio
import msgspec
import structlog
import trio

from gatewayd.hub.attempts import Agents
from gatewayd.hub.events import EventLog
from gatewayd.hub.outbox import Outbox, draft_replies, insist
from gatewayd.hub.places import Places
from gatewayd.hub.questions import OpenQuestion, QuestionDesk, fits, is_press
from gatewayd.hub.reply import ReplyEngine
from gatewayd.hub.running import TurnControl
from gatewayd.hub.sessions import SessionMap
from gatewayd.model.config import GatewayConfig, QueueMode
from gatewayd.model.envelope import Peer
from gatewayd.model.question import QuestionRow
from gatewayd.model.route import Route
from gatewayd.model.status import LaneStatus
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.ports.store import EndState, InboundRow

# Acted on at once, also while a turn runs; /new keeps its place in the lane, so that what came before it stays before it.
_AT_ONCE = frozenset({"/stop", "/status"})
_COMMANDS = _AT_ONCE | {"/new"}
_COLLECTED_MAX = 100


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
        self.place: tuple[str, str, Peer] | None = None
        self.started_at: float | None = None
        self.condemned: set[str | None] = set()

    def take(self, mode: QueueMode) -> list[_Waiting]:
        """The next turn's rows. A turn that was under way before a restart gets the same rows again, whatever the mode."""
        first = heapq.heappop(self.waiting)
        same: list[_Waiting] = []
        if first.row.turn_id is not None:
            same = sorted(w for w in self.waiting if w.row.turn_id == first.row.turn_id)
        elif mode != "queue" and not _stands_alone(first.row):
            # Several chats may share a session: each gets its own answer.
            together = takewhile(lambda w: not _stands_alone(w.row) and _place(w.row) == _place(first.row), sorted(self.waiting))
            same = list(islice(together, _COLLECTED_MAX - 1))
        same += self._edits_of([first, *same])
        taken = {waiting.id for waiting in same}
        self.waiting = [waiting for waiting in self.waiting if waiting.id not in taken]
        heapq.heapify(self.waiting)
        return [first, *same]

    def waits_for(self, edit: InboundRow) -> bool:
        """Whether the message that ``edit`` changes is still waiting here."""
        return any(_is_edit_of(edit, waiting.row) for waiting in self.waiting)

    def _edits_of(self, taken: list[_Waiting]) -> list[_Waiting]:
        """The edits, so far, of messages that are taken: they go with them, and end with them."""
        ids = {waiting.id for waiting in taken}
        edits = (waiting for waiting in sorted(self.waiting) if waiting.id not in ids and waiting.row.envelope.kind == "edit")
        return [edit for edit in edits if any(_is_edit_of(edit.row, waiting.row) for waiting in taken)]

    @property
    def is_busy(self) -> bool:
        """Whether a turn runs that does more than wait for people or for its agent."""
        return self.control is not None and not self.control.waits_for_people and not self.control.resting

    def take_answer(self, question: QuestionRow, place: tuple[str, str, Peer]) -> _Waiting | None:
        """The first message that came after ``question`` was asked and can be its answer; it waits no longer."""
        for waiting in sorted(self.waiting):
            envelope = waiting.row.envelope
            came_after = envelope.received_at >= question.created_at and waiting.row.turn_id is None
            if came_after and _place(waiting.row) == place and command_of(waiting.row) is None and fits(question, envelope):
                self.waiting = [other for other in self.waiting if other.id != waiting.id]
                heapq.heapify(self.waiting)
                return waiting
        return None

    def empty(self) -> list[InboundRow]:
        """Everything that waits, which waits no longer.

        But for a turn of an earlier life: it may be at work at its agent, and keeps its place until it is ended there.
        """
        rows = [waiting.row for waiting in sorted(self.waiting) if waiting.row.turn_id is None]
        self.waiting = [waiting for waiting in self.waiting if waiting.row.turn_id is not None]
        heapq.heapify(self.waiting)
        self.condemned |= {waiting.row.turn_id for waiting in self.waiting}
        return rows


class TurnRunner:
    """Owns every live lane. ``run`` is its task; ``taken`` and ``ended`` (set by the gateway) tell the inbox."""

    def __init__(
        self,
        engine: ReplyEngine,
        outbox: Outbox,
        events: EventLog,
        sessions: SessionMap,
        questions: QuestionDesk,
        agents: Agents,
        config: GatewayConfig,
        plugins: dict[str, ChannelPlugin],
        *,
        now: Callable[[], float],
    ) -> None:
        self._engine = engine
        self._questions = questions
        questions.offer = self._offer_what_waits
        self._outbox = outbox
        self._events = events
        self._sessions = sessions
        self._agents = agents
        self._plugins = plugins
        self._now = now
        self.places = Places(config.limits.turns, shared=len(config.accounts) > 1)
        self._take_modes(config)
        self._lanes: dict[str, Lane] = {}
        self._tasks: anyio.abc.TaskGroup | None = None
        self._draining = False
        self._idle = anyio.Event()
        self._commands = 0
        self._log = structlog.get_logger("gatewayd.turns")
        self.taken: Callable[[Sequence[InboundRow]], None] = lambda rows: None
        self.ended: Callable[[Sequence[InboundRow]], None] = lambda rows: None

    async def run(
        self, *, host: trio.Nursery | None = None, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED
    ) -> None:
        """Run lanes until cancelled. A row whose turn is cancelled here stays open in the store and runs after the restart.

        ``host`` is where calls of agent cores run, and where one that cannot be ended stays.
        """
        async with self._engine.calls.open(host=host), anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    def reconfigure(self, config: GatewayConfig) -> None:
        """Run what waits by these rules."""
        self._take_modes(config)
        self.places.resize(config.limits.turns, shared=len(config.accounts) > 1)

    @property
    def left_behind(self) -> int:
        """Calls of agent cores that ignored their cancellation."""
        return self._engine.calls.left_behind

    def add(self, row: InboundRow, route: Route) -> None:
        """Put an admitted row in its lane. Never waits. During a stop it stays in the store, for the next start."""
        if self._draining or self._tasks is None:
            return
        lane = self._lanes.get(route.session_key)
        command = command_of(row)
        if command in _AT_ONCE:
            answer = self._stop(lane) if command == "/stop" else partial(self._describe, lane, route)
            self._commands += 1
            self._tasks.start_soon(self._run_command, row, answer, name=f"command in {route.session_key}")
            return
        if command is None and self._questions.waits_for(route.session_key, row.envelope):
            self._take_as_answer(row, route, self._questions.take(route.session_key))
            return
        is_edit = row.envelope.kind == "edit" and row.turn_id is None
        if is_edit and (lane is None or not lane.waits_for(row)):
            self._tasks.start_soon(self._end_waiting, [row], "edited_after_answer")
            return
        if lane is None:
            lane = self._lanes[route.session_key] = Lane(route.session_key)
            self._tasks.start_soon(self._run_lane, lane, name=f"lane {lane.key}")
        heapq.heappush(lane.waiting, _Waiting(row.id, row, route))
        says_something = not is_edit and not is_press(row.envelope)
        if lane.control is not None and lane.place == _place(row) and self._mode_of(row) == "interrupt" and says_something:
            lane.control.stop("interrupted")

    def waits(self, row: InboundRow, route: Route) -> bool:
        """Whether ``add`` would have the row wait for a turn: no command that is acted on at once, no answer to a question."""
        command = command_of(row)
        return command not in _AT_ONCE and (command is not None or not self._questions.waits_for(route.session_key, row.envelope))

    async def drain(self) -> None:
        """Start no further turn; returns when none runs but those that wait, for people or for an agent that is away.

        What waits stays in the store for the next start.
        """
        self._draining = True
        while self._commands or any(lane.is_busy for lane in self._lanes.values()):
            self._idle = anyio.Event()
            await self._idle.wait()

    def status(self) -> LaneStatus:
        lanes = self._lanes.values()
        return LaneStatus(
            live=len(lanes),
            running=sum(lane.control is not None for lane in lanes),
            waiting=sum(len(lane.waiting) for lane in lanes),
        )

    def _take_modes(self, config: GatewayConfig) -> None:
        self._mode = config.sessions.queue_mode
        self._modes = {(a.channel, a.account): a.frame.queue_mode or self._mode for a in config.accounts}

    def _mode_of(self, row: InboundRow) -> QueueMode:
        return self._modes.get((row.envelope.channel, row.envelope.account), self._mode)

    async def _run_lane(self, lane: Lane) -> None:
        while lane.waiting and not self._draining:
            envelope = lane.waiting[0].row.envelope
            place = self.places.of(f"{envelope.channel}/{envelope.account}")
            await place.acquire()
            control = TurnControl(place, lambda: self._idle.set())
            try:
                if lane.waiting and not self._draining:
                    await self._run_turn(lane, control)
            finally:
                control.give_place()
            self._idle.set()
        # No await since the look at ``waiting``: nothing can have been added in between.
        del self._lanes[lane.key]

    async def _run_turn(self, lane: Lane, control: TurnControl) -> None:
        batch = lane.take(self._mode_of(lane.waiting[0].row))
        rows = [waiting.row for waiting in batch]
        route = batch[-1].route
        self.taken(rows)
        lane.control, lane.place, lane.started_at = control, _place(rows[-1]), self._now()
        if rows[0].turn_id in lane.condemned:
            control.stop("stopped")
        try:
            if command_of(rows[0]) is not None:
                await self._new_session(rows[0], route)
            elif is_press(rows[0].envelope):
                await self._end(rows, "dropped", "late_press")
            else:
                await self._engine.run(rows, route, control)
        finally:
            lane.control = lane.place = lane.started_at = None
            control.ended.set()
        self.ended(rows)

    def _stop(self, lane: Lane | None) -> Callable[[], Awaitable[str]]:
        """Stop at once, before anything that came after it is added. Returns what is to be waited for before that is said."""
        dropped = lane.empty() if lane is not None else []
        condemned = lane is not None and bool(lane.condemned)
        control = lane.control if lane is not None else None
        if control is not None:
            control.stop("stopped")

        async def finish() -> str:
            if dropped:
                await self._end_waiting(dropped, "stopped")
            if control is not None:
                await control.ended.wait()
            return "Stopped." if dropped or condemned or control is not None else "Nothing is running."

        return finish

    def _offer_what_waits(self, question: OpenQuestion) -> None:
        """A message that came while the question was being shown is its answer, too."""
        lane = self._lanes.get(question.row.session_key)
        waiting = None if lane is None else lane.take_answer(question.row, question.place)
        if waiting is not None:
            question.taken = True
            self._take_as_answer(waiting.row, waiting.route, question)

    def _take_as_answer(self, row: InboundRow, route: Route, question: OpenQuestion) -> None:
        assert self._tasks is not None, "rows are added while it runs"
        self._commands += 1
        self._tasks.start_soon(self._give_answer, row, route, question, name=f"answer in {route.session_key}")

    async def _give_answer(self, row: InboundRow, route: Route, question: OpenQuestion) -> None:
        try:
            if await self._questions.answer(question, row):
                self.taken([row])
                self.ended([row])
            else:
                self.add(row, route)
        finally:
            self._commands -= 1
            self._idle.set()

    async def _run_command(self, row: InboundRow, answer: Callable[[], Awaitable[str]]) -> None:
        self.taken([row])
        try:
            text = await answer()
            await self._end([row], "done", "command", text=text)
            self.ended([row])
        finally:
            self._commands -= 1
            self._idle.set()

    async def _describe(self, lane: Lane | None, route: Route) -> str:
        session = await insist(lambda: self._sessions.find(route.session_key))
        lines = [f"Agent **{route.agent_id}**."]
        lines.append(f"Session {session.generation} of this conversation." if session else "No session yet.")
        if lane is not None and lane.started_at is not None:
            lines.append(f"A turn has been running for {self._now() - lane.started_at:.0f} s; {len(lane.waiting)} waiting.")
        else:
            lines.append("No turn is running.")
        return " ".join(lines)

    async def _new_session(self, row: InboundRow, route: Route) -> None:
        why_not = await self._engine.new_session(route)
        if why_not is not None:
            self._log.warning("session_not_made", session_key=route.session_key, reason=why_not)
            await self._end([row], "dead", "agent_failed", text="Sorry, the agent could not open a new session.")
            return
        await self._end([row], "done", "command", text="A new session has begun.")

    async def _end_waiting(self, rows: Sequence[InboundRow], reason: str) -> None:
        self.taken(rows)
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
    word, at, _ = words[0].partition("@") if words else ("", "", "")
    if at and not row.envelope.addressed:
        return None  # for another bot in the same group
    return word.lower() if word.lower() in _COMMANDS else None


def _stands_alone(row: InboundRow) -> bool:
    """A row that is no part of what several messages say together."""
    return command_of(row) is not None or is_press(row.envelope)


def _place(row: InboundRow) -> tuple[str, str, Peer]:
    return row.envelope.channel, row.envelope.account, row.envelope.peer


def _is_edit_of(edit: InboundRow, row: InboundRow) -> bool:
    """Whether ``edit`` changes the message of ``row``, which no turn has taken yet and which is no command."""
    same = row.envelope.message_id == edit.envelope.message_id and _place(row) == _place(edit)
    return same and row.id < edit.id and row.turn_id is None and command_of(row) is None
