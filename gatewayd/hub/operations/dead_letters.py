"""The rules of dead letters: which rows are some, why one cannot be retried, and what the audit log says. Pure: the store calls
these with the rows as they are in its transaction."""

from collections.abc import Mapping, Sequence
from typing import Final, Literal

from gatewayd.model.errors import Conflict
from gatewayd.model.lifecycle import INBOUND_DEAD_LETTERS, OUTBOUND_DEAD_LETTERS
from gatewayd.model.message.payload import EditText, SendText
from gatewayd.model.records.audit import AuditDraft, detail_of
from gatewayd.model.records.question import QuestionRow
from gatewayd.model.subject import request_of
from gatewayd.ports.store import Account, DeadLetterFacts, DeadLetterRow, InboundRow, OutboundRow, Repair, ref_of

AccountAvailability = Mapping[Account, str | None]
"""The configured accounts, and why one takes no message now (it is full), or None."""
_REASON_MAX: Final = 200


def check_dead_letter(row: DeadLetterRow) -> None:
    """:raises Conflict: it is no dead letter (any more)."""
    if row.closed_at is not None:
        raise Conflict(f"{ref_of(row)} was dropped")
    if row.state not in (INBOUND_DEAD_LETTERS if isinstance(row, InboundRow) else OUTBOUND_DEAD_LETTERS):
        reason = f" ({row.reason})" if row.reason else ""
        raise Conflict(f"{ref_of(row)} is no dead letter (any more): it is {row.state}{reason}")


def put_back(facts: DeadLetterFacts, *, accounts: AccountAvailability, by: str, note: str | None, now: float) -> list[Repair]:
    """Retry a dead letter, together with the edits that ended in its turn. Without them it would run unedited.

    :raises Conflict: it is no dead letter (any more), or it would be wrong to retry it.
    """
    check_dead_letter(facts.row)
    reason = why_not(facts, accounts)
    if reason is not None:
        raise Conflict(reason)
    return [Repair(row, _entry(row, "dead_letter.retried", by, note, now)) for row in (facts.row, *_edits_with(facts))]


def drop(row: DeadLetterRow, *, by: str, note: str | None, now: float) -> Repair:
    """:raises Conflict: it is no dead letter (any more)."""
    check_dead_letter(row)
    return Repair(row, _entry(row, "dead_letter.dropped", by, note, now))


def why_not(facts: DeadLetterFacts, accounts: AccountAvailability) -> str | None:
    """Why a dead letter cannot be retried; None: it can."""
    row = facts.row
    if isinstance(row, OutboundRow):
        here = (row.channel, row.account) in accounts
        return _why_not_again(facts, row) if here else f"the account {row.channel}/{row.account} is not configured"
    account = row.envelope.channel, row.envelope.account
    if account not in accounts:
        return f"the account {'/'.join(account)} is not configured"
    edited = next((other.id for other in facts.dead_of_turn if _changes(row, other)), None)
    if edited is not None:
        return f"it is an edit of in-{edited}: retry that one, and this goes with it"
    return accounts[account]


def _why_not_again(facts: DeadLetterFacts, row: OutboundRow) -> str | None:
    """Why this reply must not be sent now; None: it may."""
    if isinstance(row.payload, EditText):
        edited = facts.edited
        is_there = edited is not None and edited.receipt is not None and edited.receipt.message_id is not None
        if not is_there and not row.payload.or_send:
            return f"it edits out-{row.payload.of}, which was not sent"
        if facts.newer_edit is not None:
            return f"out-{facts.newer_edit} is a newer edit of the same message"
    elif isinstance(row.payload, SendText) and row.payload.grows:
        return "it is the beginning of a reply, which comes whole with its end"
    request = None if row.subject is None else request_of(row.subject)
    if request is None or not _is_over(facts, row.created_at):
        return None
    return f"what it asks is over: {request} waits for no answer"


def _is_over(facts: DeadLetterFacts, written_at: float) -> bool:
    """Whether the request is over and the row was written before. Rows from after its end tell its outcome."""
    if facts.request is None:
        return True
    ended_at = facts.request.ended_at if isinstance(facts.request, QuestionRow) else facts.request.decided_at
    return ended_at is not None and written_at <= ended_at


def _edits_with(facts: DeadLetterFacts) -> Sequence[InboundRow]:
    row = facts.row
    return [other for other in facts.dead_of_turn if isinstance(row, InboundRow) and _changes(other, row)]


def _changes(edit: InboundRow, message: InboundRow) -> bool:
    new, old = edit.envelope, message.envelope
    return (
        new.kind == "edit"
        and old.is_message
        and (new.channel, new.account, new.peer, new.message_id) == (old.channel, old.account, old.peer, old.message_id)
    )


def _entry(
    row: DeadLetterRow, action: Literal["dead_letter.retried", "dead_letter.dropped"], by: str, note: str | None, now: float
) -> AuditDraft:
    """The entry of the audit log, with the state of the row before."""
    reason = None if row.reason is None else row.reason[:_REASON_MAX]
    detail = row.detail if isinstance(row, InboundRow) else None
    was = detail_of(state=row.state, reason=reason, detail=detail, attempts=row.attempts, turn_id=row.turn_id, note=note)
    return AuditDraft(now, by, action, ref_of(row), was)
