"""The counts of dead letters, in memory. They are read from the store again after each event that may change them."""

from typing import Final

import anyio

from gatewayd.actor.wakeup import Wakeup
from gatewayd.hub.events import EventLog
from gatewayd.model.errors import StoreRefused
from gatewayd.model.records.dead_letter import DeadLetterCounts
from gatewayd.ports.store import DeadLetters

CHANGES: Final = frozenset(
    (
        "inbound.dead",
        "outbound.dead",
        "outbound.unknown",
        "outbound.parked",
        "dead_letter.retried",
        "dead_letter.dropped",
        "dead_letter.expired",
    )
)
"""Kinds of events that change the counts."""
_PAUSE_SECONDS = 1.0
"""The pause between two counts, so that many dead letters at once cost one count."""


class DeadLetterCounter:
    """Keeps ``counts`` up to date, with a delay of a moment, while ``run`` runs."""

    def __init__(self, store: DeadLetters, events: EventLog) -> None:
        self._store = store
        self._changed = Wakeup()
        self.counts = DeadLetterCounts()
        events.watch(CHANGES, self.look_again)

    def look_again(self) -> None:
        self._changed.notify()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Count until cancelled. It is started after the first count. :raises StoreRefused: the first count failed."""
        self.counts = await self._store.count_dead_letters()
        task_status.started()
        while True:
            await self._changed.take()
            try:
                self.counts = await self._store.count_dead_letters()
            except StoreRefused:
                self._changed.notify()
            await anyio.sleep(_PAUSE_SECONDS)
