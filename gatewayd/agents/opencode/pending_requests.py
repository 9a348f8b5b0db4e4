"""What a run asks for, permission and answers: brought to the people, and their answers brought back, each exactly once."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import count

import anyio
import anyio.abc
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.wakeup import Wakeup
from gatewayd.agents.opencode.server.dialect import Dialect, PendingRequest, PermissionRequest, QuestionsRequest, Session
from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.ports.agent import Turn

_OPEN_MAX = 64
"""Requests of one run that are shown to people at the same time."""
_CLOSED_MAX = 5_000
_TOO_MANY = Decision("undeliverable", note="there are too many requests at once")
_RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0)


class _Open:
    """One request that is being dealt with. ``denied``: its answer is a no, which waits for the answers to the others.
    ``one_too_many``: nobody is asked. ``answering``: the answer is on its way to the server."""

    def __init__(self, request: PendingRequest, *, one_too_many: bool) -> None:
        self.request = request
        self.one_too_many = one_too_many
        self.denied = one_too_many
        self.answering = False


class PendingRequests:
    """The requests of one run. Each has a task of its own in ``tasks``, so several are shown at once."""

    def __init__(
        self, turn: Turn, session: Session, dialect: Dialect, tasks: anyio.abc.TaskGroup, log: FilteringBoundLogger
    ) -> None:
        self._turn = turn
        self._session = session
        self._dialect = dialect
        self._tasks = tasks
        self._log = log
        self._open: dict[str, _Open] = {}
        self._closed: set[str] = set()
        self._void: set[str] = set()
        self._changed = Wakeup()

    async def update(self, listed: Sequence[PendingRequest]) -> None:
        """``listed`` is what the server waits for now: show what is new, and withdraw what is not there any more, because it
        was answered elsewhere or the server gave it up. One that comes back after that is refused: nobody sees it any more.

        :raises AgentFailed: the run has asked for more than anybody answers.
        """
        await self.withdraw(but={request.ref for request in listed}, why="it was answered elsewhere, or the agent gave it up")
        for request in listed:
            if len(self._closed) >= _CLOSED_MAX:
                raise AgentFailed(
                    f"the agent asked {_CLOSED_MAX:,} times for permission, or questions, in one turn: it was stopped"
                )
            if len(self._open) >= 2 * _OPEN_MAX:
                break  # they are listed again when these are answered
            if request.ref not in self._open and (request.ref not in self._closed or request.ref in self._void):
                self._open[request.ref] = entry = _Open(request, one_too_many=len(self._open) >= _OPEN_MAX)
                self._tasks.start_soon(self._handle, entry, name=f"request {request.ref}")

    async def withdraw(self, *, but: Collection[str] = (), why: str) -> None:
        """Nobody has to answer any more, except these. An answer that is on its way to the server stays on it."""
        for ref, entry in list(self._open.items()):
            if ref not in but and not entry.answering:
                self._close(ref)
                self._void.add(ref)
                for part in entry.request.refs:
                    await self._turn.withdraw(part, why=why)

    async def _handle(self, entry: _Open) -> None:
        if entry.request.ref in self._void:
            self._void.discard(entry.request.ref)
            await self._refuse(entry, Decision("withdrawn"))
        elif entry.one_too_many:
            self._log.warning("too_many_pending_requests", ref=entry.request.ref)
            if self._dialect.denial_ends_others:
                await self._wait_others(entry)
            await self._refuse(entry, _TOO_MANY)
        elif isinstance(entry.request, PermissionRequest):
            await self._ask_permission(entry, entry.request)
        else:
            await self._ask_questions(entry, entry.request)

    async def _refuse(self, entry: _Open, decision: Decision) -> None:
        request = entry.request
        if isinstance(request, PermissionRequest):
            await self._deliver(entry, lambda: self._dialect.decide(self._session, request, decision))
        else:
            await self._deliver(entry, lambda: self._dialect.answer(self._session, request, None))

    async def _ask_permission(self, entry: _Open, request: PermissionRequest) -> None:
        decision = await self._turn.permission(ToolRequest(request.tool, request.input, request.ref, whole=request.whole))
        if not decision.allowed and self._dialect.denial_ends_others:
            await self._wait_others(entry)
        await self._deliver(entry, lambda: self._dialect.decide(self._session, request, decision))

    async def _ask_questions(self, entry: _Open, request: QuestionsRequest) -> None:
        answers: list[tuple[str, ...]] | None = []
        with anyio.CancelScope() as patience:
            if request.give_up_seconds is not None:
                patience.deadline = anyio.current_time() + request.give_up_seconds
            answers = await self._answers(request)
        if patience.cancelled_caught:
            answers = None
            for ref in request.refs:
                await self._turn.withdraw(ref, why="the agent does not wait any longer")
        await self._deliver(entry, lambda: self._dialect.answer(self._session, request, answers))

    async def _answers(self, request: QuestionsRequest) -> list[tuple[str, ...]] | None:
        """None as soon as one is dismissed: the server takes all answers or none."""
        answers = []
        for question in request.questions:
            answer = await self._turn.question(question)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    async def _wait_others(self, entry: _Open) -> None:
        """A no to one request is a no to all that wait in its session: so it is said when no other can be allowed any more."""
        entry.denied = True
        self._note_change()
        session_id = entry.request.session_id
        while entry.request.ref in self._open and any(
            isinstance(other.request, PermissionRequest) and other.request.session_id == session_id and not other.denied
            for other in self._open.values()
        ):
            await self._changed.wait()

    async def _deliver(self, entry: _Open, act: Callable[[], Awaitable[bool]]) -> None:
        """Until the server has heard it. Saying it twice does no harm, asking people twice would."""
        ref = entry.request.ref
        if ref not in self._open:
            return  # it is void
        entry.answering = True
        for attempt in count():
            try:
                if not await act():
                    self._log.warning("response_not_accepted", ref=ref)
                break
            except TryAgain as error:
                if not attempt:
                    self._log.warning("response_not_delivered", ref=ref, reason=error.reason)
            await anyio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
        self._close(ref)

    def _close(self, ref: str) -> None:
        self._open.pop(ref, None)
        self._closed.add(ref)
        self._note_change()

    def _note_change(self) -> None:
        self._changed.notify()
