"""Retention deletes old rows, a few at a time, so that no message waits for it.

By age: ended rows after ``keep_seconds``, dead letters after ``dead_letter_seconds``. By size: while the store holds more than
``max_megabytes``, the oldest ended rows go before their time, then the oldest dead letters. Rows younger than two days stay:
platforms deliver a message again for so long, and the store must know it then.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final, get_args

import anyio
import structlog
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.operations.dead_letter_queue import Outgoing
from gatewayd.model.config import RetentionSection
from gatewayd.model.errors import StoreRefused
from gatewayd.model.lifecycle import DeadLetterState
from gatewayd.ports.store import OldRow, RetentionKind, RetentionRows

ROWS_TOGETHER: Final = 200
"""Rows in one transaction. Other writes wait for no more than these."""
PAUSE_SECONDS: Final = 0.05
"""The pause between two transactions."""
EVERY_SECONDS: Final = 300.0
YOUNGEST_SECONDS: Final = 172_800.0
"""Younger rows are not deleted, however full the store is."""
_FIRST_AFTER_SECONDS: Final = 60.0
_MEGABYTE: Final = 1_048_576
_ENDED: Final[tuple[RetentionKind, ...]] = ("inbound", "outbound", "approval", "question")
_DEAD_LETTERS: Final[tuple[RetentionKind, ...]] = ("inbound_dead_letter", "outbound_dead_letter")

log = structlog.get_logger("gatewayd.retention")


class RetentionStatistics(Struct, frozen=True):
    """Counts since the start. ``last_run_at`` is the end of the newest complete run, in Unix seconds; ``bytes_used`` is the size
    of the store after it. ``over_size``: that is more than ``max_megabytes``, because the rows left are needed or too young."""

    runs: int = 0
    rows_deleted: int = 0
    last_run_at: float | None = None
    bytes_used: int = 0
    over_size: bool = False
    last_error: str | None = None


class Retention:
    """The task that deletes. ``now`` gives Unix seconds."""

    def __init__(
        self, store: RetentionRows, outbox: Outgoing, events: EventLog, configured: Configured, *, now: Callable[[], float]
    ) -> None:
        self._store = store
        self._outbox = outbox
        self._events = events
        self._configured = configured
        self._now = now
        self._began: tuple[float, float] | None = None
        self._statistics = RetentionStatistics()

    @property
    def _config(self) -> RetentionSection:
        return self._configured.config.retention

    def statistics(self) -> RetentionStatistics:
        return self._statistics

    async def run(self) -> None:
        """Delete every few minutes until cancelled. If the store refuses, the next run goes on."""
        self._began = self._now(), anyio.current_time()
        await anyio.sleep(_FIRST_AFTER_SECONDS)
        while True:
            try:
                await self.run_once()
            except StoreRefused as error:
                self._statistics = replace(self._statistics, last_error=error.reason)
                log.warning("retention_failed", reason=error.reason)
            await anyio.sleep(EVERY_SECONDS)

    async def run_once(self) -> None:
        """Delete by age, then by size. :raises StoreRefused: the rest is left for the next run."""
        before = self._statistics.rows_deleted
        for kind in _ENDED:
            await self._delete_old(kind, lambda: self._config.keep_seconds)
        for kind in _DEAD_LETTERS:
            await self._delete_old(kind, lambda: self._config.dead_letter_seconds)
        await self._store.prune_reports()
        used = await self._shrink(_ENDED)
        if used > self._most_bytes():
            used = await self._shrink(_DEAD_LETTERS)
        deleted, over_size = self._statistics.rows_deleted - before, used > self._most_bytes()
        self._statistics = replace(
            self._statistics,
            runs=self._statistics.runs + 1,
            last_run_at=self._now(),
            bytes_used=used,
            over_size=over_size,
            last_error=None,
        )
        if deleted or over_size:
            tell = log.warning if over_size else log.info
            tell("retention_done", rows_deleted=deleted, bytes_used=used, over_size=over_size)

    async def _delete_old(self, kind: RetentionKind, keep_seconds: Callable[[], float]) -> None:
        after: tuple[float, int] | None = None
        while True:
            after = await self._sweep(kind, keep_seconds(), after)
            if after is None:
                return

    async def _shrink(self, kinds: Sequence[RetentionKind]) -> int:
        """Delete rows of these kinds, the oldest first, until the store is small enough or has no more of them. Return how many
        bytes are used."""
        cursors: dict[RetentionKind, tuple[float, int] | None] = dict.fromkeys(kinds)
        while (used := await self._store.bytes_used()) > self._most_bytes() and cursors:
            kind = min(cursors, key=lambda each: cursors[each] or (-math.inf, 0))
            cursor = await self._sweep(kind, YOUNGEST_SECONDS, cursors[kind])
            if cursor is None:
                del cursors[kind]
            else:
                cursors[kind] = cursor
        return used

    async def _sweep(self, kind: RetentionKind, keep_seconds: float, after: tuple[float, int] | None) -> tuple[float, int] | None:
        """One transaction and the pause after it. Return the cursor for the next one."""
        # Shielded: deleted rows must be counted.
        with anyio.CancelScope(shield=True):
            before = self._clock() - keep_seconds
            rule = partial(is_kept, since=before)
            swept = await self._store.sweep(kind, rule, before=before, after=after, limit=ROWS_TOGETHER)
            deleted = sum(swept.deleted.values())
            self._statistics = replace(self._statistics, rows_deleted=self._statistics.rows_deleted + deleted)
            if kind in _DEAD_LETTERS and deleted:
                self._tell_expired(kind, swept.deleted)
        await anyio.sleep(PAUSE_SECONDS)
        return swept.after

    def _tell_expired(self, kind: RetentionKind, deleted: Mapping[str, int]) -> None:
        """Take deleted dead letters out of the counts, and emit an event."""
        for state in get_args(DeadLetterState) if kind == "outbound_dead_letter" else ():
            for _ in range(deleted.get(state, 0)):
                self._outbox.note_dropped(state)
        direction = "in" if kind == "inbound_dead_letter" else "out"
        self._events.emit("dead_letter.expired", direction=direction, count=sum(deleted.values()))

    def _clock(self) -> float:
        """The wall clock, limited by the time since the start. If somebody sets it forward by mistake, rows must not become old
        at once."""
        if self._began is None:
            return self._now()
        at, on_timer = self._began
        return min(self._now(), at + anyio.current_time() - on_timer)

    def _most_bytes(self) -> int:
        return self._config.max_megabytes * _MEGABYTE


def is_kept(row: OldRow, *, since: float) -> bool:
    """Whether retention keeps a row: open rows refer to it, it was received lately, so that its platform may deliver it again,
    or an operator has dropped it lately."""
    return bool(row.referrers) or any(at is not None and at >= since for at in (row.received_at, row.closed_at))
