"""The retry and the drop of dead letters, each with its entry in the audit log, in one transaction."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Final

import msgspec

from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.lifecycle import (
    INBOUND,
    INBOUND_DEAD_LETTERS,
    NEVER_SEEN,
    OUTBOUND,
    RETRY_INBOUND,
    RETRY_OUTBOUND,
    DeadLetterState,
)
from gatewayd.model.message.payload import EditText
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.dead_letter import NotADeadLetter, Skipped, parse_ref
from gatewayd.model.records.question import QuestionRow
from gatewayd.model.subject import request_of
from gatewayd.ports.store import (
    DeadLetterFacts,
    DeadLetterRow,
    DropRule,
    InboundRow,
    OutboundRow,
    Repair,
    Repaired,
    Repairs,
    RetryRule,
    ref_of,
)
from gatewayd.stores.sqlite.engine.conditions import among, outside, quoted
from gatewayd.stores.sqlite.tables.approvals import APPROVALS
from gatewayd.stores.sqlite.tables.audit import append_audit
from gatewayd.stores.sqlite.tables.dead_letters import get_row
from gatewayd.stores.sqlite.tables.inbox import INBOUND_ROWS
from gatewayd.stores.sqlite.tables.questions import QUESTIONS
from gatewayd.stores.sqlite.tables.reports import ReportTable

_NEWER_EDIT: Final = f"SELECT id FROM outbound WHERE edits = ? AND id > ? AND {outside(NEVER_SEEN)} ORDER BY id LIMIT 1"
_DEAD_OF_TURN: Final = f"turn_id = ? AND {among(INBOUND_DEAD_LETTERS)} AND closed_at IS NULL ORDER BY id"
_RETRY_INBOUND: Final = f"""
    UPDATE inbound SET state = {quoted(RETRY_INBOUND.target)}, attempts = 0, stops = 0, retries = retries + 1, reason = NULL,
        detail = NULL, turn_id = NULL, started_at = NULL, ended_at = NULL
    WHERE id = :id AND {among(RETRY_INBOUND.sources)} AND closed_at IS NULL
"""
_RETRY_OUTBOUND: Final = f"""
    UPDATE outbound SET state = {quoted(RETRY_OUTBOUND.target)}, attempts = 0, reason = NULL, settled_at = NULL,
        retries = retries + 1, receipt = NULL, message_id = NULL, delivered_at = NULL, read_at = NULL, queued_at = :now,
        next_attempt_at = CASE WHEN next_attempt_at > :now THEN next_attempt_at END
    WHERE id = :id AND {among(RETRY_OUTBOUND.sources)} AND closed_at IS NULL
"""
_DROP: Final = "UPDATE {table} SET closed_at = :now WHERE id = :id AND {dead_letters} AND closed_at IS NULL"
_Statements = Mapping[type[InboundRow] | type[OutboundRow], str]
_RETRY: Final[_Statements] = {InboundRow: _RETRY_INBOUND, OutboundRow: _RETRY_OUTBOUND}
_CLOSE: Final[_Statements] = {
    InboundRow: _DROP.format(table="inbound", dead_letters=among(INBOUND.marked["drop_dead_letters"])),
    OutboundRow: _DROP.format(table="outbound", dead_letters=among(OUTBOUND.marked["drop_dead_letters"])),
}


class RepairTable(ReportTable):
    async def get_dead_letter(self, ref: str) -> DeadLetterFacts:
        return await self._read(lambda connection: _facts(connection, _row(connection, ref)))

    async def retry_dead_letters(self, refs: Sequence[str], rule: RetryRule, *, now: float) -> Repairs:
        def repairs(connection: sqlite3.Connection, ref: str) -> Sequence[Repair]:
            return rule(_facts(connection, _row(connection, ref)))

        def retry(connection: sqlite3.Connection, row: DeadLetterRow) -> bool:
            if connection.execute(_RETRY[type(row)], {"id": row.id, "now": now}).rowcount == 0:
                return False
            if isinstance(row, OutboundRow):
                for report in row.reports:
                    self._let_wait(connection, row.channel, row.account, report, now)
            return True

        return await self._write(partial(_each, refs, repairs, retry))

    async def drop_dead_letters(self, refs: Sequence[str], rule: DropRule, *, now: float) -> Repairs:
        def repairs(connection: sqlite3.Connection, ref: str) -> Sequence[Repair]:
            return [rule(_row(connection, ref))]

        def close(connection: sqlite3.Connection, row: DeadLetterRow) -> bool:
            return connection.execute(_CLOSE[type(row)], {"id": row.id, "now": now}).rowcount == 1

        return await self._write(partial(_each, refs, repairs, close))


def _each(
    refs: Sequence[str],
    repairs_of: Callable[[sqlite3.Connection, str], Sequence[Repair]],
    repair: Callable[[sqlite3.Connection, DeadLetterRow], bool],
    connection: sqlite3.Connection,
) -> Repairs:
    """Repair one after the other. An error of one ref skips that ref only."""
    repairs = Repairs([], [])
    done: set[str] = set()
    for ref in refs:
        if ref in done:
            continue  # it is named twice, or is an edit that was retried with its message
        try:
            wanted = repairs_of(connection, ref)
        except (NotADeadLetter, NotFound, Conflict) as error:
            repairs.skipped.append(Skipped(ref, error.reason))
            continue
        for each in wanted:
            if repair(connection, each.row):
                append_audit(connection, each.audit)
                row = _row(connection, ref_of(each.row))
                repairs.done.append(Repaired(msgspec.convert(each.row.state, DeadLetterState), row))
                done.add(ref_of(row))
    return repairs


def _row(connection: sqlite3.Connection, ref: str) -> DeadLetterRow:
    """:raises NotADeadLetter: :raises NotFound:"""
    row = get_row(connection, *parse_ref(ref))
    if row is None:
        raise NotFound(f"there is no {ref} (any more)")
    return row


def _facts(connection: sqlite3.Connection, row: DeadLetterRow) -> DeadLetterFacts:
    if isinstance(row, InboundRow):
        return DeadLetterFacts(row, dead_of_turn=tuple(INBOUND_ROWS.select(connection, _DEAD_OF_TURN, (row.turn_id,))))
    edited = newer = None
    if isinstance(row.payload, EditText):
        edited = get_row(connection, "out", row.payload.of)
        newer = connection.execute(_NEWER_EDIT, (row.payload.of, row.id)).fetchone()
    return DeadLetterFacts(
        row,
        edited=edited if isinstance(edited, OutboundRow) else None,
        newer_edit=None if newer is None else newer[0],
        request=_request(connection, row),
    )


def _request(connection: sqlite3.Connection, row: OutboundRow) -> Approval | QuestionRow | None:
    asked = None if row.subject is None else request_of(row.subject)
    if asked is None:
        return None
    return APPROVALS.find(connection, "id = ?", (asked,)) or QUESTIONS.find(connection, "id = ?", (asked,))
