"""The pending requests of one run, permissions and questions: people are asked, and each answer is delivered exactly once."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from itertools import count

import anyio
import anyio.abc
from structlog.typing import FilteringBoundLogger

from gatewayd.actor.wakeup import Wakeup
from gatewayd.agents.opencode.server.dialect import Dialect, PendingRequest, PermissionRequest, QuestionsRequest, ServerSession
from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.ports.agent import Turn

_OPEN_MAX = 64
"""Requests of one run that are shown to people at the same time."""
_CLOSED_MAX = 5_000
_WITHDRAWN = Decision("withdrawn")
_TOO_MANY = Decision("undeliverable", note="there are too many requests at once")
_RETRY_SECONDS = (0.25, 0.5, 1.0, 2.0, 5.0)


class _Open:
    """One open request.

    ``refusal``: nobody is asked, this is the answer. ``denied``: the answer is a denial, which waits for the answers to the other
    requests. ``delivering``: the answer is on its way to the server.
    """

    def __init__(self, request: PendingRequest, refusal: Decision | None) -> None:
        self.request = request
        self.refusal = refusal
        self.denied = refusal is _TOO_MANY
        self.delivering = False


class PendingRequests:
    """Each request has a task of its own in ``tasks``, so several are shown at once."""

    def __init__(
        self, turn: Turn, session: ServerSession, dialect: Dialect, tasks: anyio.abc.TaskGroup, log: FilteringBoundLogger
    ) -> None:
        self._turn = turn
        self._session = session
        self._dialect = dialect
        self._tasks = tasks
        self._log = log
        self._open: dict[str, _Open] = {}
        self._closed: set[str] = set()
        self._withdrawn: set[str] = set()
        self._changed = Wakeup()

    async def update(self, listed: Sequence[PendingRequest]) -> None:
        """Show the new requests of the server's list, and withdraw those that are not listed any more: they were answered
        elsewhere, or the server gave them up. A withdrawn request that is listed again is refused: nobody sees it any more.

        :raises AgentFailed: the run has made more requests than anybody answers.
        """
        await self.withdraw(but={request.ref for request in listed}, why="it was answered elsewhere, or the agent gave it up")
        for request in listed:
            ref = request.ref
            if len(self._closed) >= _CLOSED_MAX:
                raise AgentFailed(
                    f"the agent asked {_CLOSED_MAX:,} times for permission, or questions, in one turn: it was stopped"
                )
            if len(self._open) >= 2 * _OPEN_MAX:
                break  # the rest is listed again when these are answered
            if ref in self._open or (ref in self._closed and ref not in self._withdrawn):
                continue
            refusal = _WITHDRAWN if ref in self._withdrawn else _TOO_MANY if len(self._open) >= _OPEN_MAX else None
            self._withdrawn.discard(ref)
            self._open[ref] = entry = _Open(request, refusal)
            self._tasks.start_soon(self._handle, entry, name=f"request {ref}")

    async def withdraw(self, *, but: Collection[str] = (), why: str) -> None:
        """Nobody has to answer any request any more, except these. An answer on its way to the server is still delivered."""
        for ref, entry in list(self._open.items()):
            if ref not in but and not entry.delivering:
                self._close(ref)
                self._withdrawn.add(ref)
                for part in entry.request.refs:
                    await self._turn.withdraw(part, why=why)

    async def _handle(self, entry: _Open) -> None:
        if entry.refusal is _TOO_MANY:
            self._log.warning("too_many_requests_at_once", ref=entry.request.ref)
        if isinstance(request := entry.request, PermissionRequest):
            await self._handle_permission(entry, request)
        else:
            await self._handle_questions(entry, request)

    async def _handle_permission(self, entry: _Open, request: PermissionRequest) -> None:
        decision = entry.refusal or await self._turn.permission(
            ToolRequest(request.tool, request.input, request.ref, whole=request.whole)
        )
        if not decision.allowed and decision is not _WITHDRAWN:
            await self._wait_others(entry)
        await self._deliver(entry, lambda: self._dialect.decide(self._session, request, decision))

    async def _handle_questions(self, entry: _Open, request: QuestionsRequest) -> None:
        answers: list[tuple[str, ...]] | None = None
        if entry.refusal is None:
            answers = await self._answers(request)
        elif entry.refusal is _TOO_MANY:
            await self._wait_others(entry)
        await self._deliver(entry, lambda: self._dialect.answer(self._session, request, answers))

    async def _answers(self, request: QuestionsRequest) -> list[tuple[str, ...]] | None:
        """None as soon as one is dismissed, or when the server gives up: the server takes all answers or none."""
        answers = []
        with anyio.move_on_after(request.give_up_seconds) as limit:
            for question in request.questions:
                if (answer := await self._turn.question(question)) is None:
                    return None
                answers.append(answer)
        if not limit.cancelled_caught:
            return answers
        for ref in request.refs:
            await self._turn.withdraw(ref, why="the agent does not wait any longer")
        return None

    async def _wait_others(self, entry: _Open) -> None:
        """Where a denial of one request denies all others of its session: wait until no other one can be allowed any more."""
        if not self._dialect.denial_ends_others:
            return
        entry.denied = True
        self._changed.notify()
        session_id = entry.request.session_id
        while entry.request.ref in self._open and any(
            isinstance(other.request, PermissionRequest) and other.request.session_id == session_id and not other.denied
            for other in self._open.values()
        ):
            await self._changed.wait()

    async def _deliver(self, entry: _Open, send: Callable[[], Awaitable[bool]]) -> None:
        """Until the server has it. To send it twice does no harm, to ask people twice would."""
        ref = entry.request.ref
        if ref not in self._open:
            return  # it was withdrawn
        entry.delivering = True
        for attempt in count():
            try:
                if not await send():
                    self._log.warning("answer_not_taken", ref=ref)
                break
            except TryAgain as error:
                if not attempt:
                    self._log.warning("answer_not_delivered_yet", ref=ref, reason=error.reason)
            await anyio.sleep(_RETRY_SECONDS[min(attempt, len(_RETRY_SECONDS) - 1)])
        self._close(ref)

    def _close(self, ref: str) -> None:
        self._open.pop(ref, None)
        self._closed.add(ref)
        self._changed.notify()
