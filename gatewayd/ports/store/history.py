"""Events, the audit log, and the retention of old rows."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.records.audit import AuditDraft, AuditRow
from gatewayd.model.records.event import Event

RetentionKind = Literal["inbound", "outbound", "approval", "question", "inbound_dead_letter", "outbound_dead_letter"]
"""What retention deletes: rows that are over, by their table, and dead letters that nobody has retried or dropped."""
Referrer = Literal["message", "reply", "edit", "approval", "question"]
"""A kind of row that refers to another row."""


class EventDraft(Struct, frozen=True):
    """``data`` is the encoded JSON object."""

    at: float
    kind: str
    data: bytes


class OldRow(Struct, frozen=True):
    """A row that ended before the bound of a sweep. ``received_at``: of a message. ``closed_at``: of a dropped dead letter.

    ``referrers`` are the kinds of rows that refer to it and still need it. To a message refer the pending requests and questions
    of its turn, and the replies of its turn that are open or dead letters. To a reply refer its edits that are open or dead
    letters, and the pending request or question that it is about. To a request or question refer the messages of its turn that
    have not ended, and the replies about it that are open or dead letters.
    """

    received_at: float | None
    closed_at: float | None
    referrers: frozenset[Referrer]


KeepRule = Callable[[OldRow], bool]


class RetentionResult(Struct, frozen=True):
    """The result of one sweep. ``deleted`` counts the deleted rows by their state. ``after`` is the cursor for the next sweep:
    the end and the number of the last row of this one. None: there are no more rows."""

    deleted: dict[str, int]
    after: tuple[float, int] | None


class EventRows(Protocol):
    async def add_events(self, drafts: Sequence[EventDraft]) -> list[Event]:
        """Number and store all events. The numbers grow by one, in the order of the drafts, without a gap. Not idempotent."""

    async def events_after(self, seq: int, *, limit: int) -> list[Event]:
        """At most ``limit`` with a larger number, by number."""

    async def event_bounds(self) -> tuple[int, int]:
        """The oldest number still stored and the newest; (0, 0): there are no events."""

    async def prune_events(self, *, keep: int) -> int:
        """Delete all but the newest ``keep`` events, and return how many were deleted. The oldest go first, in several short
        transactions, so that other writes do not wait long. A call that is cancelled has deleted a part."""


class AuditRows(Protocol):
    """Entries are never changed or deleted. Every entry has the hash over the one before
    (``gatewayd.model.records.audit.chained``), also an entry that another operation adds."""

    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        """Not idempotent."""

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        """At most ``limit`` with a larger number, by number."""

    async def audit_head(self) -> AuditRow | None:
        """The newest entry."""

    async def audit_about(self, subjects: Collection[str], *, limit: int) -> list[AuditRow]:
        """The newest ``limit`` entries with one of these subjects, by number."""


class RetentionRows(Protocol):
    async def prune_reports(self) -> int:
        """Delete the delivery reports that have waited too long for their messages, and return how many."""

    async def sweep(
        self, kind: RetentionKind, keeps: KeepRule, *, before: float, after: tuple[float, int] | None, limit: int
    ) -> RetentionResult:
        """Delete old rows of a kind. Of the rows that ended before ``before``, by their end and number, take at most ``limit``
        behind ``after``, ask ``keeps`` for one after the other, and delete a row for which it gives False. ``keeps`` sees what
        was deleted before. All in one transaction, whose time does not depend on the number of rows that stay."""

    async def bytes_used(self) -> int:
        """The bytes of the stored rows: for a file, its size without free pages."""
