"""One run of a turn as its agent core sees it."""

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
"""Channel, account, attachment and the most bytes to take, to the bytes."""


class RunningTurn:
    """The turn as an agent core sees it (ports/agent.py Turn)."""

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
        """``scope`` has the turn's deadline; ``notify`` shows a sentence in the chat and does not wait for it; ``watch`` hears of
        the first tools."""
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
        """What was streamed, up to a length that is more than anybody reads while it grows."""
        return sanitise(self._text.getvalue())

    async def wait_changed(self, *, then_seconds: float) -> None:
        """Returns so long after something was streamed that :attr:`text_so_far` did not have the last time."""
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
        # A core that emits without ever waiting must not starve the others.
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
        """The core has lost this turn: what it asked under ids of its own is void."""
        await self._approvals.forget_refs()
        await self._questions.forget_refs()

    @property
    def _is_over(self) -> bool:
        """Whether this run of the turn is over. A core may not know it yet, or not care."""
        return self._turn.phase != "core" or self._turn.attempt != self._request.attempt

    @asynccontextmanager
    async def _waits_for_people(self) -> AsyncIterator[None]:
        """The turn's own time limit stands still meanwhile, and its slot is somebody else's: people take their time."""
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
