"""Dead letters: what waits for a person, in both directions."""

from collections.abc import Callable, Sequence
from typing import Protocol

from msgspec import Struct

from gatewayd.model.lifecycle import DeadLetterState
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
from gatewayd.model.subject import SIGN, is_about_reply
from gatewayd.ports.store.messages import InboundRow, OutboundRow

DeadLetterRow = InboundRow | OutboundRow


class DeadLetterFacts(Struct, frozen=True):
    """A row and what stands around it. ``dead_of_turn``: the dead letters among the messages of a message's turn, by number,
    itself among them. Of a reply that is an edit, ``edited`` is the reply that it changes, and ``newer_edit`` the number of the
    first edit of that one behind it which somebody has seen or may see. ``request`` is what the subject of a reply names. None:
    there is no such row (any more)."""

    row: DeadLetterRow
    dead_of_turn: tuple[InboundRow, ...] = ()
    edited: OutboundRow | None = None
    newer_edit: int | None = None
    request: Approval | QuestionRow | None = None


class Repair(Struct, frozen=True):
    """A dead letter that is to be put back or closed, and the entry of the audit log about it."""

    row: DeadLetterRow
    audit: AuditDraft


RetryRule = Callable[[DeadLetterFacts], Sequence[Repair]]
DropRule = Callable[[DeadLetterRow], Repair]


class Repaired(Struct, frozen=True):
    """A dead letter that was retried or dropped: what it ``was``, and its ``row`` now."""

    was: DeadLetterState
    row: DeadLetterRow


class Repairs(Struct, frozen=True):
    """What one call has done, in one transaction."""

    done: list[Repaired]
    skipped: list[Skipped]


class DeadLetters(Protocol):
    """Messages that are dead, and replies that are dead, unknown or parked, which nobody has retried or dropped."""

    async def list_dead_letters(
        self, wanted: DeadLetterFilter, *, before: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetter]:
        """At most ``limit``, the newest first, in the order of their cursors, as ``dead_letter_of`` shows them; ``before`` goes
        on behind that one."""

    async def oldest_dead_letters(
        self, wanted: DeadLetterFilter, *, after: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetterCursor]:
        """At most ``limit``, the oldest first, in the order of their cursors; ``after`` goes on behind that one."""

    async def count_dead_letters(self) -> DeadLetterCounts: ...

    async def get_dead_letter(self, ref: str) -> DeadLetterFacts:
        """A row in whatever state. :raises NotADeadLetter: no ref. :raises NotFound: no such row (any more)."""

    async def retry_dead_letters(self, refs: Sequence[str], rule: RetryRule, *, now: float) -> Repairs:
        """Put back what ``rule`` makes of each row, one ref after the other, each as the ones before have left it: a message as
        one that was just received, with a retry more; a reply as one to be sent, under its own number, and not before the time
        that its last refusal asked for. Each with its audit entry, all in one transaction.

        Skipped, and the others are done: what is no ref, what is not there (any more), and what ``rule`` raises Conflict for. A
        ref that was put back by this call already is passed over. What is no dead letter stays as it is, whatever ``rule`` says.
        Of two calls at once the second sees what the first has done.
        """

    async def drop_dead_letters(self, refs: Sequence[str], rule: DropRule, *, now: float) -> Repairs:
        """Close dead letters: they stay in their state, and wait for nobody. In all else as ``retry_dead_letters``."""


def ref_of(row: DeadLetterRow) -> str:
    return f"in-{row.id}" if isinstance(row, InboundRow) else f"out-{row.id}"


def shown_text(row: DeadLetterRow) -> str:
    """The text of a row, for those who may look at messages. The prompt of a request shows the exact input of a tool, which is
    for approvers, elsewhere."""
    if isinstance(row, InboundRow):
        return row.envelope.text
    if row.subject is None or row.subject == SIGN or row.subject.startswith("qu_") or is_about_reply(row.subject):
        return row.payload.body.text
    return f"(about a request for permission: gatewayctl approvals show {row.subject.partition('/')[0]})"


def dead_letter_of(row: DeadLetterRow) -> DeadLetter:
    """A row as lists show it."""
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
        retries=0,
        turn_id=row.turn_id,
        session_key=None,
        excerpt=excerpt_of(shown_text(row)),
        closed_at=row.closed_at,
    )
