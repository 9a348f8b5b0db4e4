"""The reply engine: runs one turn of an agent for one or more inbound rows, and ends the rows with its outcome."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Protocol

import anyio
import structlog
from anyio.abc import TaskGroup
from msgspec.structs import replace

from gatewayd.actor.border import describe, leaves, trace_of
from gatewayd.hub.approvals.desk import ApprovalDesk
from gatewayd.hub.approvals.questions import QuestionDesk
from gatewayd.hub.approvals.requests import ApprovalRequests
from gatewayd.hub.configured import Configured
from gatewayd.hub.context import Context
from gatewayd.hub.inbox.earlier import RecallingAccounts, recall
from gatewayd.hub.outbox.drafts import draft_replies
from gatewayd.hub.outbox.outbox import Outbox, until_stored
from gatewayd.hub.turns.core_calls import CoreCalls
from gatewayd.hub.turns.growth import GrowingAccounts, Growth
from gatewayd.hub.turns.outcome import Outcome, answer_of, verdict_on
from gatewayd.hub.turns.prompt import request_of
from gatewayd.hub.turns.retries import Agents, Retries
from gatewayd.hub.turns.run import RunningTurn
from gatewayd.hub.turns.sessions import SessionMap
from gatewayd.hub.turns.turn import LiveTurn, WaitingMessage
from gatewayd.model.config import SessionsSection
from gatewayd.model.errors import AgentFailed, NeedsOperator, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Attachment
from gatewayd.model.message.payload import Draft, Signal, Typing
from gatewayd.model.message.route import Route
from gatewayd.model.status import AbandonedTask
from gatewayd.model.subject import SIGN
from gatewayd.ports.agent import AgentCore, StopsTurns, ToolCall, ToolResult, TurnRequest
from gatewayd.ports.store import InboundRow, Store

_TYPING_AFTER_SECONDS = 0.5
_TYPING_EVERY_SECONDS = 4.0
_DRAFT_EVERY_SECONDS = 0.1
_NEW_SESSION_SECONDS = 30.0
_NOTE_SECONDS = 2.0
_ID_MAX = 200
_STOP_SECONDS = 15.0
_REASON_MAX = 200


class Accounts(GrowingAccounts, RecallingAccounts, Protocol):
    """The accounts, as turns need them: hub/accounts/manager.py."""

    async def signal(self, channel: str, account: str, signal: Signal) -> None: ...

    async def fetch(self, channel: str, account: str, attachment: Attachment, at_most_bytes: int) -> bytes: ...


class ReplyEngine:
    """From messages to reply rows. Any failure of an agent core becomes one sentence for the user."""

    def __init__(
        self,
        context: Context,
        configured: Configured,
        outbox: Outbox,
        sessions: SessionMap,
        desk: ApprovalDesk,
        questions: QuestionDesk,
        agents: Agents,
        accounts: Accounts,
    ) -> None:
        self._store: Store = context.store
        self._events = context.events
        self._redact = context.redact
        self._configured = configured
        self._outbox = outbox
        self._sessions = sessions
        self._desk = desk
        self._questions = questions
        self._agents = agents
        self._accounts = accounts
        self._retries = Retries(agents, now=context.now, rng=context.rng)
        self._calls = CoreCalls(now=context.now)
        self._is_draining = False
        self._ending: dict[str, anyio.Event] = {}
        self._log = structlog.get_logger("gatewayd.turns")

    @property
    def _config(self) -> SessionsSection:
        return self._configured.config.sessions

    def _reports_lost(self, agent_id: str) -> bool:
        """Whether to report a turn that its agent has lost, instead of running it again."""
        agent = self._configured.agents.get(agent_id)
        return agent is not None and agent.frame.on_lost_turn == "report"

    def open(self, *, parent: TaskGroup | None) -> AbstractAsyncContextManager[None]:
        """Cores can be called inside, see ``CoreCalls.open``."""
        return self._calls.open(parent=parent)

    def abandoned_tasks(self) -> tuple[AbandonedTask, ...]:
        """Calls that ignored their cancellation, by agent, and where they stand."""
        return self._calls.abandoned_tasks()

    async def run(self, turn: LiveTurn) -> Sequence[WaitingMessage]:
        """Run a turn until its rows have ended, or return the messages that another agent is to take. Only cancellation leaves
        rows open otherwise."""
        key = turn.route.session_key
        with structlog.contextvars.bound_contextvars(**turn.names):
            growth = Growth(turn, self._store, self._outbox, self._configured, self._accounts)
            if turn.was_running:
                await growth.find()
            outcome, taken_up = await self._try(turn, growth)
            if outcome.kind == "stopped" and await self._is_handed_over(turn):
                return turn.open_messages()
            if turn.state != "ending":
                turn.move("ending")
            if not taken_up:
                await self.stop_left_over(turn.turn_id, key, turn.route.agent_id)
            over = self._ending[key] = anyio.Event()
            try:
                await self._end(turn, outcome, growth)
            finally:
                del self._ending[key]
                over.set()
        return ()

    async def _try(self, turn: LiveTurn, growth: Growth) -> tuple[Outcome, bool]:
        """All attempts of a turn. Returns the outcome, and whether the work of an earlier life was taken up."""
        ids, began_at = turn.ids, anyio.current_time()
        most = self._config.max_turn_attempts + max(row.stops for row in turn.rows)
        outcome, taken_up = (
            Outcome("again", detail="its earlier attempts were cut by the end of the process"),
            not turn.was_running,
        )

        async def notify(text: str) -> None:
            await self._say_once(turn.rows[-1], turn.turn_id, text)

        if turn.attempt < most:
            await self._retries.wait_due(turn)
        while turn.attempt < most:
            await self._retries.wait_open(turn, notify=notify)
            if turn.is_over:
                return Outcome("stopped"), taken_up
            ordered = self._agents.ordered_restarts(turn.route.agent_id)
            outcome = await self._begin_attempt(turn, growth)
            # An attempt that was cut may have ended before it asked the core. To stop a turn that has ended does no harm.
            taken_up = taken_up or outcome.kind not in ("again", "stopped", "timed_out")
            if outcome.kind == "again" and self._agents.ordered_restarts(turn.route.agent_id) != ordered:
                # An operator's order has cut it, as a stop of the process does.
                await until_stored(lambda: self._store.note_stop(ids))
                most += 1
            if outcome.kind != "again" or turn.attempt >= most:
                break
            self._log.warning("turn_attempt_failed", attempt=turn.attempt, reason=outcome.detail)
            await self._retries.wait_after(turn, at_least=outcome.after_seconds, since=began_at, notify=notify)
        return outcome, taken_up

    async def _begin_attempt(self, turn: LiveTurn, growth: Growth) -> Outcome:
        ids, turn_id, key = turn.ids, turn.turn_id, turn.route.session_key
        turn.begin_attempt()
        await until_stored(lambda: self._store.start_turn(ids, turn_id=turn_id, session_key=key))
        async with self._note_ordered_stop(ids):
            return await self._attempt(turn, growth)

    async def _is_handed_over(self, turn: LiveTurn) -> bool:
        """Whether another agent takes the messages now. Not if somebody has stopped the turn meanwhile."""
        if turn.state == "moving":
            await self.withdraw(turn.turn_id, why="the agent is not configured any more, and another one takes the message")
        return turn.state == "moving"

    def begin_drain(self) -> None:
        """A stop was ordered: an attempt that it cuts does not count."""
        self._is_draining = True

    async def wait_reply_committed(self, session_key: str) -> None:
        """Returns when the reply of the key's turn is committed, if the turn is ending."""
        if (over := self._ending.get(session_key)) is not None:
            await over.wait()

    @asynccontextmanager
    async def _note_ordered_stop(self, ids: Sequence[int]) -> AsyncIterator[None]:
        """Inside, an attempt that an ordered stop cuts does not count as failed."""
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if self._is_draining:
                with anyio.move_on_after(_NOTE_SECONDS, shield=True), suppress(StoreRefused):
                    await self._store.note_stop(ids)
            raise

    async def stop_left_over(self, turn_id: str, session_key: str, agent_id: str) -> None:
        """Stop, at its core, a turn of an earlier life that this life does not take up: otherwise it would run beside the next
        turn of the session. If that fails now, the next turn does it first."""
        outcome = Outcome("timed_out", detail=f"not within {_STOP_SECONDS:g} s")
        with anyio.move_on_after(_STOP_SECONDS):
            outcome = await self._ask(agent_id, lambda: self._stop_turn(turn_id, session_key, agent_id))
        if outcome.kind != "stopped":
            self._log.warning("turn_not_stopped", turn_id=turn_id, reason=outcome.detail)
            await until_stored(lambda: self._sessions.note_left_over(session_key, turn_id))

    async def new_session(self, route: Route, *, made_by: int) -> str | None:
        """Give the route's key a new session, because of the message ``made_by``. Returns None, or why that failed, for the
        operator."""
        outcome = Outcome("timed_out", detail=f"no new session within {_NEW_SESSION_SECONDS:g} s")
        with anyio.move_on_after(_NEW_SESSION_SECONDS):
            outcome = await self._ask(route.agent_id, lambda: self._make_session(route, made_by))
        return None if outcome.kind == "answered" else outcome.detail

    async def withdraw(self, turn_id: str, *, why: str) -> None:
        """The turn is over: withdraw its open requests and questions."""
        await until_stored(lambda: self._desk.withdraw(turn_id, why=why))
        await until_stored(lambda: self._questions.withdraw_turn(turn_id))

    async def _attempt(self, turn: LiveTurn, growth: Growth) -> Outcome:
        """One attempt, with typing and the text so far beside it. The time limit includes everything that the core does."""
        agent_id, turn_id = turn.route.agent_id, turn.turn_id
        outcome: Outcome | None = None
        began_at = anyio.current_time()
        async with anyio.create_task_group() as beside:
            with anyio.CancelScope(deadline=anyio.current_time() + self._config.turn_timeout_seconds) as scope:
                turn.bind(scope)

                def notify(text: str) -> None:
                    beside.start_soon(self._say, turn.rows[-1], turn_id, text, name=f"notice {turn_id}")

                def watch(event: ToolCall | ToolResult) -> None:
                    self._events.emit("agent.tool", agent=agent_id, turn_id=turn_id, **_tool_of(event))

                def begin(request: TurnRequest) -> RunningTurn:
                    about = {"agent": agent_id, "turn_id": turn_id, "session_key": request.session_key}
                    self._events.emit("agent.turn", **about, session_id=request.session_id, attempt=request.attempt)
                    running = RunningTurn(
                        request,
                        ApprovalRequests(self._desk, self._store, request),
                        self._questions.begin(request, turn.offer),
                        scope,
                        turn,
                        notify,
                        self._accounts.fetch,
                        watch,
                    )
                    turn.move("at_core")
                    beside.start_soon(self._show_typing, request, turn, name=f"typing {turn_id}")
                    beside.start_soon(self._show_text, running, growth, name=f"text {turn_id}")
                    return running

                outcome = await self._ask(agent_id, lambda: self._call(turn, begin))
            beside.cancel_scope.cancel()
        if outcome is None:
            outcome = Outcome("stopped") if turn.is_over else Outcome("timed_out", detail="the time limit of the turn is over")
        turn.leave_core()
        if outcome.kind != "stopped":
            error = None if outcome.kind == "answered" else outcome.detail
            self._agents.note_end(agent_id, anyio.current_time() - began_at, error=error)
        return outcome

    async def _ask(self, agent_id: str, work: Callable[[], Awaitable[Outcome]]) -> Outcome:
        """The outcome of a call of a core, also when it raises."""
        try:
            return await self._calls.call(agent_id, work)
        except Exception as error:
            return self._classify(error)

    async def _call(self, turn: LiveTurn, begin: Callable[[TurnRequest], RunningTurn]) -> Outcome:
        core = await self._agents.core(turn.route.agent_id)
        envelope = turn.rows[-1].envelope
        session = await self._sessions.resolve(turn.route, core, envelope.conversation)
        if session.left_over not in (None, turn.turn_id) and isinstance(core, StopsTurns):
            await core.stop_turn(session.session_id, session.left_over)
            await self._sessions.note_left_over(turn.route.session_key, None)
        earlier = await recall(turn.rows[0].envelope, session, self._configured, self._accounts)
        if turn.is_over:
            return Outcome("stopped")  # before this call has heard of it
        running = begin(request_of(turn.messages, turn.route, turn.turn_id, turn.attempt, session.session_id, earlier))
        return await self._run(core, running, was_running=turn.was_running)

    async def _run(self, core: AgentCore, turn: RunningTurn, *, was_running: bool) -> Outcome:
        request = turn.request
        self._agents.note_turn(request.agent_id, +1)
        try:
            state = await core.turn_state(request.session_id, request.turn_id) if was_running else "new"
            if state in ("running", "ended"):
                return answer_of(await core.resume(turn), self._clean)
            if state == "lost":
                if self._reports_lost(request.agent_id):
                    return Outcome("lost", detail='the turn was cut, and on_lost_turn = "report"')
                await turn.forget_refs()
            return answer_of(await core.run(turn), self._clean)
        finally:
            self._agents.note_turn(request.agent_id, -1)

    async def _stop_turn(self, turn_id: str, session_key: str, agent_id: str) -> Outcome:
        core = await self._agents.core(agent_id)
        session = await self._sessions.find(session_key)
        if isinstance(core, StopsTurns) and session is not None:
            await core.stop_turn(session.session_id, turn_id)
        return Outcome("stopped")

    async def _make_session(self, route: Route, made_by: int) -> Outcome:
        await self._sessions.reset(route, await self._agents.core(route.agent_id), made_by=made_by)
        return Outcome("answered")

    def _classify(self, error: BaseException) -> Outcome:
        """The outcome that an error of the core means. In a group the strictest error counts, as for accounts."""
        found = leaves(error)
        if strict := [leaf for leaf in found if isinstance(leaf, AgentFailed | NeedsOperator)]:
            kind = strict[0].kind if isinstance(strict[0], AgentFailed) else "failed"
            return Outcome("failed", detail=self._clean(strict[0].reason), failure=kind)
        outages = [leaf for leaf in found if isinstance(leaf, TryAgain | StoreRefused)]
        if len(outages) < len(found):
            bug = next(leaf for leaf in found if not isinstance(leaf, TryAgain | StoreRefused))
            self._log.error("agent_core_crashed", exception=trace_of(error))
            return Outcome("failed", detail=f"bug in the agent core: {describe(bug, self._redact)}")
        wishes = [leaf.after_seconds for leaf in outages if isinstance(leaf, TryAgain) and leaf.after_seconds is not None]
        return Outcome("again", detail=self._clean(outages[0].reason), after_seconds=max(wishes, default=None))

    def _clean(self, reason: str) -> str:
        return " ".join(self._redact(reason).split())[:_REASON_MAX]

    async def _end(self, turn: LiveTurn, outcome: Outcome, growth: Growth) -> None:
        rows, turn_id = turn.rows, turn.turn_id
        state, reason, text = verdict_on(outcome, turn.stop_reason)
        await self.withdraw(turn_id, why=f"the turn has ended: {outcome.kind}")
        detail, key = outcome.detail or None, turn.route.session_key
        replies = await growth.end(text, is_answer=outcome.kind in ("answered", "cut"))
        if replies is None:
            await self._outbox.end_inbound(rows, state, reason, text=text, detail=detail, turn_id=turn_id, session_key=key)
        else:
            await self._outbox.end_inbound(rows, state, reason, replies=replies, detail=detail, turn_id=turn_id, session_key=key)
        log = self._log.error if state == "dead" else self._log.info
        log("turn_ended", state=state, reason=reason, detail=detail, inbound=turn.ids)

    async def _show_typing(self, request: TurnRequest, turn: LiveTurn) -> None:
        # A fast answer needs no typing sign, and each one costs a request.
        await anyio.sleep(_TYPING_AFTER_SECONDS)
        while True:
            if turn.state == "at_core":
                await self._accounts.signal(request.channel, request.account, Typing(request.peer))
            await anyio.sleep(_TYPING_EVERY_SECONDS)

    async def _show_text(self, turn: RunningTurn, growth: Growth) -> None:
        """The text so far, in a message that grows, or as drafts."""
        request = turn.request
        while True:
            # The pause avoids a draft when the reply comes at once.
            await turn.wait_changed(then_seconds=_DRAFT_EVERY_SECONDS)
            if await growth.show(turn):
                continue
            await self._accounts.signal(request.channel, request.account, Draft(request.peer, request.turn_id, turn.text_so_far))

    async def _say_once(self, row: InboundRow, turn_id: str, text: str) -> None:
        """Show a sentence if the turn has shown nothing yet, in an earlier life of the process either."""
        if not await until_stored(lambda: self._store.outbound_by("turn_id", turn_id)):
            await self._say(row, turn_id, text)

    async def _say(self, row: InboundRow, turn_id: str, text: str) -> None:
        """Show a sentence while the turn goes on."""
        asked = row.envelope
        plugin = self._configured.plugin_for(asked.channel, asked.account, asked.peer)
        drafts = [replace(draft, subject=SIGN) for draft in draft_replies(row.envelope, text, plugin, turn_id=turn_id)]
        await until_stored(lambda: self._outbox.write(drafts))


def _tool_of(event: ToolCall | ToolResult) -> dict[str, str]:
    """The public part of a tool event: which tool, and its state. Not its input and output."""
    if isinstance(event, ToolResult):
        return {"call_id": event.call_id[:_ID_MAX], "state": "failed" if event.is_error else "done"}
    return {"call_id": event.call_id[:_ID_MAX], "state": "begun", "tool": event.tool[:_ID_MAX]}
