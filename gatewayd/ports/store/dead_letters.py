"""Dead letters of both directions: rows that wait until a person retries or drops them."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import DeadLetterState
from gatewayd.model.message.payload import text_of
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.dead_letter import (
    DeadLetter,
    DeadLetterCounts,
    DeadLetterCursor,
    DeadLetterFilter,
    Skipped,
    excerpt_of,
)
from gatewayd.model.records.question import QuestionRow
from gatewayd.model.subject import SIGN, request_of
from gatewayd.ports.store.messages import InboundRow, OutboundRow

DeadLetterRow = InboundRow | OutboundRow


class DeadLetterFacts(Struct, frozen=True):
    """A row and the rows that a decision about it depends on.

    Of a message: ``dead_of_turn`` are the dead letters of its turn, by number, the message itself among them. Of a reply that is
    an edit: ``edited`` is the reply that it changes, and ``newer_edit`` is the number of the first later edit of the same reply
    that somebody has seen or may see. Of a reply: ``request`` is the row that its subject names. None: there is no such row
    (any more).
    """

    row: DeadLetterRow
    dead_of_turn: tuple[InboundRow, ...] = ()
    edited: OutboundRow | None = None
    newer_edit: int | None = None
    request: Approval | QuestionRow | None = None


class Repair(Struct, frozen=True):
    """A dead letter to retry or to drop, and the entry of the audit log about it."""

    row: DeadLetterRow
    audit: AuditDraft


RetryRule = Callable[[DeadLetterFacts], Sequence[Repair]]
DropRule = Callable[[DeadLetterRow], Repair]


class Repaired(Struct, frozen=True):
    """A dead letter that was retried or dropped: its state before (``was``), and its ``row`` now."""

    was: DeadLetterState
    row: DeadLetterRow


class Repairs(Struct, frozen=True):
    """The result of one call, which is one transaction."""

    done: list[Repaired]
    skipped: list[Skipped]


class DeadLetters(Protocol):
    """A dead letter is a message that is dead, or a reply that is dead, unknown or parked, until somebody retries or drops it."""

    async def list_dead_letters(
        self, wanted: DeadLetterFilter, *, before: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetter]:
        """At most ``limit``, the newest first, by their cursors, as ``dead_letter_of`` shows them. ``before``: only older
        ones."""

    async def oldest_dead_letters(
        self, wanted: DeadLetterFilter, *, after: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetterCursor]:
        """At most ``limit``, the oldest first, by their cursors. ``after``: only newer ones."""

    async def count_dead_letters(self) -> DeadLetterCounts: ...

    async def get_dead_letter(self, ref: str) -> DeadLetterFacts:
        """A row in any state. :raises NotADeadLetter: ``ref`` is no ref. :raises NotFound: there is no such row (any more)."""

    async def retry_dead_letters(self, refs: Sequence[str], rule: RetryRule, *, now: float) -> Repairs:
        """Retry what ``rule`` gives for each row, with its audit entry. All in one transaction, one ref after the other; the rule
        sees what the refs before have changed.

        Each has one more in ``retries``. A message becomes ``received`` again. A reply becomes ``ready`` again, under its own
        number, with its doubt, and not before the time that its last error asked for. A row that is no dead letter stays as it
        is.

        The reports of a reply (``OutboundRow.reports``) wait from now on, as those without a reply do (``add_inbound``): if its
        platform knows the key of the send still, it may answer with the same receipt.

        Skipped, while the others are done: a ref that is no ref, that has no row (any more), or for which ``rule`` raises
        Conflict. A ref that this call has retried already is passed over. Of two calls at once the second one sees the changes
        of the first.
        """

    async def drop_dead_letters(self, refs: Sequence[str], rule: DropRule, *, now: float) -> Repairs:
        """Close dead letters: they keep their state and wait for nobody. In all else as ``retry_dead_letters``."""


def ref_of(row: DeadLetterRow) -> str:
    return f"in-{row.id}" if isinstance(row, InboundRow) else f"out-{row.id}"


def shown_text(row: DeadLetterRow) -> str:
    """The text of a row, for those who may look at messages. The prompt of a request shows the exact input of a tool, which is
    for approvers, elsewhere."""
    if isinstance(row, InboundRow):
        return row.envelope.text
    if row.subject is None or row.subject.startswith("qu_") or request_of(row.subject) is None or row.subject == SIGN:
        return text_of(row.payload)
    return f"(about a request for permission: gatewayctl approvals show {row.subject.partition('/')[0]})"


def dead_letter_of(row: DeadLetterRow) -> DeadLetter:
    """The row as lists show it."""
    return _inbound_dead_letter(row) if isinstance(row, InboundRow) else _outbound_dead_letter(row)


def _inbound_dead_letter(row: InboundRow) -> DeadLetter:
    envelope = row.envelope
    return DeadLetter(
        ref=ref_of(row),
        direction="in",
        state=row.state,
        reason=row.reason,
        channel=envelope.channel,
        account=envelope.account,
        peer=str(envelope.peer),
        sender=envelope.sender.id,
        at=envelope.received_at,
        ended_at=row.ended_at,
        attempts=row.attempts,
        retries=row.retries,
        turn_id=row.turn_id,
        session_key=row.session_key,
        excerpt=excerpt_of(shown_text(row)),
        closed_at=row.closed_at,
        detail=row.detail,
    )


def _outbound_dead_letter(row: OutboundRow) -> DeadLetter:
    return DeadLetter(
        ref=ref_of(row),
        direction="out",
        state=row.state,
        reason=row.reason,
        channel=row.channel,
        account=row.account,
        peer=str(row.payload.peer),
        sender=None,
        at=row.created_at,
        ended_at=row.settled_at,
        attempts=row.attempts,
        retries=row.retries,
        turn_id=row.turn_id,
        session_key=None,
        excerpt=excerpt_of(shown_text(row)),
        closed_at=row.closed_at,
        doubt_since=row.doubt_since,
    )
