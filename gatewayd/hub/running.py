"""One running turn from both its sides: the handle of its lane, and what the agent core sees."""

import math
from collections.abc import Awaitable, Callable
from io import StringIO

import anyio
import trio

from gatewayd.hub.approvals import ApprovalDesk
from gatewayd.kit.text import sanitise
from gatewayd.model.approval import Approval, Decision, ToolRequest
from gatewayd.model.envelope import Attachment
from gatewayd.model.errors import AgentFailed, NotFound, SendRejected
from gatewayd.ports.agent import TextDelta, TurnEvent, TurnRequest

_DRAFT_MAX = 100_000

MediaSource = Callable[[str, str, Attachment, int], Awaitable[bytes]]
"""Channel, account, attachment and the most bytes to take, to the bytes."""


class TurnControl:
    """The handle by which a lane stops its running turn, and the turn's place among those that run at the same time."""

    def __init__(self, slots: trio.Semaphore) -> None:
        """``slots``: one place of it is taken already."""
        self._slots = slots
        self._holds_place = True
        self._scope: anyio.CancelScope | None = None
        self.stopped: str | None = None
        self.ended = anyio.Event()

    def stop(self, why: str) -> None:
        """End the turn now. ``why`` becomes the reason of its rows."""
        self.stopped = self.stopped or why
        if self._scope is not None:
            self._scope.cancel()

    def attach(self, scope: anyio.CancelScope) -> None:
        self._scope = scope
        if self.stopped is not None:
            scope.cancel()

    async def pause(self, seconds: float) -> None:
        """Wait, or until ``stop``. Others have the place meanwhile: the outage of one agent must not hold up another."""
        self.give_place()
        with anyio.CancelScope() as scope:
            self.attach(scope)
            await anyio.sleep(seconds)
            await self._slots.acquire()
            self._holds_place = True

    def give_place(self) -> None:
        if self._holds_place:
            self._holds_place = False
            self._slots.release()


class RunningTurn:
    """The turn as an agent core sees it (ports/agent.py Turn)."""

    def __init__(
        self,
        request: TurnRequest,
        desk: ApprovalDesk,
        scope: anyio.CancelScope,
        shown: Callable[[Approval], None],
        fetch: MediaSource,
    ) -> None:
        self._request = request
        self._fetch = fetch
        self._desk = desk
        self._scope = scope
        self._shown = shown
        self._ordinal = 0
        self._asking = 0
        self._seconds_left = math.inf
        self._ask_lock = anyio.Lock()
        self._text = StringIO()
        self.changed = anyio.Event()

    @property
    def request(self) -> TurnRequest:
        return self._request

    @property
    def text_so_far(self) -> str:
        """What was streamed, up to a length that is more than anybody reads while it grows."""
        return sanitise(self._text.getvalue())

    async def emit(self, event: TurnEvent) -> None:
        if isinstance(event, TextDelta) and self._text.tell() < _DRAFT_MAX:
            self._text.write(event.text[:_DRAFT_MAX])
            self.changed.set()
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
        """Waits for an operator. The turn's own time limit stands still meanwhile.

        One request at a time: the ordinals must come out the same when the turn is run again.
        """
        if not self._asking:
            self._seconds_left = self._scope.deadline - anyio.current_time()
            self._scope.deadline = math.inf
        self._asking += 1
        try:
            async with self._ask_lock:
                decision, ordinal = await self._desk.ask(self._request, request, self._ordinal, shown=self._shown)
                self._ordinal = ordinal + 1
                return decision
        finally:
            self._asking -= 1
            if not self._asking:
                self._scope.deadline = anyio.current_time() + self._seconds_left
