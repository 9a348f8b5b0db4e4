"""Admission control of the inbox: how many messages may wait for a turn, in all and for each account.

A delivery that would exceed a limit waits, first come, first served. An account at its own limit keeps only its own deliveries
waiting. While the whole inbox is full, the accounts that are below their own limit go on in turn.
"""

from collections.abc import Callable

import anyio

from gatewayd.actor.wakeup import Wakeup

Account = tuple[str, str]
"""Channel and account."""
Person = tuple[str, str, str]
"""Channel, account and the sender's id."""

_LOW_WATER = 0.9
"""The status shows a backlog as full until less than this share of its limit is used. Under a flood a message comes in whenever
one ends, and ``since`` would always be now."""


class BacklogLimit:
    """One limit, and since when the backlog has been at it."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self._limit = limit
        self._now = now
        self.queued = False
        self.since: float | None = None

    def resize(self, limit: int, used: int) -> None:
        self._limit = limit
        self.note(used)

    def note(self, used: int) -> None:
        """Compare the limit with what is used now. ``queued``: a delivery waits."""
        if self.since is None and (self.queued or used >= self._limit):
            self.since = self._now()
        elif self.since is not None and not self.queued and used <= self._limit * _LOW_WATER:
            self.since = None


class _AccountShare:
    """One account's share of the backlog."""

    def __init__(self, limit: int, now: Callable[[], float]) -> None:
        self.used = 0
        self.queue = anyio.Lock(fast_acquire=True)
        self.backlog = BacklogLimit(limit, now)


class AdmissionControl:
    """At most ``limit`` messages wait, of one account at most ``account_limit``. ``now`` gives Unix seconds."""

    def __init__(self, limit: int, account_limit: int, *, now: Callable[[], float]) -> None:
        self.limit = limit
        self._account_limit = account_limit
        self._now = now
        self._shares: dict[Account, _AccountShare] = {}
        self._queue = anyio.Lock(fast_acquire=True)
        self._freed = Wakeup()
        self._backlog = BacklogLimit(limit, now)
        self.used = 0

    async def acquire(self, account: Account, count: int) -> None:
        """Wait until ``count`` more messages may wait. A delivery that is larger than a limit comes in alone."""
        share = self._share(account)
        try:
            async with share.queue:
                while share.used and share.used + count > self._account_limit:
                    await self._wait_freed(share, share.backlog)
                async with self._queue:
                    while self.used and self.used + count > self.limit:
                        await self._wait_freed(share, self._backlog)
                    self._add(share, count)
        finally:
            self._note(share)

    def resize(self, limit: int, account_limit: int) -> None:
        """Other limits from now on. Messages that wait already stay."""
        self.limit = limit
        self._account_limit = account_limit
        self._backlog.resize(limit, self.used)
        for share in self._shares.values():
            share.backlog.resize(account_limit, share.used)
        self._freed.notify()

    def acquire_nowait(self, account: Account, count: int) -> None:
        """Count them without waiting: messages that the store has already cannot be refused."""
        share = self._share(account)
        self._add(share, count)
        self._note(share)

    def release(self, account: Account, count: int) -> None:
        share = self._share(account)
        self._add(share, -count)
        self._note(share)
        self._freed.notify()

    def why_full(self, account: Account) -> str | None:
        """Why a delivery of this account would have to wait; None if it would not."""
        if self.used >= self.limit or self._queue.locked():
            return "the inbox is full"
        share = self._shares.get(account)
        if share is not None and (share.used >= self._account_limit or share.queue.locked()):
            return f"the inbox of {'/'.join(account)} is full"
        return None

    @property
    def full_since(self) -> float | None:
        return self._backlog.since

    def used_by(self, account: Account) -> int:
        share = self._shares.get(account)
        return 0 if share is None else share.used

    def account_full_since(self, account: Account) -> float | None:
        share = self._shares.get(account)
        return None if share is None else share.backlog.since

    def _share(self, account: Account) -> _AccountShare:
        share = self._shares.get(account)
        if share is None:
            share = self._shares[account] = _AccountShare(self._account_limit, self._now)
        return share

    def _add(self, share: _AccountShare, count: int) -> None:
        share.used += count
        self.used += count

    async def _wait_freed(self, share: _AccountShare, limit: BacklogLimit) -> None:
        """Wait until a message ends; meanwhile ``limit`` counts as reached."""
        limit.queued = True
        self._note(share)
        try:
            await self._freed.wait()
        finally:
            limit.queued = False

    def _note(self, share: _AccountShare) -> None:
        self._backlog.note(self.used)
        share.backlog.note(share.used)


class SenderLimit:
    """How many messages of each sender wait for a turn: at most ``limit``. A sender without waiting messages takes no memory."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._waiting: dict[Person, int] = {}
        self._notified: set[Person] = set()

    def resize(self, limit: int) -> None:
        """A sender below half of the new limit is notified again when it reaches the limit."""
        self._limit = limit
        self._notified = {person for person in self._notified if self._waiting.get(person, 0) > limit // 2}

    def may_wait(self, person: Person) -> bool:
        return self._waiting.get(person, 0) < self._limit

    def add(self, person: Person) -> None:
        self._waiting[person] = self._waiting.get(person, 0) + 1

    def remove(self, person: Person) -> None:
        left = self._waiting[person] - 1
        if left <= self._limit // 2:
            self._notified.discard(person)
        if left:
            self._waiting[person] = left
        else:
            del self._waiting[person]

    def should_notify(self, person: Person) -> bool:
        """True once, until the sender is at half of the limit or below: at the very limit, each turn lets one more message in."""
        if person in self._notified:
            return False
        self._notified.add(person)
        return True

    @property
    def limited(self) -> int:
        """How many senders were notified."""
        return len(self._notified)
