"""The slots of running turns, fair between accounts: a slot that becomes free goes to the account that has waited longest for
its turn to be asked, however many chats of another one wait. Within an account, first come, first served.

Where there are several accounts, some slots are kept for those that have no turn running: one account's thousand chats, each
with a turn of many minutes, do not make another wait for one of them to end.
"""

from collections import OrderedDict
from typing import Final, Protocol

import trio
from msgspec import Struct

KEPT: Final = 8
"""One slot in so many is kept."""


class Slot(Protocol):
    """One account's way to slots: what a turn takes before it runs, and gives back while it only waits."""

    async def acquire(self) -> None: ...

    def release(self) -> None: ...


class SlotStatistics(Struct, frozen=True):
    """``waiting`` turns wait for one of ``limit`` slots, of which ``used`` are taken."""

    used: int
    limit: int
    waiting: int


class Slots:
    """``limit`` slots for the turns of all accounts; ``shared``: there are several of them."""

    def __init__(self, limit: int, *, shared: bool) -> None:
        self._limit = self._free = limit
        self._kept = limit // KEPT if shared else 0
        self._held: dict[str, int] = {}
        # In the order in which they are asked next. An account without anybody waiting is in neither.
        self._queues: OrderedDict[str, trio.lowlevel.ParkingLot] = OrderedDict()

    def resize(self, limit: int, *, shared: bool) -> None:
        """So many from now on. Turns that have a slot keep it, also when there are fewer slots than turns then."""
        self._free += limit - self._limit
        self._limit = limit
        self._kept = limit // KEPT if shared else 0
        self._hand_out()

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
        """Give a slot back that this account has taken."""
        self._free += 1
        self._held[account] -= 1
        if not self._held[account]:
            del self._held[account]
        self._hand_out()

    def statistics(self) -> SlotStatistics:
        waiting = sum(len(lot) for lot in self._queues.values())
        return SlotStatistics(used=self._limit - self._free, limit=self._limit, waiting=waiting)

    def _has_waiting(self, account: str) -> bool:
        """Whether somebody waits. A queue may be empty: who was cancelled has left it, and has not run since to take it away."""
        return len(self._queues.get(account, ())) > 0

    def _may_take(self, account: str) -> bool:
        return self._free > (self._kept if account in self._held else 0)

    def _may_be_given(self, account: str) -> bool:
        return self._has_waiting(account) and self._may_take(account)

    def _take(self, account: str) -> None:
        self._free -= 1
        self._held[account] = self._held.get(account, 0) + 1

    def _hand_out(self) -> None:
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
