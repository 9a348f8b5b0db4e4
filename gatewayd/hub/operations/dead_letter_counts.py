"""How many dead letters there are and since when, in memory: counted in the store again whenever one may have come or gone."""

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
"""Kinds of events after which there are more or fewer."""
_PAUSE_SECONDS = 1.0
"""Between two counts: many dead letters that come together are counted together."""


class DeadLetterCounter:
    """``counts`` is true but for a moment, while ``run`` runs."""

    def __init__(self, store: DeadLetters, events: EventLog) -> None:
        self._store = store
        self._changed = Wakeup()
        self.counts = DeadLetterCounts()
        events.watch(CHANGES, self.look_again)

    def look_again(self) -> None:
        self._changed.notify()

    async def run(self, *, task_status: anyio.abc.TaskStatus[None] = anyio.TASK_STATUS_IGNORED) -> None:
        """Count until cancelled. Begins with the first count. :raises StoreRefused: that one failed."""
        self.counts = await self._store.count_dead_letters()
        task_status.started()
        while True:
            await self._changed.take()
            try:
                self.counts = await self._store.count_dead_letters()
            except StoreRefused:
                self._changed.notify()
            await anyio.sleep(_PAUSE_SECONDS)
