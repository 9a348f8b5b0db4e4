"""The dead-letter queue: operators list, show, retry and drop dead letters, one by one or all that fit a filter.

A dead letter that is put back runs at once. A message goes through the inbox again and is judged anew, because its sender may
have lost the right to write. A reply goes to its account again, under the number it had, because edits refer to that number.
"""

import math
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Protocol

import anyio
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.hub.events import EventLog
from gatewayd.hub.operations.dead_letters import AccountAvailability, check_dead_letter, drop, put_back, why_not
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import Conflict, NotFound, StoreRefused
from gatewayd.model.lifecycle import DeadLetterState
from gatewayd.model.records.dead_letter import (
    MOST_AT_ONCE,
    DeadLetter,
    DeadLetterCounts,
    DeadLetterCursor,
    DeadLetterFilter,
    NotADeadLetter,
    RepairAction,
    Skipped,
    parse_ref,
)
from gatewayd.ports.store import DeadLetters, InboundRow, OutboundRow, Repairs, dead_letter_of, ref_of, shown_text

_TOGETHER: Final = 50
"""Dead letters in one transaction. Other writes wait for no more than these."""
_LOOKED_AT: Final = 2000
_NOTE_MAX: Final = 500


class Inbox(Protocol):
    """Where messages run again: hub/inbox/inbox.py."""

    def availability(self) -> AccountAvailability: ...

    def resume(self, rows: Sequence[InboundRow]) -> None: ...


class Outgoing(Protocol):
    """Where replies are sent again: hub/outbox/outbox.py."""

    def is_unsettled(self, outbound_id: int) -> bool: ...

    def requeue(self, row: OutboundRow, was: DeadLetterState) -> None: ...

    def note_dropped(self, was: DeadLetterState) -> None: ...


class FoundDeadLetter(Struct, frozen=True):
    """One dead letter with its whole ``text``. ``why_not`` says why it cannot be retried; None: it can."""

    dead_letter: DeadLetter
    text: str
    why_not: str | None = None


class DeadLetterPage(Struct, frozen=True):
    """``next`` is the cursor of the next page; None: this is the last one."""

    dead_letters: list[DeadLetter]
    next: DeadLetterCursor | None
    counts: DeadLetterCounts


class BulkCursor(Struct, frozen=True):
    """Where a bulk operation goes on: behind ``cursor``, with dead letters from before ``until``. So the operation does not retry
    a row twice, however many calls it takes."""

    until: float
    cursor: DeadLetterCursor

    def __str__(self) -> str:
        return f"{self.until!r}~{self.cursor}"

    @classmethod
    def parse(cls, text: str) -> "BulkCursor":
        """Read the text that ``str`` gives. :raises NotADeadLetter:"""
        until, _, cursor = text.partition("~")
        try:
            at = float(until)
        except ValueError:
            at = math.nan
        if math.isnan(at):
            raise NotADeadLetter(f"{text[:60]!r} is not a cursor of a bulk operation")
        return cls(at, DeadLetterCursor.parse(cursor))


class Bulk(Struct, frozen=True):
    """The result of one call: ``done`` counts dead letters. If there is ``more``, another call goes on at ``next``."""

    done: int
    skipped: list[Skipped]
    more: bool = False
    next: BulkCursor | None = None


class DeadLetterQueue:
    """The orders of operators. ``now`` gives Unix seconds."""

    def __init__(self, store: DeadLetters, inbox: Inbox, outbox: Outgoing, events: EventLog, *, now: Callable[[], float]) -> None:
        self._store = store
        self._inbox = inbox
        self._outbox = outbox
        self._events = events
        self._now = now

    async def list(self, wanted: DeadLetterFilter, *, before: DeadLetterCursor | None, limit: int) -> DeadLetterPage:
        """One page of the list, the newest first."""
        dead_letters = await self._store.list_dead_letters(wanted, before=before, limit=limit + 1)
        more = len(dead_letters) > limit
        return DeadLetterPage(
            dead_letters[:limit], dead_letters[limit - 1].cursor if more else None, await self._store.count_dead_letters()
        )

    async def get(self, ref: str) -> FoundDeadLetter:
        """:raises NotADeadLetter: no ref. :raises NotFound: no such row. :raises Conflict: it is no dead letter (any more)."""
        facts = await self._store.get_dead_letter(ref)
        check_dead_letter(facts.row)
        return FoundDeadLetter(dead_letter_of(facts.row), shown_text(facts.row), why_not(facts, self._inbox.availability()))

    async def act(self, ref: str, action: RepairAction, *, by: str, note: str | None = None) -> DeadLetter:
        """Retry or drop one dead letter. Return its row as it is after that.

        :raises NotADeadLetter: no ref.
        :raises NotFound: no such row.
        :raises Conflict: it is no dead letter (any more), or it cannot be retried.
        :raises StoreRefused: nothing was done.
        """
        found = await self.get(ref)
        if action == "retry" and found.why_not is not None:
            raise Conflict(f"{ref} cannot be retried: {found.why_not}")
        repairs = await self._together([ref], action, by, note)
        if repairs.skipped:
            raise Conflict(f"{ref}: {repairs.skipped[0].why}")
        return next(dead_letter_of(each.row) for each in repairs.done if ref_of(each.row) == ref)

    async def act_on(self, refs: Sequence[str], action: RepairAction, *, by: str, note: str | None = None) -> Bulk:
        """Retry or drop these, in their order. :raises StoreRefused: nothing was done."""
        done, skipped = 0, list[Skipped]()
        refs = list(dict.fromkeys(refs))
        for start in range(0, len(refs), _TOGETHER):
            some = refs[start : start + _TOGETHER]
            try:
                repairs = await self._together(some, action, by, note)
            except StoreRefused as refused:
                if not done:
                    raise
                skipped += [Skipped(ref, refused.reason) for ref in refs[start:]]
                break
            done += len(repairs.done)
            skipped += repairs.skipped
        return Bulk(done, skipped)

    async def act_on_all(
        self, wanted: DeadLetterFilter, action: RepairAction, *, after: BulkCursor | None = None, by: str, note: str | None = None
    ) -> Bulk:
        """Retry or drop all that fit, the oldest first, up to a limit. :raises StoreRefused: nothing was done."""
        until = self._now() if wanted.ended_before is None else wanted.ended_before
        until = until if after is None else min(until, after.until)
        wanted = replace(wanted, ended_before=until)
        cursor = None if after is None else after.cursor
        done, looked_at, skipped = 0, 0, list[Skipped]()
        while done + _TOGETHER <= MOST_AT_ONCE and looked_at < _LOOKED_AT:
            cursors = await self._store.oldest_dead_letters(wanted, after=cursor, limit=_TOGETHER)
            repairs = await self._next(cursors, action, by, note, done_before=done)
            if repairs is None:
                break
            cursor = cursors[-1]
            looked_at += len(cursors)
            done += len(repairs.done)
            skipped += repairs.skipped
        if cursor is None or not await self._store.oldest_dead_letters(wanted, after=cursor, limit=1):
            return Bulk(done, skipped)
        return Bulk(done, skipped, True, BulkCursor(until, cursor))

    async def _next(
        self, cursors: Sequence[DeadLetterCursor], action: RepairAction, by: str, note: str | None, *, done_before: int
    ) -> Repairs | None:
        """Repair the next ones. None: no more, or the store refuses. :raises StoreRefused: and nothing was done before."""
        try:
            return await self._together([each.ref for each in cursors], action, by, note) if cursors else None
        except StoreRefused:
            if not done_before:
                raise
            return None

    async def _together(self, refs: Sequence[str], action: RepairAction, by: str, note: str | None) -> Repairs:
        """Repair these in one transaction, and update the parts that keep them in memory."""
        settled = [ref for ref in refs if not self._is_unsettled(ref)]
        skipped = [await self._why_unsettled(ref) for ref in refs if ref not in settled]
        if not settled:
            return Repairs([], skipped)
        note = None if note is None else sanitise(note)[:_NOTE_MAX]
        # Shielded: a row that is committed and not dispatched would lie there until the next start.
        with anyio.CancelScope(shield=True):
            repairs = await self._repair(settled, action, by, note)
            self._dispatch(repairs, action, by)
        return replace(repairs, skipped=[*repairs.skipped, *skipped])

    async def _repair(self, refs: Sequence[str], action: RepairAction, by: str, note: str | None) -> Repairs:
        now = self._now()
        if action == "drop":
            return await self._store.drop_dead_letters(refs, partial(drop, by=by, note=note, now=now), now=now)
        rule = partial(put_back, accounts=self._inbox.availability(), by=by, note=note, now=now)
        return await self._store.retry_dead_letters(refs, rule, now=now)

    def _is_unsettled(self, ref: str) -> bool:
        """A dead letter is counted, and its account releases it, a moment after its end is committed. Until then it stays."""
        try:
            direction, number = parse_ref(ref)
        except NotADeadLetter:
            return False
        return direction == "out" and self._outbox.is_unsettled(number)

    async def _why_unsettled(self, ref: str) -> Skipped:
        try:
            await self.get(ref)
        except (NotFound, Conflict) as error:
            return Skipped(ref, error.reason)
        return Skipped(ref, "what became of it is being recorded: ask again")

    def _dispatch(self, repairs: Repairs, action: RepairAction, by: str) -> None:
        said = "dead_letter.retried" if action == "retry" else "dead_letter.dropped"
        for each in repairs.done:
            self._events.emit(said, ref=ref_of(each.row), by=by)
            if isinstance(each.row, OutboundRow):
                if action == "retry":
                    self._outbox.requeue(each.row, each.was)
                else:
                    self._outbox.note_dropped(each.was)
        messages = [each.row for each in repairs.done if isinstance(each.row, InboundRow)]
        if action == "retry" and messages:
            self._inbox.resume(sorted(messages, key=lambda row: row.id))
