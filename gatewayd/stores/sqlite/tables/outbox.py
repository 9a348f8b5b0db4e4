"""The outbox: each payload from its draft to its receipt or its error."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final, get_args

import msgspec
from msgspec.structs import replace

from gatewayd.model.lifecycle import (
    CUT,
    LEAVE_IN_DOUBT_AT_START,
    OUTBOUND,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OPEN,
    PARK_AT_START,
    RESEND,
    SEND,
    SETTLE,
    SendOutcome,
)
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt
from gatewayd.model.message.report import failure_in
from gatewayd.model.status import OutboxStatus
from gatewayd.ports.store import Account, NoticeRule, OutboundDraft, OutboundKey, OutboundRow, ResendRule, Settled
from gatewayd.stores.sqlite.engine.conditions import OF_ACCOUNTS, accounts_value, among, newest_by, quoted
from gatewayd.stores.sqlite.tables.reports import OUTBOUND_ROWS, ReportTable, apply_waiting

[_NEW] = OUTBOUND.made["add_outbound"]
_INSERT: Final = f"""
    INSERT INTO outbound (channel, account, conversation, peer, state, created_at, queued_at, turn_id, subject, edits, payload)
    VALUES (?, ?, ?, ?, {quoted(_NEW)}, ?, ?, ?, ?, ?, ?)
"""
_SEND: Final = f"""
    UPDATE outbound SET state = {quoted(SEND.target)}, attempts = attempts + 1, sending_at = ?
    WHERE id = ? AND {among(SEND.sources)}
"""
_DOUBT_BEGINS: Final = "coalesce(doubt_since, sending_at, queued_at)"
_DOUBT: Final[Mapping[SendOutcome, str]] = {
    "ready": f"CASE :in_doubt WHEN 1 THEN {_DOUBT_BEGINS} WHEN 0 THEN NULL ELSE doubt_since END",
    "sent": "NULL",
    "unknown": _DOUBT_BEGINS,
    "parked": "NULL",
    "dead": "NULL",
}
# The platform took a reply that it reports as failed, so no doubt is left.
_DOUBT_ALLOWS: Final[Mapping[SendOutcome, str]] = {
    "ready": "TRUE",
    "sent": "TRUE",
    "unknown": f"({among(SETTLE.sources)} OR doubt_since IS NOT NULL)",
    "parked": "doubt_since IS NULL",
    "dead": "(doubt_since IS NULL OR :reported)",
}
_SETTLE: Final[Mapping[SendOutcome, str]] = {
    outcome: f"""
        UPDATE outbound SET state = {quoted(outcome)}, reason = :reason, receipt = :receipt, message_id = :message_id,
            next_attempt_at = :next_attempt_at, settled_at = :settled_at, doubt_since = {_DOUBT[outcome]},
            attempts = attempts - (:taken_back AND {among([SEND.target])})
        WHERE id = :id AND {among(OUTBOUND.sources("settle_outbound", outcome))} AND {_DOUBT_ALLOWS[outcome]}
    """
    for outcome in get_args(SendOutcome)
}
_REWRITE: Final = "UPDATE outbound SET payload = ?, edits = ? WHERE id = ?"
_READY_NUMBERS: Final = f"""
    SELECT id FROM outbound WHERE channel = ? AND account = ? AND {among(SEND.sources)} AND id > ? ORDER BY id LIMIT ?
"""
_READY_AMONG: Final = f"id IN (SELECT value FROM json_each(?)) AND +{among(SEND.sources)} ORDER BY id"
_CUT_ROWS: Final = f"{among(CUT.sources)} AND {OF_ACCOUNTS} ORDER BY id"
_RESEND: Final = f"UPDATE outbound SET state = {quoted(RESEND.target)}, reason = ?, doubt_since = {_DOUBT_BEGINS} WHERE id = ?"
_STALE: Final = f"""
    {among(PARK_AT_START.sources)} AND {OF_ACCOUNTS} AND queued_at < :before
        AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
"""
_STALE_IN_DOUBT: Final = f"SELECT id FROM outbound WHERE {_STALE} AND doubt_since IS NOT NULL"
_PARK: Final = f"""
    UPDATE outbound SET state = {quoted(PARK_AT_START.target)}, reason = :reason, settled_at = :now
    WHERE {_STALE} AND doubt_since IS NULL
"""
_END_UNKNOWN: Final = f"""
    UPDATE outbound SET state = {quoted(CUT.target)}, reason = ?, settled_at = ?, doubt_since = {_DOUBT_BEGINS} WHERE id = ?
"""
# Dropped rows are not counted. Each half is read from an index that covers it.
_COUNT: Final = f"""
    SELECT state, count(*) FROM outbound WHERE {among(OUTBOUND_OPEN)} GROUP BY state UNION ALL
    SELECT state, count(*) FROM outbound INDEXED BY outbound_dead_letter
        WHERE {among(OUTBOUND_DEAD_LETTERS)} AND closed_at IS NULL GROUP BY state
"""
_encode = msgspec.json.Encoder().encode


class OutboxTable(ReportTable):
    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        return await self._write(lambda connection: [insert_outbound(connection, draft, now) for draft in drafts])

    async def mark_sending(self, outbound_id: int) -> bool:
        now = self._now()
        return await self._write(lambda connection: connection.execute(_SEND, (now, outbound_id)).rowcount == 1)

    async def settle_outbound(
        self,
        outbound_id: int,
        state: SendOutcome,
        *,
        now: float,
        reason: str | None = None,
        receipt: Receipt | None = None,
        next_attempt_at: float | None = None,
        attempt_counts: bool = True,
        instead: OutboundPayload | None = None,
        in_doubt: bool | None = None,
        notice: NoticeRule | None = None,
    ) -> Settled:
        message_id = None if receipt is None else receipt.message_id
        values = {
            "id": outbound_id,
            "receipt": None if receipt is None else _encode(receipt),
            "message_id": message_id,
            "next_attempt_at": next_attempt_at,
            "settled_at": None if state in OUTBOUND_OPEN else now,
            "taken_back": not attempt_counts,
            "in_doubt": in_doubt,
        }

        def settle(connection: sqlite3.Connection) -> Settled:
            is_shown = state == "sent" and message_id is not None
            reports = self._waiting_reports(connection, outbound_id, message_id or "") if is_shown else []
            failure = failure_in(reports)
            outcome, why = (state, reason) if failure is None else ("dead", failure.reason)
            found = {**values, "reason": why, "reported": failure is not None}
            if connection.execute(_SETTLE[outcome], found).rowcount == 0:
                return Settled()
            if instead is not None:
                connection.execute(_REWRITE, (_encode(instead), _edited_by(instead), outbound_id))
            reported = apply_waiting(connection, outbound_id, reports, now)
            return Settled(_add_notice(connection, notice, outbound_id, now), reported)

        return await self._write(settle)

    async def ready_numbers(self, channel: str, account: str, *, after_id: int, limit: int) -> list[int]:
        values = (channel, account, after_id, limit)
        return await self._read(lambda connection: [number for (number,) in connection.execute(_READY_NUMBERS, values)])

    async def ready_among(self, outbound_ids: Sequence[int]) -> list[OutboundRow]:
        values = (_encode(list(outbound_ids)).decode(),)
        return await self._read(lambda connection: OUTBOUND_ROWS.select(connection, _READY_AMONG, values))

    async def recover_outbound(
        self,
        accounts: Collection[Account],
        *,
        stale_before: float,
        now: float,
        resend: ResendRule | None = None,
        notice: NoticeRule | None = None,
    ) -> OutboxStatus:
        of = {"accounts": accounts_value(accounts)}
        stale = {**of, "now": now, "before": stale_before}

        def recover(connection: sqlite3.Connection) -> OutboxStatus:
            unknown: dict[int, str | None] = {}
            for row in OUTBOUND_ROWS.select(connection, _CUT_ROWS, of):
                if resend is not None and resend(replace(row, doubt_since=row.doubt_after_cut)):
                    connection.execute(_RESEND, (RESEND.reason, row.id))
                else:
                    unknown[row.id] = CUT.reason
            unknown |= {number: LEAVE_IN_DOUBT_AT_START.reason for (number,) in connection.execute(_STALE_IN_DOUBT, stale)}
            connection.execute(_PARK, {**stale, "reason": PARK_AT_START.reason})
            connection.executemany(_END_UNKNOWN, [(reason, now, number) for number, reason in unknown.items()])
            for outbound_id in sorted(unknown):
                _add_notice(connection, notice, outbound_id, now)
            return OutboxStatus(**dict(connection.execute(_COUNT)))

        return await self._write(recover)

    async def get_outbound(self, outbound_id: int) -> OutboundRow | None:
        return await self._read(lambda connection: OUTBOUND_ROWS.find(connection, "id = ?", (outbound_id,)))

    async def outbound_by(
        self, key: OutboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[OutboundRow]:
        return await self._read(lambda connection: OUTBOUND_ROWS.select(connection, *newest_by(key, value, account, limit))[::-1])


def _add_notice(connection: sqlite3.Connection, rule: NoticeRule | None, outbound_id: int, now: float) -> OutboundRow | None:
    if rule is None:
        return None
    [row] = OUTBOUND_ROWS.select(connection, "id = ?", (outbound_id,))
    draft = rule(row, OUTBOUND_ROWS.select(connection, "turn_id = ? ORDER BY id", (row.turn_id,)))
    return None if draft is None else insert_outbound(connection, draft, now)


def _edited_by(payload: OutboundPayload) -> int | None:
    return payload.of if isinstance(payload, EditText) else None


def insert_outbound(connection: sqlite3.Connection, draft: OutboundDraft, now: float) -> OutboundRow:
    """Runs within the transaction of the caller."""
    cursor = connection.execute(
        _INSERT,
        (
            draft.channel,
            draft.account,
            draft.conversation,
            str(draft.payload.peer),
            now,
            now,
            draft.turn_id,
            draft.subject,
            _edited_by(draft.payload),
            _encode(draft.payload),
        ),
    )
    assert cursor.lastrowid is not None
    return OutboundRow(
        id=cursor.lastrowid,
        channel=draft.channel,
        account=draft.account,
        conversation=draft.conversation,
        payload=draft.payload,
        state=_NEW,
        attempts=0,
        created_at=now,
        turn_id=draft.turn_id,
        subject=draft.subject,
        queued_at=now,
    )
