"""The outbox: each payload from its draft to its receipt or its error."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Mapping, Sequence
from typing import Final, get_args

import msgspec

from gatewayd.model.lifecycle import (
    CUT,
    OUTBOUND,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OPEN,
    PARK_AT_START,
    RESEND,
    SEND,
    SendOutcome,
)
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt
from gatewayd.model.status import OutboxStatus
from gatewayd.ports.store import Account, NoticeRule, OutboundDraft, OutboundKey, OutboundRow
from gatewayd.stores.sqlite.engine.conditions import OF_ACCOUNTS, accounts_value, among, newest_by, quoted
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables

OUTBOUND_ROWS: Final = Rows(
    "outbound",
    OutboundRow,
    blobs={"payload": msgspec.json.Decoder(OutboundPayload), "receipt": msgspec.json.Decoder(Receipt)},
)
[_NEW] = OUTBOUND.made["add_outbound"]
_INSERT: Final = f"""
    INSERT INTO outbound (channel, account, conversation, peer, state, created_at, queued_at, turn_id, subject, edits, payload)
    VALUES (?, ?, ?, ?, {quoted(_NEW)}, ?, ?, ?, ?, ?, ?)
"""
_SEND: Final = f"""
    UPDATE outbound SET state = {quoted(SEND.target)}, attempts = attempts + 1, sending_at = ?
    WHERE id = ? AND {among(SEND.sources)}
"""
_SETTLE: Final[Mapping[SendOutcome, str]] = {
    outcome: f"""
        UPDATE outbound SET state = {quoted(outcome)}, reason = ?, receipt = ?, message_id = ?, next_attempt_at = ?,
            settled_at = ?, attempts = attempts - (? AND {among([SEND.target])})
        WHERE id = ? AND {among(OUTBOUND.sources("settle_outbound", outcome))}
    """
    for outcome in get_args(SendOutcome)
}
_REWRITE: Final = "UPDATE outbound SET payload = ?, edits = ? WHERE id = ?"
_READY_NUMBERS: Final = f"""
    SELECT id FROM outbound WHERE channel = ? AND account = ? AND {among(SEND.sources)} AND id > ? ORDER BY id LIMIT ?
"""
_READY_AMONG: Final = f"id IN (SELECT value FROM json_each(?)) AND +{among(SEND.sources)} ORDER BY id"
_RESEND: Final = f"""
    UPDATE outbound SET state = {quoted(RESEND.target)}
    WHERE {among(RESEND.sources)} AND {OF_ACCOUNTS} AND channel IN (SELECT value FROM json_each(:resend))
"""
_SELECT_CUT: Final = f"SELECT id FROM outbound WHERE {among(CUT.sources)} AND {OF_ACCOUNTS} ORDER BY id"
_CUT: Final = f"""
    UPDATE outbound SET state = {quoted(CUT.target)}, reason = :reason, settled_at = :now
    WHERE {among(CUT.sources)} AND {OF_ACCOUNTS}
"""
_PARK: Final = f"""
    UPDATE outbound SET state = {quoted(PARK_AT_START.target)}, reason = :reason, settled_at = :now
    WHERE {among(PARK_AT_START.sources)} AND {OF_ACCOUNTS} AND queued_at < :before
        AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
"""
# Dropped rows are not counted. Each half is read from an index that covers it.
_COUNT: Final = f"""
    SELECT state, count(*) FROM outbound WHERE {among(OUTBOUND_OPEN)} GROUP BY state UNION ALL
    SELECT state, count(*) FROM outbound INDEXED BY outbound_dead_letter
        WHERE {among(OUTBOUND_DEAD_LETTERS)} AND closed_at IS NULL GROUP BY state
"""
_encode = msgspec.json.Encoder().encode


class OutboxTable(Tables):
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
        notice: NoticeRule | None = None,
    ) -> OutboundRow | None:
        encoded = None if receipt is None else _encode(receipt)
        settled_at = None if state in OUTBOUND_OPEN else now
        message_id = None if receipt is None else receipt.message_id
        values = (reason, encoded, message_id, next_attempt_at, settled_at, not attempt_counts, outbound_id)

        def settle(connection: sqlite3.Connection) -> OutboundRow | None:
            settled = connection.execute(_SETTLE[state], values).rowcount == 1
            if settled and instead is not None:
                connection.execute(_REWRITE, (_encode(instead), _edited_by(instead), outbound_id))
            return _add_notice(connection, notice, outbound_id, now) if settled else None

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
        resend: Collection[str] = (),
        notice: NoticeRule | None = None,
    ) -> OutboxStatus:
        of = {"accounts": accounts_value(accounts)}

        def recover(connection: sqlite3.Connection) -> OutboxStatus:
            connection.execute(_RESEND, {**of, "resend": _encode(list(resend)).decode()})
            cut = connection.execute(_SELECT_CUT, of).fetchall()
            connection.execute(_CUT, {**of, "reason": CUT.reason, "now": now})
            connection.execute(_PARK, {**of, "reason": PARK_AT_START.reason, "now": now, "before": stale_before})
            for (outbound_id,) in cut:
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
