"""A bounded window on a durable queue: items come out line by line, in order, and what does not fit stays where it is kept.

A mailbox belongs to an actor and survives its lives. ``post`` never waits: an item that finds no room is left in the
``source`` (it is there already) and read from it when there is room.
"""

import heapq
import math
from bisect import insort
from collections import deque
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Generic, TypeVar

import trio
from msgspec import Struct

Item = TypeVar("Item")

_SMALLEST_PAGE = 16

Source = Callable[[int, int], Awaitable[list[Item]]]
"""``source(after, limit)``: the oldest ``limit`` items that wait with a greater number than ``after``, in order."""


class MailboxStatistics(Struct, frozen=True):
    """``used`` of ``size`` places are taken, ``taken`` of them by items that are out. ``behind``: more is in the source."""

    size: int
    used: int
    taken: int
    lines: int
    behind: bool


class _Line(Generic[Item]):
    """The items of one line that are in memory, by number. ``due``: when the first one may go. ``cut_short``: later ones are in
    the source only."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.items: list[tuple[int, Item]] = []
        self.due = -math.inf
        self.taken = False
        self.cut_short = False
        self.turn = 0


class Mailbox(Generic[Item]):
    """Many lines; of each, one item at a time is out, in the order of their numbers, which never change.

    A line whose item is out, or has to wait until a time, holds up no other line. It keeps one place while it waits, and a
    quarter of all at most otherwise. Times are Trio's; ``due_of`` is asked when an item becomes the first of its line. One task
    takes; any may post.
    """

    def __init__(
        self,
        size: int,
        source: Source[Item],
        *,
        line_of: Callable[[Item], str],
        number_of: Callable[[Item], int],
        due_of: Callable[[Item], float],
    ) -> None:
        self._source = source
        self._line_of = line_of
        self._number_of = number_of
        self._due_of = due_of
        self._lines: dict[str, _Line[Item]] = {}
        self._held: set[int] = set()
        self._ready: deque[tuple[int, _Line[Item]]] = deque()
        self._timed: list[tuple[float, int, _Line[Item]]] = []
        self._turns = count(1)
        self._wake = trio.Event()
        # What was there before the actor came is in the source, too.
        self._behind = True
        # Lines of which a read under way must take nothing more, and lines that got something it may have missed.
        self._left_out: set[str] = set()
        self._refused: set[str] = set()
        self.resize(size)

    def resize(self, size: int) -> None:
        """Hold at most so many from now on. What is held beyond that stays until it is dealt with."""
        self._size = size
        self._longest_line = max(1, size // 4)
        self._page = max(size, _SMALLEST_PAGE)
        self._wake.set()

    def post(self, item: Item) -> None:
        """Put an item that the source has already. Never waits; without room it stays there until there is. An item that is
        held is not held twice."""
        if self._number_of(item) in self._held:
            return
        name = self._line_of(item)
        line = self._lines.get(name)
        if line is None and not self._behind and len(self._held) < self._size:
            line = self._lines[name] = _Line(name)
        if line is not None and self._overtakes(line, item):
            if not self._has_room(line):
                self._leave_last(line)
            self._insert(line, item)
            return
        if line is not None and not line.cut_short and self._has_room(line):
            self._insert(line, item)
            return
        self._refused.add(name)
        if line is None:
            self._behind = True
        else:
            line.cut_short = True
        self._wake.set()

    async def take(self) -> Item:
        """The next item whose line is free and whose time has come. It is out until ``done`` or ``put_back``.

        An item that is posted after it was read from the source and dealt with comes a second time: the source has to be
        asked whether it still waits, before anything is done with it.

        :raises Exception: what the source raises. Nothing is lost by it.
        """
        await trio.lowlevel.checkpoint()
        while True:
            self._release_due()
            if self._wants_refill():
                await self._refill()
                continue
            if self._ready:
                _, line = self._ready.popleft()
                line.taken = True
                return line.items[0][1]
            self._wake = trio.Event()
            with trio.CancelScope(deadline=self._timed[0][0] if self._timed else math.inf):
                await self._wake.wait()

    def look_again(self) -> None:
        """The source may hold what was never posted: read it with the next ``take``."""
        self._behind = True
        self._wake.set()

    def done(self, item: Item) -> None:
        """The item is dealt with; the next of its line may go."""
        line = self._lines[self._line_of(item)]
        del line.items[0]
        self._held.discard(self._number_of(item))
        line.taken = False
        if line.items:
            self._queue(line)
            return
        del self._lines[line.name]
        self._behind = self._behind or line.cut_short
        self._wake.set()

    def put_back(self, item: Item) -> None:
        """The item has to wait until ``due_of`` it, and its line with it. The rest of the line is left to the source."""
        line = self._lines[self._line_of(item)]
        if len(line.items) > 1:
            line.cut_short = True
            self._left_out.add(line.name)
            self._held.difference_update(number for number, _ in line.items[1:])
        line.items = [(self._number_of(item), item)]
        line.taken = False
        self._queue(line)

    def statistics(self) -> MailboxStatistics:
        return MailboxStatistics(
            size=self._size,
            used=len(self._held),
            taken=sum(line.taken for line in self._lines.values()),
            lines=len(self._lines),
            behind=self._behind or any(line.cut_short for line in self._lines.values()),
        )

    def _has_room(self, line: _Line[Item]) -> bool:
        return len(self._held) < self._size and len(line.items) < self._longest_line

    def _overtakes(self, line: _Line[Item], item: Item) -> bool:
        """Whether a later item of the line is here already: two writers may post in another order than they committed in."""
        return len(line.items) > line.taken and self._number_of(item) < line.items[-1][0]

    def _leave_last(self, line: _Line[Item]) -> None:
        """Leave the last item of a line to the source, so that the line stays a beginning of what is kept."""
        number, _ = line.items.pop()
        self._held.discard(number)
        line.cut_short = True
        self._left_out.add(line.name)

    def _insert(self, line: _Line[Item], item: Item) -> None:
        number = self._number_of(item)
        if number in self._held:
            return
        self._held.add(number)
        head = line.items[0] if line.items else None
        # What is out stays the head.
        insort(line.items, (number, item), lo=int(line.taken), key=lambda entry: entry[0])
        if not line.taken and line.items[0] is not head:
            self._queue(line)

    def _queue(self, line: _Line[Item]) -> None:
        """Give the line its turn, now or when its first item is due. An older turn of the same line is void."""
        line.turn = next(self._turns)
        line.due = self._due_of(line.items[0][1])
        if line.due > trio.current_time():
            heapq.heappush(self._timed, (line.due, line.turn, line))
        else:
            self._ready.append((line.turn, line))
        self._wake.set()

    def _release_due(self) -> None:
        now = trio.current_time()
        while self._timed and (self._timed[0][0] <= now or self._timed[0][1] != self._timed[0][2].turn):
            _, turn, line = heapq.heappop(self._timed)
            self._ready.append((turn, line))
        while self._ready and self._ready[0][0] != self._ready[0][1].turn:
            self._ready.popleft()

    def _wants_refill(self) -> bool:
        # Not for each free place: a read for every item sent would be the queue's whole cost.
        used = len(self._held)
        return self._behind and (used <= self._size // 2 or (used < self._size and not self._ready))

    async def _refill(self) -> None:
        """Read the source from its beginning until there is no more room or no more item.

        Once an item of a line is left out, every later one of that line is, too: a line is a beginning of what is kept.
        """
        self._left_out.clear()
        self._refused.clear()
        after = -1
        while len(self._held) < self._size:
            page = await self._source(after, self._page)
            for item in page:
                self._consider(item)
            if len(page) < self._page:
                break
            after = self._number_of(page[-1])
        else:
            return
        left_out = self._left_out | self._refused
        for line in self._lines.values():
            line.cut_short = line.name in left_out
        self._behind = not left_out <= self._lines.keys()

    def _consider(self, item: Item) -> None:
        name = self._line_of(item)
        if name in self._left_out or self._number_of(item) in self._held:
            return
        line = self._lines.get(name)
        if line is None and len(self._held) < self._size:
            line = self._lines[name] = _Line(name)
            # Until the whole source is read: what is posted meanwhile may come after something not yet read.
            line.cut_short = True
        if line is None or not self._has_room(line) or self._waits(line):
            self._left_out.add(name)
        else:
            self._insert(line, item)

    def _waits(self, line: _Line[Item]) -> bool:
        return bool(line.items) and not line.taken and line.due > trio.current_time()
