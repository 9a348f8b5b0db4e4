"""One attempt of a turn, as the agent core sees it."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import StringIO

import anyio

from gatewayd.hub.approvals.questions import UserQuestions
from gatewayd.hub.approvals.requests import ApprovalRequests
from gatewayd.hub.turns.turn import LiveTurn
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import AgentFailed, NotFound, SendRejected
from gatewayd.model.message.envelope import Attachment
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import Notice, TextDelta, ToolCall, ToolResult, TurnEvent, TurnRequest

_DRAFT_MAX = 100_000
_NOTICE_MAX = 500
_TOOLS_MAX = 200

MediaSource = Callable[[str, str, Attachment, int], Awaitable[bytes]]
"""From channel, account, attachment and the largest number of bytes to the bytes."""


class RunningTurn:
    """The ``Turn`` of ports/agent.py."""

    def __init__(
        self,
        request: TurnRequest,
        approvals: ApprovalRequests,
        questions: UserQuestions,
        scope: anyio.CancelScope,
        turn: LiveTurn,
        notify: Callable[[str], None],
        fetch: MediaSource,
        watch: Callable[[ToolCall | ToolResult], None],
    ) -> None:
        """``scope`` has the turn's deadline. ``notify`` shows a sentence in the chat and does not wait. ``watch`` gets the first
        tool events."""
        self._request = request
        self._fetch = fetch
        self._approvals = approvals
        self._questions = questions
        self._scope = scope
        self._turn = turn
        self._notify = notify
        self._watch = watch
        self._watched = 0
        self._people = 0
        self._seconds_left = math.inf
        self._text = StringIO()
        self._changed = anyio.Event()

    @property
    def request(self) -> TurnRequest:
        return self._request

    @property
    def goes_on(self) -> bool:
        return not self._scope.cancel_called

    @property
    def text_so_far(self) -> str:
        """The text that was streamed so far, up to a bound."""
        return sanitise(self._text.getvalue())

    async def wait_changed(self, *, then_seconds: float) -> None:
        """Returns ``then_seconds`` after the text has changed."""
        await self._changed.wait()
        await anyio.sleep(then_seconds)
        self._changed = anyio.Event()

    async def emit(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta) and self._text.tell() < _DRAFT_MAX:
            self._text.write(event.text[:_DRAFT_MAX])
            self._changed.set()
        if isinstance(event, Notice) and self._turn.is_new_notice(event.text):
            self._notify(sanitise(event.text)[:_NOTICE_MAX])
        if isinstance(event, ToolCall | ToolResult) and self._watched < _TOOLS_MAX:
            self._watched += 1
            self._watch(event)
        # A core that emits without waiting must not starve other tasks.
        await anyio.lowlevel.checkpoint()

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        if attachment not in self._request.attachments:
            raise AgentFailed("the attachment is not one of this turn's")
        try:
            return await self._fetch(self._request.channel, self._request.account, attachment, at_most_bytes)
        except (SendRejected, NotFound) as error:
            raise AgentFailed(f"the attachment cannot be fetched: {error.reason}") from error

    async def permission(self, request: ToolRequest) -> Decision:
        if self._is_over:
            return Decision("withdrawn", note="the turn is over")
        async with self._waits_for_people():
            return await self._approvals.permission(request)

    async def question(self, question: Question) -> tuple[str, ...] | None:
        if self._is_over:
            return None
        async with self._waits_for_people():
            return await self._questions.question(question)

    async def withdraw(self, ref: str, *, why: str) -> None:
        await self._approvals.withdraw(ref, why=why)
        await self._questions.withdraw(ref)

    async def forget_refs(self) -> None:
        """The core has lost this turn: the ids of its requests are void."""
        await self._approvals.forget_refs()
        await self._questions.forget_refs()

    @property
    def _is_over(self) -> bool:
        """Whether this attempt is over. The core may not know that yet."""
        return self._turn.phase != "core" or self._turn.attempt != self._request.attempt

    @asynccontextmanager
    async def _waits_for_people(self) -> AsyncIterator[None]:
        """While people think, the turn's time limit does not run and its slot is free."""
        if not self._people:
            self._seconds_left = self._scope.deadline - anyio.current_time()
            self._scope.deadline = math.inf
        self._people += 1
        self._turn.wait_for_people()
        try:
            yield
            if self._people == 1 and not self._is_over:
                await self._turn.take_slot()
                if self._people > 1 and not self._is_over:
                    self._turn.wait_for_people()  # something else was asked meanwhile
        finally:
            self._people -= 1
            if not self._people:
                self._scope.deadline = anyio.current_time() + self._seconds_left
                if not self._is_over:
                    self._turn.move("at_core")
