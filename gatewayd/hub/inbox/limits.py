"""The waiting room of the inbox: how many messages may be journaled and in no turn yet, in all and for each account.

Who brings more waits at the door: first come, first served for each account. An account that is full keeps only its own
deliveries waiting; when the whole room is full, the accounts that have room themselves get what becomes free in turn.
"""

from collections.abc import Callable

import anyio

from gatewayd.actor.wakeup import Wakeup

Account = tuple[str, str]
"""Channel and account."""
Person = tuple[str, str, str]
"""Channel, account and the sender's id."""

_LOW_WATER = 0.9
"""What was full counts as full, in status, until less than this part of it is taken: under a flood each place that becomes free
is taken at once, and ``since`` would always be now."""


class Fullness:
    """From when on something has been full."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self.queued = False
        self.since: float | None = None

    def resize(self, limit: int, used: int) -> None:
        self._limit = limit
        self.note(used)

    def note(self, used: int) -> None:
        """Look again. ``queued`` is that somebody waits for room."""
        if self.since is None and (self.queued or used >= self._limit):
            self.since = self._now()
        elif self.since is not None and not self.queued and used <= self._limit * _LOW_WATER:
            self.since = None


class _Part:
    """One account's share of the room."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self.used = 0
        self.door = anyio.Lock(fast_acquire=True)
        self.fullness = Fullness(limit, now)


class WaitingRoom:
    """``limit`` places, of which one account gets at most ``account_limit``. ``now`` gives Unix seconds."""

    def __init__(self, limit: int, account_limit: int, *, now: Callable[[], float]) -> None:
        self.limit = limit
        self._account_limit = account_limit
        self._now = now
        self._parts: dict[Account, _Part] = {}
        self._door = anyio.Lock(fast_acquire=True)
        self._freed = Wakeup()
        self._fullness = Fullness(limit, now)
        self.used = 0

    async def take(self, account: Account, count: int) -> None:
        """Wait for that many places. More than there are altogether gets all of them."""
        part = self._part(account)
        try:
            async with part.door:
                while part.used and part.used + count > self._account_limit:
                    await self._wait_freed(part, part.fullness)
                async with self._door:
                    while self.used and self.used + count > self.limit:
                        await self._wait_freed(part, self._fullness)
                    self._add(part, count)
        finally:
            self._note(part)

    def resize(self, limit: int, account_limit: int) -> None:
        """So many places from now on. Who has one keeps it."""
        self.limit = limit
        self._account_limit = account_limit
        self._fullness.resize(limit, self.used)
        for part in self._parts.values():
            part.fullness.resize(account_limit, part.used)
        self._freed.notify()

    def take_nowait(self, account: Account, count: int) -> None:
        """Take them although there may be no room: what is in the store already cannot be kept out."""
        part = self._part(account)
        self._add(part, count)
        self._note(part)

    def give_back(self, account: Account, count: int) -> None:
        part = self._part(account)
        self._add(part, -count)
        self._note(part)
        self._freed.notify()

    def why_full(self, account: Account) -> str | None:
        """Why a delivery of this account would have to wait; None if it would not."""
        if self.used >= self.limit or self._door.locked():
            return "the inbox is full"
        part = self._parts.get(account)
        if part is not None and (part.used >= self._account_limit or part.door.locked()):
            return f"the inbox of {'/'.join(account)} is full"
        return None

    @property
    def full_since(self) -> float | None:
        return self._fullness.since

    def used_by(self, account: Account) -> int:
        part = self._parts.get(account)
        return 0 if part is None else part.used

    def account_full_since(self, account: Account) -> float | None:
        part = self._parts.get(account)
        return None if part is None else part.fullness.since

    def _part(self, account: Account) -> _Part:
        part = self._parts.get(account)
        if part is None:
            part = self._parts[account] = _Part(self._account_limit, self._now)
        return part

    def _add(self, part: _Part, count: int) -> None:
        part.used += count
        self.used += count

    async def _wait_freed(self, part: _Part, what: Fullness) -> None:
        """Wait until some place is free, and have ``what`` count as full meanwhile."""
        what.queued = True
        self._note(part)
        try:
            await self._freed.wait()
        finally:
            what.queued = False

    def _note(self, part: _Part) -> None:
        self._fullness.note(self.used)
        part.fullness.note(part.used)


class Senders:
    """How many messages of each sender wait for a turn: at most ``limit``. Nothing is kept of who has none waiting."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[Person, int] = {}
        self._told: set[Person] = set()

    def resize(self, limit: int) -> None:
        """Who has half of the new limit free is told again, should it be reached."""
        self._limit = limit
        self._told = {person for person in self._told if self._waiting.get(person, 0) > limit // 2}

    def may_wait(self, person: Person) -> bool:
        return self._waiting.get(person, 0) < self._limit

    def add(self, person: Person) -> None:
        self._waiting[person] = self._waiting.get(person, 0) + 1

    def remove(self, person: Person) -> None:
        left = self._waiting[person] - 1
        if left <= self._limit // 2:
            self._told.discard(person)
        if left:
            self._waiting[person] = left
        else:
            del self._waiting[person]

    def is_to_be_told(self, person: Person) -> bool:
        """Once until half of what this sender may have waiting is free again: at the very limit, each turn makes room for one."""
        if person in self._told:
            return False
        self._told.add(person)
        return True

    @property
    def limited(self) -> int:
        """Senders who were told."""
        return len(self._told)
