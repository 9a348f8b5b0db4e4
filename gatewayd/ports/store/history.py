"""What is looked back at, and deleted when it is old: events, the audit log, the trace of a message, retention."""

from collections.abc import Callable, Collection, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.records.audit import AuditDraft, AuditRow
from gatewayd.model.records.event import Event

RetentionKind = Literal["inbound", "outbound", "approval", "question", "inbound_dead_letter", "outbound_dead_letter"]
"""What retention deletes: rows that are over, by their table, and dead letters that nobody has looked after."""
Referrer = Literal["message", "reply", "edit", "approval", "question"]
"""A kind of row that refers to another."""


class EventDraft(Struct, frozen=True):
    """``data`` is the encoded JSON object."""

    at: float
    kind: str
    data: bytes


class OldRow(Struct, frozen=True):
    """A row that ended before the bound of a sweep. ``received_at`` is of a message, ``closed_at`` of a dead letter that a person
    dropped.

    ``referrers`` are the kinds of the rows that refer to it and are not over. To a message: replies of its turn that are open,
    or dead letters that nobody has dropped, and pending requests and questions of its turn. To a reply: such edits of it, and the
    pending request or question that it is about. To a request or question: messages of its turn that have not ended, and such
    replies about it.
    """

    received_at: float | None
    closed_at: float | None
    referrers: frozenset[Referrer]


KeepRule = Callable[[OldRow], bool]


class RetentionResult(Struct, frozen=True):
    """How many rows one transaction has ``deleted``, by the state they were in. ``after`` is where to go on: the end and the
    number of the row looked at last; None: there is no more."""

    deleted: dict[str, int]
    after: tuple[float, int] | None


class EventRows(Protocol):
    async def add_events(self, drafts: Sequence[EventDraft]) -> list[Event]:
        """Number and store, all at once. Numbers grow by one, in the order of the drafts, without a gap. Not idempotent."""

    async def events_after(self, seq: int, *, limit: int) -> list[Event]:
        """At most ``limit`` with a larger number, by number."""

    async def event_bounds(self) -> tuple[int, int]:
        """The oldest number still stored and the newest; (0, 0): there are no events."""

    async def prune_events(self, *, keep: int) -> int:
        """Delete all but the newest ``keep`` events; how many were deleted. In as many transactions as it takes, the oldest
        events first, so that no write beside it waits long; one that is cut has deleted a part."""


class AuditRows(Protocol):
    """Entries are added and never changed or deleted. Each has the hash over the one before
    (``gatewayd.model.records.audit.chained``), whichever operation adds it."""

    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        """Not idempotent."""

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        """At most ``limit`` with a larger number, by number."""

    async def audit_head(self) -> AuditRow | None:
        """The newest entry."""

    async def audit_about(self, subjects: Collection[str], *, limit: int) -> list[AuditRow]:
        """The newest ``limit`` entries with one of these subjects, by number."""


class RetentionRows(Protocol):
    async def sweep(
        self, kind: RetentionKind, keeps: KeepRule, *, before: float, after: tuple[float, int] | None, limit: int
    ) -> RetentionResult:
        """Look at the ``limit`` oldest rows of a kind that ended before ``before`` and behind ``after``, one after the other by
        their end and number, and delete those that ``keeps`` does not keep, as the ones before have left them. In one
        transaction, which does not grow with the number of rows that are kept."""

    async def bytes_used(self) -> int:
        """The size of what is stored: of the file without its free pages."""
