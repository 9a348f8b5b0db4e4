"""The queue of one account: the order of its conversations, their pauses, and the mailbox to which rows are posted.

The mailbox is a memory object stream, open while the account can send, and the queue is its only producer. A row needs a permit
to be in memory, and keeps it until it is settled. So a posted row and a row that is marked ``sending`` always have a permit. The
store is the truth: a row without a permit is a number here, and its text is read from the store when its turn comes.
"""

import heapq
import math
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, count, islice, zip_longest

import anyio
import trio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream
from msgspec import Struct

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.configured import Configured
from gatewayd.ports.store import OutboundRow

_NUMBERS = 10_000
_TEXTS = 1000
"""How many rows one read of texts gets."""

Numbers = Callable[[int, int], Awaitable[list[int]]]
"""``numbers(after, limit)``: the numbers of at most ``limit`` ready rows of the account after this number."""
Read = Callable[[Sequence[int]], Awaitable[list[OutboundRow]]]
"""``read(numbers)``: those of these rows that are ready."""


class MailboxStatistics(Struct, frozen=True):
    """``used`` of ``size`` permits are taken, ``posted`` of them by rows in the mailbox or in a send."""

    size: int
    used: int
    posted: int
    conversations: int


class WaitingReply(Struct):
    """An unsettled row. ``row`` is set while it has a permit. ``queued_at`` is in Unix seconds, ``since`` is the same on the
    timer. ``asked_at`` is the time of the message whose answer is complete with this row."""

    conversation: str
    queued_at: float
    since: float
    asked_at: float | None
    row: OutboundRow | None = None


class _Line:
    """One conversation: its waiting numbers, the row of it that is out, and the end of its pause."""

    def __init__(self, conversation: str) -> None:
        self.conversation = conversation
        self.numbers: list[int] = []
        self.out: int | None = None
        self.until = -math.inf
        self.has_turn = False


class OutboundQueue:
    """Posts the rows of each conversation in the order of their numbers, one at a time. Conversations do not delay each other.
    ``now`` gives Unix seconds; all other times are Trio's."""

    def __init__(self, numbers: Numbers, read: Read, configured: Configured, *, now: Callable[[], float]) -> None:
        self._numbers = numbers
        self._read = read
        self._configured = configured
        self._now = now
        # All unsettled rows, by age; and those that are being sent.
        self._rows: dict[int, WaitingReply] = {}
        self._sending: set[int] = set()
        self._lines: dict[str, _Line] = {}
        # The conversation of each row that is out, in the order of posting.
        self._out: dict[int, _Line] = {}
        # The rows that have a permit and are not posted, the newest last.
        self._ahead: dict[int, None] = {}
        self._turns: deque[_Line] = deque()
        self._timed: list[tuple[float, int, _Line]] = []
        self._tickets = count()
        self._mailbox: MemoryObjectSendStream[OutboundRow] | None = None
        self._wake = Wakeup()

    @property
    def _size(self) -> int:
        return self._configured.config.limits.mailbox

    # Called by the outbox.

    def add(self, row: OutboundRow, *, asked_at: float | None = None) -> None:
        """Add a row that was written, retried by an operator, or found in the store. A known row is not added twice."""
        if row.id in self._rows:
            return
        line = self._lines.get(row.conversation)
        if line is None:
            line = self._lines[row.conversation] = _Line(row.conversation)
        since = trio.current_time() - max(0.0, self._now() - row.queued_at)
        self._rows[row.id] = WaitingReply(line.conversation, row.queued_at, since, asked_at)
        # Two writers may enqueue in another order than they committed in.
        insort(line.numbers, row.id)
        if row.next_attempt_at is not None:
            self.hold(row)
        self._keep(row)
        self._take_turn(line)

    def hold(self, row: OutboundRow) -> None:
        """Pause the conversation of this row until ``next_attempt_at``. The pause holds for all rows of the conversation.

        If the wall clock was set back meanwhile (to 1970, on a board without a battery), the pause must not take years, nor
        longer than the last attempt wanted.
        """
        assert row.next_attempt_at is not None
        line, at_most = self._lines[row.conversation], self._configured.config.outbox.stale_after_seconds
        if row.sending_at is not None:
            at_most = min(at_most, row.next_attempt_at - row.sending_at)
        until = trio.current_time() + min(row.next_attempt_at - self._now(), at_most)
        line.until = max(line.until, until)
        # A conversation in a pause needs no texts in memory.
        for number in line.numbers:
            self._drop_text(number)

    def pause(self, conversation: str, seconds: float) -> None:
        """Pause a conversation, because of something else than a row of it. No pause is longer than a row waits at most."""
        line = self._lines.get(conversation)
        if line is None:
            line = self._lines[conversation] = _Line(conversation)
        at_most = self._configured.config.outbox.stale_after_seconds
        line.until = max(line.until, trio.current_time() + min(seconds, at_most))
        self._take_turn(line)

    def pause_of(self, conversation: str) -> float:
        """For how many seconds a conversation is paused yet."""
        line = self._lines.get(conversation)
        return 0.0 if line is None else max(0.0, line.until - trio.current_time())

    def note_marked(self, number: int, marked: bool) -> None:
        """A row is being sent now; or it is not, because it was settled elsewhere."""
        if not marked:
            self.end(number)
        elif number in self._rows:
            self._sending.add(number)

    def end(self, number: int) -> WaitingReply | None:
        """Remove a row that has ended: the next one of its conversation may go."""
        waiting = self._rows.pop(number, None)
        if waiting is not None:
            self._take_turn(self._free(number, waiting))
        return waiting

    def put_back(self, row: OutboundRow, *, changed: bool = True) -> None:
        """Let a row that was out wait again, in its old position. If it was ``changed`` in the store, it is read anew."""
        waiting = self._rows.get(row.id)
        if waiting is None:
            return
        waiting.row = None
        line = self._free(row.id, waiting)
        insort(line.numbers, row.id)
        if not changed:
            self._keep(row)
        self._take_turn(line)

    def since(self, number: int) -> float:
        """The time on the timer since which a row waits."""
        waiting = self._rows.get(number)
        return math.inf if waiting is None else waiting.since

    def __contains__(self, number: int) -> bool:
        return number in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def sending(self) -> int:
        """How many rows are being sent."""
        return len(self._sending)

    @property
    def due(self) -> int:
        """How many rows can be sent now, without conversations in a pause."""
        now = trio.current_time()
        return sum(len(line.numbers) + (line.out is not None) for line in self._lines.values() if line.until <= now)

    @property
    def oldest_at(self) -> float | None:
        """When the oldest row was queued, in Unix seconds."""
        return next((waiting.queued_at for waiting in self._rows.values()), None)

    def statistics(self) -> MailboxStatistics:
        used = len(self._out) + len(self._ahead)
        return MailboxStatistics(size=self._size, used=used, posted=len(self._out), conversations=len(self._lines))

    async def load(self) -> None:
        """Add the ready rows of the store that are not known here. :raises StoreRefused: it cannot be read."""
        after, added = 0, False
        while numbers := await self._numbers(after, _NUMBERS):
            unknown = [number for number in numbers if number not in self._rows]
            for start in range(0, len(unknown), _TEXTS):
                for row in await self._read(unknown[start : start + _TEXTS]):
                    self.add(row)
                    added = True
            after = numbers[-1]
        if added:
            # By age: a retried row is younger than its number.
            self._rows = dict(sorted(self._rows.items(), key=lambda known: known[1].queued_at))

    # Called by the account.

    @contextmanager
    def open(self) -> Iterator[MemoryObjectReceiveStream[OutboundRow]]:
        """Open the mailbox of the account. Rows that are left in it at the end wait again."""
        # Without a bound of its own: the permits bound it, and a reload may change their number.
        self._mailbox, mailbox = anyio.create_memory_object_stream[OutboundRow](math.inf)
        with self._mailbox, mailbox:
            try:
                yield mailbox
            finally:
                self._mailbox = None
                while mailbox.statistics().current_buffer_used:
                    self.put_back(mailbox.receive_nowait(), changed=False)

    async def feed(self) -> None:
        """Post waiting rows when they become due, until cancelled. :raises StoreRefused: the store cannot be read.

        Rows are posted only here, in a task of its own. The writers of one commit enqueue their rows in one step of the event
        loop, and a posted row cannot be overtaken any more.
        """
        while True:
            while self._post():
                await self._fetch()
            with trio.CancelScope(deadline=self._timed[0][0] if self._timed else math.inf):
                await self._wake.wait()

    def _post(self) -> bool:
        """Post the first row of each conversation whose turn has come, as far as there are permits. Return whether to read the
        next texts now."""
        self._release_due()
        while self._mailbox is not None and self._turns and len(self._out) < self._size:
            line = self._turns[0]
            if not line.numbers or line.until > trio.current_time():
                self._give_turn_back(self._turns.popleft())
                continue
            row = self._rows[line.numbers[0]].row
            if row is None:
                # While many rows are posted, wait: with more free permits one read gets more texts.
                return len(self._out) <= self._size * 3 // 4
            self._turns.popleft()
            line.has_turn = False
            line.out = line.numbers.pop(0)
            del self._ahead[row.id]
            self._out[row.id] = line
            self._mailbox.send_nowait(row)
        return False

    async def _fetch(self) -> None:
        """Read the texts of the next rows, as many as there are permits."""
        self._revoke_permits()
        numbers = self._next_numbers(max(1, self._size - len(self._out) - len(self._ahead)))
        rows = {row.id: row for row in await self._read(numbers)}
        self._revoke_permits()
        for number in numbers:
            if number in rows:
                self._keep(rows[number])
            else:
                self.end(number)  # it was settled elsewhere

    def _next_numbers(self, most: int) -> list[int]:
        """Rows without texts: the first row of each conversation in the order of their turns, then the second ones."""
        lines = islice(chain(self._turns, self._out.values()), most)
        numbers = chain.from_iterable(zip_longest(*(line.numbers for line in lines)))
        return list(islice((number for number in numbers if number is not None and self._rows[number].row is None), most))

    def _revoke_permits(self) -> None:
        """Take permits from the rows whose turn comes last: a quarter at once, so that not each row costs a read."""
        while self._ahead and len(self._out) + len(self._ahead) > self._size * 3 // 4:
            self._drop_text(next(reversed(self._ahead)))

    def _keep(self, row: OutboundRow) -> None:
        """Give a waiting row a permit, if one is free."""
        waiting = self._rows.get(row.id)
        if waiting is None or waiting.row is not None or len(self._out) + len(self._ahead) >= self._size:
            return
        line = self._lines[waiting.conversation]
        if line.out != row.id and line.until <= trio.current_time():
            waiting.row = row
            self._ahead[row.id] = None

    def _drop_text(self, number: int) -> None:
        self._ahead.pop(number, None)
        self._rows[number].row = None

    def _free(self, number: int, waiting: WaitingReply) -> _Line:
        """Take a row out of its conversation."""
        line = self._lines[waiting.conversation]
        self._sending.discard(number)
        if line.out == number:
            line.out = None
            del self._out[number]
            self._wake.notify()
        else:
            line.numbers.remove(number)
            self._ahead.pop(number, None)
        return line

    def _take_turn(self, line: _Line) -> None:
        """Schedule the next turn of a conversation, now or after its pause, unless it has a row out."""
        if line.has_turn or line.out is not None:
            return
        if line.until > trio.current_time():
            heapq.heappush(self._timed, (line.until, next(self._tickets), line))
        elif line.numbers:
            self._turns.append(line)
        else:
            del self._lines[line.conversation]
            return
        line.has_turn = True
        self._wake.notify()

    def _give_turn_back(self, line: _Line) -> None:
        line.has_turn = False
        self._take_turn(line)

    def _release_due(self) -> None:
        now = trio.current_time()
        while self._timed and self._timed[0][0] <= now:
            self._give_turn_back(heapq.heappop(self._timed)[2])
