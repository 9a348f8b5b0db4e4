"""Slots for running turns, fair between accounts. A free slot goes to the account that has waited longest, even if many chats of
another account wait. Within an account the order is first come, first served.

Where there are several accounts, some slots are kept for accounts that have no running turn: a thousand chats of one account,
each with a turn of many minutes, do not block another account.
"""

from collections import OrderedDict
from typing import Final, Protocol

import trio
from msgspec import Struct

KEPT: Final = 8
"""One slot in so many is kept for such accounts."""


class Slot(Protocol):
    """The slots for one account. A turn acquires a slot before it runs, and releases it while it only waits."""

    async def acquire(self) -> None: ...

    def release(self) -> None: ...


class SlotStatistics(Struct, frozen=True):
    """``used`` of ``limit`` slots are taken; ``waiting`` turns wait for one."""

    used: int
    limit: int
    waiting: int


class Slots:
    """``limit`` slots for the turns of all accounts. ``shared``: there are several accounts."""

    def __init__(self, limit: int, *, shared: bool) -> None:
        self._limit = self._free = limit
        self._kept = limit // KEPT if shared else 0
        self._held: dict[str, int] = {}
        # The account at the front gets the next slot. Only accounts with waiting turns are in it.
        self._queues: OrderedDict[str, trio.lowlevel.ParkingLot] = OrderedDict()

    def resize(self, limit: int, *, shared: bool) -> None:
        """Other limits from now on. Turns that have a slot keep it, even if there are now more turns than slots."""
        self._free += limit - self._limit
        self._limit = limit
        self._kept = limit // KEPT if shared else 0
        self._grant_free_slots()

    def of(self, account: str) -> Slot:
        return _AccountSlots(self, account)

    async def acquire(self, account: str) -> None:
        """Wait for a slot and take it."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if not self._has_waiting(account) and self._may_take(account):
            self._take(account)
            await trio.lowlevel.cancel_shielded_checkpoint()
            return
        lot = self._queues.setdefault(account, trio.lowlevel.ParkingLot())
        try:
            await lot.park()  # who wakes it has taken the slot for it
        finally:
            if not len(lot) and self._queues.get(account) is lot:
                del self._queues[account]

    def release(self, account: str) -> None:
        """Release a slot of this account."""
        self._free += 1
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._grant_free_slots()

    def statistics(self) -> SlotStatistics:
        waiting = sum(len(lot) for lot in self._queues.values())
        return SlotStatistics(used=self._limit - self._free, limit=self._limit, waiting=waiting)

    def _has_waiting(self, account: str) -> bool:
        """Whether a turn of the account waits. Its queue may be empty: a cancelled task has left it, and has not run since to
        delete it."""
        return len(self._queues.get(account, ())) > 0

    def _may_take(self, account: str) -> bool:
        return self._free > (self._kept if account in self._held else 0)

    def _may_be_given(self, account: str) -> bool:
        return self._has_waiting(account) and self._may_take(account)

    def _take(self, account: str) -> None:
        self._free -= 1
        self._held[account] = self._held.get(account, 0) + 1

    def _grant_free_slots(self) -> None:
        while account := next(filter(self._may_be_given, self._queues), None):
            lot = self._queues[account]
            self._take(account)
            lot.unpark()
            if len(lot):
                self._queues.move_to_end(account)
            else:
                del self._queues[account]


class _AccountSlots:
    def __init__(self, slots: Slots, account: str) -> None:
        self._slots = slots
        self._account = account

    async def acquire(self) -> None:
        await self._slots.acquire(self._account)

    def release(self) -> None:
        self._slots.release(self._account)
