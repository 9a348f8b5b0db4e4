"""One lane: the queue of one session key, in order, and its running turn."""

import heapq
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice, takewhile
from typing import Final

import anyio

from gatewayd.hub.turns.slots import Slot
from gatewayd.hub.turns.turn import LiveTurn, WaitingMessage
from gatewayd.model.config import QueueMode
from gatewayd.model.ids import ConversationId
from gatewayd.model.message.edits import is_deletion_of, is_edit_of
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.intents import Edit, Intent, Message, NewSession, QuestionPress, Skip
from gatewayd.ports.store import InboundRow

_COLLECTED_MAX: Final = 100


class Lane:
    """The queue of one session key, and its running turn."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.waiting: list[WaitingMessage] = []
        self.turn: LiveTurn | None = None
        self.to_stop: set[str | None] = set()
        self._slot_wait = anyio.CancelScope()

    @property
    def conversation(self) -> ConversationId | None:
        """The chat of the running turn."""
        return None if self.turn is None else conversation_of(self.turn.rows[-1])

    @property
    def stoppable(self) -> LiveTurn | None:
        """The turn, if there is something to stop: a ``/new`` without a text cannot be stopped."""
        match self.turn:
            case LiveTurn(intent=NewSession(text="")):
                return None
            case turn:
                return turn

    async def wait_for(self, slot: Slot) -> bool:
        """Acquire a slot for the next turn. False: there is none, because that turn is only to be stopped."""
        self._slot_wait = anyio.CancelScope()
        self._skip_slot_wait()
        with self._slot_wait:
            await slot.acquire()
        return not self._slot_wait.cancelled_caught

    @contextmanager
    def runs(self, turn: LiveTurn) -> Iterator[None]:
        """The turn is the lane's running turn inside, and has ended after it."""
        self.turn = turn
        try:
            yield
        finally:
            self.turn = None
            turn.move("ended")

    def add(self, waiting: WaitingMessage) -> None:
        heapq.heappush(self.waiting, waiting)

    def take_moved(self, belongs: Callable[[WaitingMessage, str], bool]) -> list[WaitingMessage]:
        """Remove and return the messages that belong to another lane now."""
        kept: list[WaitingMessage] = []
        moved: list[WaitingMessage] = []
        for waiting in self.waiting:
            (kept if belongs(waiting, self.key) else moved).append(waiting)
        if moved:
            self.waiting = kept
            heapq.heapify(self.waiting)
        return moved

    def take(self, mode: QueueMode) -> list[WaitingMessage]:
        """Remove and return the rows of the next turn. A turn that an earlier life began gets the same rows again, in each
        mode."""
        first = heapq.heappop(self.waiting)
        same: list[WaitingMessage] = []
        if first.row.turn_id is not None:
            same = sorted(w for w in self.waiting if w.row.turn_id == first.row.turn_id)
        elif mode != "queue" and not _stands_alone(first):
            # Several chats may share a session: each gets its own answer.
            together = takewhile(
                lambda w: not _stands_alone(w) and conversation_of(w.row) == conversation_of(first.row), sorted(self.waiting)
            )
            same = list(islice(together, _COLLECTED_MAX - 1))
        same += self._edits_of([first, *same])
        self._leave(same)
        return [first, *same]

    def waits_for(self, edit: InboundRow) -> bool:
        """Whether the message that ``edit`` changes is in the queue."""
        return any(is_waiting_edit_of(edit, waiting.row, waiting.intent) for waiting in self.waiting)

    def _edits_of(self, taken: list[WaitingMessage]) -> list[WaitingMessage]:
        """The edits of these messages so far: an edit belongs to the turn of its message."""
        ids = {waiting.id for waiting in taken}
        edits = (waiting for waiting in sorted(self.waiting) if waiting.id not in ids and waiting.row.envelope.kind == "edit")
        return [edit for edit in edits if any(is_waiting_edit_of(edit.row, waiting.row, waiting.intent) for waiting in taken)]

    def _leave(self, taken: list[WaitingMessage]) -> None:
        ids = {waiting.id for waiting in taken}
        self.waiting = [waiting for waiting in self.waiting if waiting.id not in ids]
        heapq.heapify(self.waiting)

    @property
    def is_busy(self) -> bool:
        """Whether the running turn does more than wait for people or for its agent."""
        return self.turn is not None and self.turn.is_busy

    def take_answer(self, is_answer: Callable[[InboundEnvelope], bool], *, asked_at: float) -> list[WaitingMessage]:
        """Remove and return the first message after ``asked_at`` that is an answer, with its edits."""
        for waiting in sorted(self.waiting):
            envelope = waiting.row.envelope
            came_after = envelope.received_at >= asked_at and waiting.row.turn_id is None
            if came_after and may_be_answer(waiting.intent) and is_answer(envelope):
                taken = [waiting, *self._edits_of([waiting])]
                self._leave(taken)
                return taken
        return []

    def drop(self, may_drop: Callable[[InboundEnvelope], bool]) -> list[InboundRow]:
        """Remove and return the messages that may be dropped, with their edits. A ``/new`` stays in the queue.

        A turn of an earlier life may be in progress at its agent. It stays in the queue, too, until it is stopped there.
        """
        chosen = [w for w in sorted(self.waiting) if w.row.envelope.kind != "edit" and may_drop(w.row.envelope)]
        dropped = [w for w in chosen if w.row.turn_id is None and not isinstance(w.intent, NewSession)]
        dropped += self._edits_of(dropped)
        self._leave(dropped)
        self.to_stop |= {waiting.row.turn_id for waiting in chosen if waiting.row.turn_id is not None}
        self._skip_slot_wait()
        return [waiting.row for waiting in sorted(dropped)]

    def take_deleted(self, deletion: InboundEnvelope) -> list[InboundRow]:
        """Remove and return the message that was deleted, with its edits. A turn that an earlier life began keeps it."""
        deleted = [w for w in self.waiting if w.row.turn_id is None and is_deletion_of(deletion, w.row.envelope)]
        deleted += self._edits_of(deleted)
        self._leave(deleted)
        return [waiting.row for waiting in sorted(deleted)]

    def _skip_slot_wait(self) -> None:
        """A turn that is only to be stopped does not wait for a slot."""
        if self.waiting and self.waiting[0].row.turn_id in self.to_stop:
            self._slot_wait.cancel()


def _stands_alone(waiting: WaitingMessage) -> bool:
    """Whether the row is a turn of its own, never collected with other messages."""
    return not isinstance(waiting.intent, Message | Edit)


def may_be_answer(intent: Intent) -> bool:
    """Whether the intent may answer a question: commands may not, except ``/skip``."""
    return isinstance(intent, Message | QuestionPress | Skip)


def conversation_of(row: InboundRow) -> ConversationId:
    return row.envelope.conversation


def is_waiting_edit_of(edit: InboundRow, row: InboundRow, intent: Intent) -> bool:
    """Whether ``edit`` changes the message of ``row``, which waits for a turn and is no command."""
    waits = row.id < edit.id and row.turn_id is None and isinstance(intent, Message | Edit)
    return waits and is_edit_of(edit.envelope, row.envelope)
