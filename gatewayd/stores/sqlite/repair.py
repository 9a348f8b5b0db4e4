"""Letters repaired: put back, or closed, each with its entry in the audit log, in one transaction."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, Literal

import msgspec

from gatewayd.model.audit import AuditDraft
from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.letter import NotALetter, Skipped
from gatewayd.model.lifecycle import INBOUND_DEAD_LETTERS, NEVER_SEEN, RETRY_INBOUND, RETRY_OUTBOUND, LetterState
from gatewayd.model.payload import EditText
from gatewayd.model.subject import is_about_reply
from gatewayd.ports.store import FoundLetter, InboundRow, OutboundRow, Repaired, Repairs, Takers
from gatewayd.stores.sqlite.audit import append_audit
from gatewayd.stores.sqlite.inbox import INBOUND_COLUMNS, inbound_row
from gatewayd.stores.sqlite.letters import get_letter, get_row, letter_of, text_of
from gatewayd.stores.sqlite.states import among, outside, quoted
from gatewayd.stores.sqlite.tables import Tables

_REASON_MAX = 200
_NEWER_EDIT: Final = f"SELECT id FROM outbound WHERE edits = ? AND id > ? AND {outside(NEVER_SEEN)} LIMIT 1"
_DEAD_OF_TURN: Final = f"""
    SELECT {INBOUND_COLUMNS} FROM inbound
    WHERE turn_id = ? AND {among(INBOUND_DEAD_LETTERS)} AND closed_at IS NULL ORDER BY id
"""
_RETRY_INBOUND: Final = f"""
    UPDATE inbound SET state = {quoted(RETRY_INBOUND.target)}, attempts = 0, stops = 0, retries = retries + 1, reason = NULL,
        detail = NULL, turn_id = NULL, started_at = NULL, ended_at = NULL
    WHERE id = ? AND {among(RETRY_INBOUND.sources)}
"""
_RETRY_OUTBOUND: Final = f"""
    UPDATE outbound SET state = {quoted(RETRY_OUTBOUND.target)}, attempts = 0, reason = NULL, settled_at = NULL,
        queued_at = :now, next_attempt_at = CASE WHEN next_attempt_at > :now THEN next_attempt_at END
    WHERE id = :id AND {among(RETRY_OUTBOUND.sources)}
"""


class RepairTable(Tables):
    async def get_letter(self, ref: str, *, accounts: Takers) -> FoundLetter:
        def read(connection: sqlite3.Connection) -> FoundLetter:
            row = get_letter(connection, ref)
            return FoundLetter(letter_of(row), text_of(row), _why_not(connection, row, accounts))

        return await self._read(read)

    async def retry_letters(self, refs: Sequence[str], *, accounts: Takers, by: str, note: str | None, now: float) -> Repairs:
        def retry(connection: sqlite3.Connection, ref: str) -> list[Repaired]:
            row = get_letter(connection, ref)
            why_not = _why_not(connection, row, accounts)
            if why_not is not None:
                raise Conflict(why_not)
            rows = [row, *_edits_with(connection, row)] if isinstance(row, InboundRow) else [row]
            return [_retried(connection, each, by, note, now) for each in rows]

        return await self._write(partial(_each, refs, retry))

    async def drop_letters(self, refs: Sequence[str], *, by: str, note: str | None, now: float) -> Repairs:
        def drop(connection: sqlite3.Connection, ref: str) -> list[Repaired]:
            row = get_letter(connection, ref)
            connection.execute(f"UPDATE {_name(row)} SET closed_at = ? WHERE id = ?", (now, row.id))
            return [_repaired(connection, row, "letter.dropped", by, note, now)]

        return await self._write(partial(_each, refs, drop))


def _each(
    refs: Sequence[str], act: Callable[[sqlite3.Connection, str], list[Repaired]], connection: sqlite3.Connection
) -> Repairs:
    """Do it with one after the other. What one row refuses holds for that row alone."""
    repairs = Repairs([], [])
    done: set[str] = set()
    for ref in refs:
        if ref in done:
            continue  # named twice, or an edit that went with its message
        try:
            repaired = act(connection, ref)
        except (NotALetter, NotFound, Conflict) as error:
            repairs.skipped.append(Skipped(ref, error.reason))
        else:
            repairs.done.extend(repaired)
            done.update(each.letter.ref for each in repaired)
    return repairs


def _why_not(connection: sqlite3.Connection, row: InboundRow | OutboundRow, accounts: Takers) -> str | None:
    """Why a letter cannot be retried."""
    if isinstance(row, OutboundRow):
        here = (row.channel, row.account) in accounts
        return _why_not_again(connection, row) if here else f"the account {row.channel}/{row.account} is not configured"
    account = row.envelope.channel, row.envelope.account
    if account not in accounts:
        return f"the account {'/'.join(account)} is not configured"
    edited = _edited_by(connection, row)
    if edited is not None:
        return f"it is an edit of in-{edited}: retry that one, and this goes with it"
    return accounts[account]


def _why_not_again(connection: sqlite3.Connection, row: OutboundRow) -> str | None:
    """Why it would be wrong to send this now."""
    if isinstance(row.payload, EditText):
        edited = get_row(connection, "out", row.payload.of)
        if not isinstance(edited, OutboundRow) or edited.receipt is None or edited.receipt.message_id is None:
            return f"it edits out-{row.payload.of}, which was not sent"
        found = connection.execute(_NEWER_EDIT, (row.payload.of, row.id)).fetchone()
        if found is not None:
            return f"out-{found[0]} is a newer edit of the same message"
    if row.subject is None or is_about_reply(row.subject):
        return None
    # What was written about a request while it was pending asks for an answer; what came after says what became of it.
    subject = row.subject.partition("/")[0]
    sql = "SELECT decided_at FROM approval WHERE id = ? UNION ALL SELECT ended_at FROM question WHERE id = ?"
    request = connection.execute(sql, (subject, subject)).fetchone()
    over = request is None or (request[0] is not None and row.created_at <= request[0])
    return f"what it asks is over: {subject} waits for no answer" if over else None


def _edited_by(connection: sqlite3.Connection, row: InboundRow) -> int | None:
    """The message that an edit changes, if that is a letter of the same turn."""
    if row.envelope.kind != "edit" or row.turn_id is None:
        return None
    return next((other.id for other in _dead_of_turn(connection, row) if _changes(row, other)), None)


def _edits_with(connection: sqlite3.Connection, row: InboundRow) -> list[InboundRow]:
    """The edits of a message that ended in its turn: without them it would run as it was first written."""
    if row.envelope.kind == "edit" or row.turn_id is None:
        return []
    return [other for other in _dead_of_turn(connection, row) if _changes(other, row)]


def _changes(edit: InboundRow, message: InboundRow) -> bool:
    new, old = edit.envelope, message.envelope
    return (
        new.kind == "edit"
        and old.kind == "message"
        and (new.channel, new.account, new.peer, new.message_id) == (old.channel, old.account, old.peer, old.message_id)
    )


def _dead_of_turn(connection: sqlite3.Connection, row: InboundRow) -> list[InboundRow]:
    return [inbound_row(record) for record in connection.execute(_DEAD_OF_TURN, (row.turn_id,))]


def _retried(connection: sqlite3.Connection, row: InboundRow | OutboundRow, by: str, note: str | None, now: float) -> Repaired:
    if isinstance(row, InboundRow):
        connection.execute(_RETRY_INBOUND, (row.id,))
    else:
        connection.execute(_RETRY_OUTBOUND, {"now": now, "id": row.id})
    return _repaired(connection, row, "letter.retried", by, note, now)


def _repaired(
    connection: sqlite3.Connection,
    row: InboundRow | OutboundRow,
    action: Literal["letter.retried", "letter.dropped"],
    by: str,
    note: str | None,
    now: float,
) -> Repaired:
    """The row as it is now, and the entry of the audit log that says what it was."""
    is_inbound = isinstance(row, InboundRow)
    changed = get_row(connection, "in" if is_inbound else "out", row.id)
    assert changed is not None, "it was there in this transaction"
    letter = letter_of(changed)
    reason = None if row.reason is None else row.reason[:_REASON_MAX]
    detail = row.detail if isinstance(row, InboundRow) else None
    was = {"state": row.state, "reason": reason, "detail": detail, "attempts": row.attempts, "turn_id": row.turn_id, "note": note}
    said = {key: value for key, value in was.items() if value is not None}
    draft = AuditDraft(now, by, action, letter.ref, msgspec.json.encode(said, order="sorted").decode())
    append_audit(connection, draft)
    return Repaired(msgspec.convert(row.state, LetterState), letter, changed)


def _name(row: InboundRow | OutboundRow) -> str:
    return "inbound" if isinstance(row, InboundRow) else "outbound"
