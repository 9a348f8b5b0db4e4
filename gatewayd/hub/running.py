"""One running turn from both its sides: the handle of its lane, and what the agent core sees."""

import math
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from io import StringIO

import anyio

from gatewayd.hub.asking import Asking
from gatewayd.hub.places import Place
from gatewayd.hub.questions import AskingUser, Offer
from gatewayd.kit.text import sanitise
from gatewayd.model.approval import Decision, ToolRequest
from gatewayd.model.envelope import Attachment
from gatewayd.model.errors import AgentFailed, NotFound, SendRejected
from gatewayd.model.lifecycle import StopReason
from gatewayd.model.question import Question
from gatewayd.ports.agent import Notice, TextDelta, ToolCall, ToolResult, TurnEvent, TurnRequest

_DRAFT_MAX = 100_000
_NOTICES_MAX = 5
_NOTICE_MAX = 500
_TOOLS_MAX = 200

MediaSource = Callable[[str, str, Attachment, int], Awaitable[bytes]]
"""Channel, account, attachment and the most bytes to take, to the bytes."""


class TurnControl:
    """The handle by which a lane stops its running turn, and the turn's place among those that run at the same time."""

    def __init__(self, place: Place, changed: Callable[[], None], offer: Offer, *, holds_place: bool = True) -> None:
        """``holds_place``: the place is taken already. ``changed`` hears that the turn has begun to wait for people, ``rests``
        (set by the lane) that it begins to rest, and that it does no more; ``offer``
        hears of each question that the turn has shown."""
        self._place = place
        self._changed = changed
        self.offer = offer
        self._holds_place = holds_place
        self._scope: anyio.CancelScope | None = None
        self.stopped: StopReason | None = None
        self.moves = False
        self.at_core = False
        self.was_at_core = False
        self.waits_for_people = False
        self.resting = False
        self.rests: Callable[[bool], None] = lambda resting: None
        self.told: set[str] = set()
        self.ended = anyio.Event()

    def stop(self, why: StopReason) -> None:
        """End the turn now. ``why`` becomes the reason of its rows."""
        if self.stopped is None or self.moves:
            self.stopped, self.moves = why, False
        if self._scope is not None:
            self._scope.cancel()

    def move(self) -> None:
        """End the turn here, for another agent to take its messages: its rows stay open."""
        if self.stopped is None:
            self.stop("stopped")
            self.moves = True

    def attach(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        if self.stopped is not None:
            scope.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait, or until ``stop``, as in ``rest``."""
        async with self.rest():
            await anyio.sleep(seconds)

    @asynccontextmanager
    async def rest(self) -> AsyncIterator[None]:
        """The body only waits, and ``stop`` ends it. Others have the place meanwhile: the outage of one agent must not hold up
        another."""
        self.resting = True
        self.rests(True)
        self.give_place()
        self._changed()
        try:
            with anyio.CancelScope() as scope:
                self.attach(scope)
                yield
                await self.take_place()
        finally:
            self.resting = False
            self.rests(False)

    def give_place(self) -> None:
        if self._holds_place:
            self._holds_place = False
            self._place.release()

    async def take_place(self) -> None:
        if not self._holds_place:
            await self._place.acquire()
            self._holds_place = True
        if self.ended.is_set():
            # Of a core that ignored its cancellation, after the end: nobody else would give it back.
            self.give_place()

    def wait_for_people(self) -> None:
        """People take their time: the place is somebody else's meanwhile."""
        self.waits_for_people = True
        self.give_place()
        self._changed()


class RunningTurn:
    """The turn as an agent core sees it (ports/agent.py Turn)."""

    def __init__(
        self,
        request: TurnRequest,
        asking: Asking,
        questions: AskingUser,
        scope: anyio.CancelScope,
        control: TurnControl,
        tell: Callable[[str], None],
        fetch: MediaSource,
        watch: Callable[[ToolCall | ToolResult], None],
    ) -> None:
        """``scope`` has the turn's deadline; ``tell`` shows a sentence in the chat and does not wait for it; ``watch`` hears of
        the first tools."""
        self._request = request
        self._fetch = fetch
        self._asking = asking
        self._questions = questions
        self._scope = scope
        self._control = control
        self._tell = tell
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
        if isinstance(event, Notice) and event.text not in self._control.told and len(self._control.told) < _NOTICES_MAX:
            self._control.told.add(event.text)
            self._tell(sanitise(event.text)[:_NOTICE_MAX])
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
        if self._control.ended.is_set():
            return Decision("withdrawn", note="the turn is over")
        async with self._waits_for_people():
            return await self._asking.permission(request)

    async def question(self, question: Question) -> tuple[str, ...] | None:
        if self._control.ended.is_set():
            return None
        async with self._waits_for_people():
            return await self._questions.question(question)

    async def withdraw(self, ref: str, *, why: str) -> None:
        await self._asking.withdraw(ref, why=why)
        await self._questions.withdraw(ref)

    async def forget_refs(self) -> None:
        """The core has lost this turn: what it asked under ids of its own is void."""
        await self._asking.forget_refs()
        await self._questions.forget_refs()

    @asynccontextmanager
    async def _waits_for_people(self) -> AsyncIterator[None]:
        """The turn's own time limit stands still meanwhile, and its place is somebody else's: people take their time."""
        if not self._people:
            self._seconds_left = self._scope.deadline - anyio.current_time()
            self._scope.deadline = math.inf
        self._people += 1
        self._control.wait_for_people()
        try:
            yield
            if self._people == 1:
                await self._control.take_place()
                if self._people > 1:
                    self._control.give_place()  # something else was asked meanwhile
        finally:
            self._people -= 1
            if not self._people:
                self._control.waits_for_people = False
                self._scope.deadline = anyio.current_time() + self._seconds_left
