"""Lanes: one turn at a time for each session key, lanes in parallel. A lane without work takes no memory."""

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
from anyio.abc import TaskGroup

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.approvals.questions import OpenQuestion, QuestionDesk
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.inbox.backlog import Backlog
from gatewayd.hub.inbox.routing import resolve_route
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.turns.chat_commands import ChatCommands, Completion
from gatewayd.hub.turns.engine import ReplyEngine
from gatewayd.hub.turns.lane import Lane, conversation_of, may_be_answer
from gatewayd.hub.turns.question_answers import AnswerCommits, AnswerInCommit
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.hub.turns.slots import Slot, Slots, SlotStatistics
from gatewayd.hub.turns.turn import LiveTurn, WaitingMessage
from gatewayd.hub.turns.work import TurnWork
from gatewayd.model.config import AccountFrame, GatewayConfig, QueueMode
from gatewayd.model.ids import ConversationId
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.intents import Deletion, Edit, ImmediateCommand, Intent, NewSession, QuestionPress, Skip
from gatewayd.model.message.roles import Role, role_of
from gatewayd.model.message.route import Route
from gatewayd.model.status import AbandonedTask, LaneStatus
from gatewayd.ports.store import InboundRow


class TurnRunner:
    """Owns all lanes. ``run`` is the task in which they live."""

    def __init__(
        self,
        context: Context,
        configured: Configured,
        engine: ReplyEngine,
        outbox: Outbox,
        sessions: SessionMap,
        questions: QuestionDesk,
        backlog: Backlog,
    ) -> None:
        self._now = context.now
        self._configured = configured
        self._engine = engine
        self._questions = questions
        self._backlog = backlog
        self._answer_commits = AnswerCommits(questions, backlog)
        self._outbox = outbox
        self._work = TurnWork(engine, sessions, outbox, backlog)
        self._chat = ChatCommands(sessions, configured, self._work, now=context.now)
        config = configured.config
        self.slots = Slots(config.limits.turns, shared=len(config.accounts) > 1)
        configured.follow(self.reconfigure)
        self._lanes: dict[str, Lane] = {}
        # By chat: the lane in which a turn of it goes on after the chat's messages got another route.
        self._former_lanes: dict[ConversationId, Lane] = {}
        # Session keys in which no turn may begin yet, see ``_leave``.
        self._closed: Counter[str] = Counter()
        self._tasks: anyio.abc.TaskGroup | None = None
        self._draining = False
        self._idle = Wakeup()
        self._commands = 0

    async def run(self, *, parent: TaskGroup | None, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Run lanes until cancelled. The rows of a turn that is cancelled stay open in the store, and run after the restart.

        ``parent`` is the task group of the calls of agent cores, also of one that cannot be ended.
        """
        async with self._engine.open(parent=parent), anyio.create_task_group() as tasks:
            self._tasks = tasks
            task_status.started()
            try:
                await anyio.sleep_forever()
            finally:
                self._tasks = None

    def reconfigure(self, config: GatewayConfig) -> None:
        """Route waiting messages by this configuration; those of a removed account end. A turn that waits for its agent goes to
        another agent when its own one is gone, or has seen nothing of it. For a turn that runs see ``hand_over_turns``."""
        self.slots.resize(config.limits.turns, shared=len(config.accounts) > 1)
        self._former_lanes = {}
        moved: list[WaitingMessage] = []
        for lane in self._lanes.values():
            if lane.turn is not None:
                self._reconsider(lane, lane.turn)
            moved += lane.take_moved(self._belongs)
            for waiting in lane.waiting:
                if waiting.begun_in == lane.key:
                    self._goes_on_in(lane, waiting.row)
        self._distribute(sorted(moved))

    def _goes_on_in(self, lane: Lane, row: InboundRow) -> bool:
        """A turn goes on in this lane. Returns whether the messages of its chat have another route now."""
        is_elsewhere = self._route_of(row).session_key != lane.key
        if is_elsewhere:
            self._former_lanes[conversation_of(row)] = lane
        return is_elsewhere

    def _reconsider(self, lane: Lane, turn: LiveTurn) -> None:
        row = turn.rows[-1]
        is_elsewhere = self._goes_on_in(lane, row)
        if turn.phase == "resting" and not self._has_account(row):
            turn.stop("account_removed")
        elif turn.route.agent_id not in self._configured.agents and turn.phase != "core":
            turn.hand_over()
        elif is_elsewhere and turn.phase == "resting" and turn.is_untouched:
            # The agent has seen nothing of it: whoever routes the chat to another agent means this message, too.
            turn.hand_over()

    def hand_over_turns(self, agent_id: str) -> None:
        """Move the turns of this agent, which is gone, to the agents that the bindings name now."""
        for lane in self._lanes.values():
            if lane.turn is not None and lane.turn.route.agent_id == agent_id:
                lane.turn.hand_over()

    def abandoned_tasks(self) -> tuple[AbandonedTask, ...]:
        """Calls of agent cores that ignored their cancellation: by agent, and where they stand."""
        return self._engine.abandoned_tasks()

    def slot_statistics(self) -> SlotStatistics:
        """How many slots are used, and how many turns wait for one."""
        return self.slots.statistics()

    def role_of(self, envelope: InboundEnvelope) -> Role:
        """The role of the sender in this chat now, see ``model.roles``."""
        lanes = self._lanes_for(envelope, resolve_route(envelope, self._configured.config))
        writers = frozenset(writer for lane in lanes if lane.turn is not None for writer in lane.turn.writers)
        account = self._configured.accounts.get((envelope.channel, envelope.account))
        return role_of(envelope, AccountFrame() if account is None else account.frame, writers)

    def add(self, row: InboundRow, route: Route, intent: Intent) -> None:
        """Put an admitted row in its lane. Never waits. During a stop it stays in the store, for the next start."""
        if self._draining or self._tasks is None:
            return
        if not self._handle_at_once(row, route, intent):
            self._put_in_lane(WaitingMessage(row.id, row, route, intent))

    def _handle_at_once(self, row: InboundRow, route: Route, intent: Intent) -> bool:
        """Whether the row does not wait for a turn: it is an answer, a command, or void. Then its task has begun."""
        assert self._tasks is not None, "rows are added while it runs"
        lane, lanes = self._lanes.get(route.session_key), self._lanes_for(row.envelope, route)
        is_edit = _is_new_edit(row, intent)
        if isinstance(intent, Deletion):
            deleted = [gone for each in self._lanes.values() for gone in each.take_deleted(row.envelope)]
            self._tasks.start_soon(self._work.drop, [*deleted, row], "deleted" if deleted else "deleted_late")
        elif (question_key := self._question_key(row, route, intent)) is not None:
            self._take_as_answer(AnswerInCommit([row], intent, route, self._questions.take(question_key)))
        elif (answer := self._chat.answer(row, route, intent, lanes)) is not None:
            self._commands += 1
            self._tasks.start_soon(self._run_command, row, answer, name=f"command in {route.session_key}")
        elif self._questions.is_not_for(row.envelope):
            self._tasks.start_soon(self._work.drop, [row], "not_asked")
        elif is_edit and self._answer_commits.join(row):
            pass  # it goes where that goes
        elif is_edit and (lane is None or not lane.waits_for(row)):
            self._tasks.start_soon(self._work.drop, [row], "edited_after_answer")
        else:
            return False
        return True

    def _lanes_for(self, envelope: InboundEnvelope, route: Route) -> list[Lane]:
        """The lane of the chat, and the one in which a turn of it goes on."""
        both = self._lanes.get(route.session_key), self._former_lanes.get(envelope.conversation)
        return [lane for lane in both if lane is not None]

    def _put_in_lane(self, waiting: WaitingMessage) -> None:
        assert self._tasks is not None, "rows are added while it runs"
        key, row = waiting.route.session_key, waiting.row
        turn_id, begun_in = row.turn_id, waiting.begun_in
        if turn_id is not None and begun_in not in (None, key):
            # It may still run where it was begun.
            self._leave(begun_in, partial(self._work.note_left_over, begun_in, turn_id))
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane(key)
            self._tasks.start_soon(self._run_lane, lane, name=f"lane {key}")
        lane.add(waiting)
        if (
            lane.turn is not None
            and lane.conversation == conversation_of(row)
            and self._mode_of(row) == "interrupt"
            and _is_new_message(waiting)
        ):
            lane.turn.stop("interrupted")

    def waits(self, row: InboundRow, route: Route, intent: Intent) -> bool:
        """Whether ``add`` would make the row wait for a turn. Commands that are acted on at once and answers do not wait."""
        return isinstance(intent, NewSession) or (
            not isinstance(intent, ImmediateCommand | Skip | Deletion) and self._question_key(row, route, intent) is None
        )

    def is_for_somebody_else(self, envelope: InboundEnvelope) -> bool:
        """Whether it is a button press under a question to somebody else."""
        return self._questions.is_not_for(envelope)

    def _question_key(self, row: InboundRow, route: Route, intent: Intent) -> str | None:
        """The session key of the question that this message answers."""
        if row.retries or not may_be_answer(intent):
            return None  # what a person has put back now was written before the question
        former = self._former_lanes.get(conversation_of(row))
        keys = (route.session_key, *([] if former is None else [former.key]))
        return next((key for key in keys if self._questions.waits_for(key, row.envelope)), None)

    async def drain(self) -> None:
        """Start no further turn. Returns when no turn runs except those that wait for people or for an agent.

        Waiting messages stay in the store for the next start.
        """
        self._draining = True
        self._engine.begin_drain()
        while self._commands or any(lane.is_busy for lane in self._lanes.values()):
            await self._idle.wait()

    def status(self) -> LaneStatus:
        lanes = self._lanes.values()
        return LaneStatus(
            live=len(lanes),
            running=sum(lane.turn is not None for lane in lanes),
            waiting=sum(len(lane.waiting) for lane in lanes),
        )

    def _belongs(self, waiting: WaitingMessage, key: str) -> bool:
        """Whether a message may stay in the lane with this key. A turn that has begun stays with its agent if possible."""
        if not self._has_account(waiting.row):
            return False
        if waiting.begun_in == key and waiting.route.agent_id in self._configured.agents:
            return True
        return self._route_of(waiting.row).session_key == key

    def _has_account(self, row: InboundRow) -> bool:
        return (row.envelope.channel, row.envelope.account) in self._configured.accounts

    def _route_of(self, row: InboundRow) -> Route:
        return resolve_route(row.envelope, self._configured.config)

    def _distribute(self, waiting: Sequence[WaitingMessage]) -> None:
        """Put messages into the lanes of their present routes. Messages of removed accounts end."""
        gone: list[InboundRow] = []
        for each in waiting:
            if self._has_account(each.row):
                self.add(each.row, self._route_of(each.row), each.intent)
            else:
                gone.append(each.row)
        self.end_removed(gone)

    def end_removed(self, rows: Sequence[InboundRow]) -> None:
        """End rows whose account is not configured any more. Never waits. During a stop they stay in the store."""
        if self._draining or self._tasks is None:
            return
        by_turn: dict[str | None, list[InboundRow]] = {}
        for row in rows:
            by_turn.setdefault(row.turn_id, []).append(row)
        for turn_id, its in by_turn.items():
            self._leave(its[0].session_key, partial(self._work.drop_removed, turn_id, its))

    def _leave(self, session_key: str | None, work: Callable[[], Awaitable[None]]) -> None:
        """Begin ``work``, which stops a turn of an earlier life in this session, or notes that it has to be stopped. From now on
        no turn begins there before that is done: it would run beside that turn."""
        assert self._tasks is not None, "rows are moved while it runs"
        if session_key is not None:
            self._closed[session_key] += 1
        self._tasks.start_soon(self._open_after, session_key, work, name=f"turn that leaves {session_key}")

    async def _open_after(self, session_key: str | None, work: Callable[[], Awaitable[None]]) -> None:
        await work()
        if session_key is not None:
            self._closed -= Counter([session_key])
            self._idle.notify()

    def _must_wait(self, lane: Lane) -> bool:
        """Whether its next turn may not begin yet. A chat gets one answer after the other, also from different agents."""
        row = lane.waiting[0].row
        goes_on_in = self._former_lanes.get(conversation_of(row), lane)
        return goes_on_in is not lane or lane.key in self._closed or row.session_key in self._closed

    def _mode_of(self, row: InboundRow) -> QueueMode:
        account = self._configured.accounts.get((row.envelope.channel, row.envelope.account))
        own = None if account is None else account.frame.queue_mode
        return own or self._configured.config.sessions.queue_mode

    async def _run_lane(self, lane: Lane) -> None:
        while lane.waiting and not self._draining:
            if self._must_wait(lane):
                await self._idle.wait()
                continue
            envelope = lane.waiting[0].row.envelope
            slot = self.slots.of(f"{envelope.channel}/{envelope.account}")
            has_slot = await lane.wait_for(slot)
            if lane.waiting and not self._draining and not self._must_wait(lane):
                await self._run_turn(lane, slot, has_slot=has_slot)
            elif has_slot:
                slot.release()
            self._idle.notify()
        # No await since ``waiting`` was checked, so no row was added.
        del self._lanes[lane.key]

    async def _run_turn(self, lane: Lane, slot: Slot, *, has_slot: bool) -> None:
        batch = lane.take(self._mode_of(lane.waiting[0].row))
        offer, now = self._answer_from_queue, self._now()
        turn = LiveTurn(batch, slot, has_slot=has_slot, on_move=self._note_move, offer=offer, now=now)
        rows = turn.rows
        self._backlog.dequeue(rows)
        with lane.runs(turn):
            if rows[0].turn_id in lane.to_stop:
                turn.stop("stopped")
            open_messages = await self._work.run(turn)
        if self._former_lanes.get(conversation_of(rows[-1])) is lane:
            del self._former_lanes[conversation_of(rows[-1])]
        if open_messages:
            self._backlog.requeue(rows)
            self._distribute(open_messages)
        else:
            self._backlog.complete(rows)

    def _note_move(self, turn: LiveTurn) -> None:
        """The rows of a turn that waits for its agent count in the backlog: an outage must not let in more messages than the
        limit."""
        if turn.phase == "resting":
            self._backlog.requeue(turn.rows)
        else:
            self._backlog.dequeue(turn.rows)
        self._idle.notify()

    def _answer_from_queue(self, question: OpenQuestion) -> None:
        """A message that came while the question was being shown is its answer, too."""
        lane = self._lanes.get(question.row.session_key)
        waiting = (
            []
            if lane is None
            else lane.take_answer(partial(self._questions.is_answered_by, question), asked_at=question.row.created_at)
        )
        if waiting:
            question.take()
            first = waiting[0]
            self._take_as_answer(AnswerInCommit([each.row for each in waiting], first.intent, first.route, question))

    def _take_as_answer(self, answer: AnswerInCommit) -> None:
        assert self._tasks is not None, "rows are added while it runs"
        self._commands += 1
        self._answer_commits.begin(answer)
        self._tasks.start_soon(self._commit_answer, answer, name=f"answer in {answer.route.session_key}")

    async def _commit_answer(self, answer: AnswerInCommit) -> None:
        try:
            for left in await self._answer_commits.commit(answer):
                self.add(left.row, left.route, left.intent)
        finally:
            self._commands -= 1
            self._idle.notify()

    async def _run_command(self, row: InboundRow, answer: Completion) -> None:
        self._backlog.dequeue([row])
        try:
            reason, text = await answer()
            await self._outbox.end_inbound([row], "done", reason, text=text)
            self._backlog.complete([row])
        finally:
            self._commands -= 1
            self._idle.notify()


def _is_new_edit(row: InboundRow, intent: Intent) -> bool:
    return isinstance(intent, Edit) and row.turn_id is None


def _is_new_message(waiting: WaitingMessage) -> bool:
    """Whether it is a new message: no edit of a waiting one, no button press, and not retried by a person."""
    row, intent = waiting.row, waiting.intent
    return not _is_new_edit(row, intent) and not isinstance(intent, QuestionPress) and not row.retries
