"""The outbox: every payload from its draft to its receipt, or to the reason why there is none."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from gatewayd.model.envelope import InboundEnvelope, Peer
from gatewayd.model.payload import EditText, OutboundPayload, Receipt
from gatewayd.model.status import OutboxStatus
from gatewayd.model.subject import is_about_reply
from gatewayd.ports.store import ChatLine, OutboundDraft, OutboundRow, OutboundState
from gatewayd.stores.sqlite.columns import decode_column, peer_column
from gatewayd.stores.sqlite.tables import Tables

OUTBOUND_COLUMNS = (
    "id, channel, account, conversation, payload, state, attempts, created_at, "
    "next_attempt_at, turn_id, reason, receipt, settled_at, subject, queued_at, sending_at, closed_at"
)
_UNSETTLED: tuple[OutboundState, ...] = ("ready", "sending")
_encode = msgspec.json.Encoder().encode
# The encoder writes no white space and the tag first, and inside a text every quotation mark has a backslash before it.
_PRESS_MARK = b'"kind":"button"'
_EDIT_MARK = b'{"type":"edit_text"'
_PAYLOAD = msgspec.json.Decoder(OutboundPayload)
_RECEIPT = msgspec.json.Decoder(Receipt)
_ENVELOPE = msgspec.json.Decoder(InboundEnvelope)


class OutboxTable(Tables):
    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        return await self._write(lambda connection: [insert_outbound(connection, draft, now) for draft in drafts])

    async def mark_sending(self, outbound_id: int) -> bool:
        now = self._now()
        sql = "UPDATE outbound SET state = 'sending', attempts = attempts + 1, sending_at = ? WHERE id = ? AND state = 'ready'"
        return await self._write(lambda connection: connection.execute(sql, (now, outbound_id)).rowcount == 1)

    async def settle_outbound(
        self,
        outbound_id: int,
        state: OutboundState,
        *,
        now: float,
        reason: str | None = None,
        receipt: Receipt | None = None,
        next_attempt_at: float | None = None,
        attempt_counts: bool = True,
        notice: OutboundDraft | None = None,
    ) -> OutboundRow | None:
        sql = """
            UPDATE outbound SET state = ?, reason = ?, receipt = ?, message_id = ?, next_attempt_at = ?, settled_at = ?,
                attempts = attempts - (? AND state = 'sending')
            WHERE id = ? AND state <> 'sent'
        """
        encoded = None if receipt is None else _encode(receipt)
        settled_at = None if state in _UNSETTLED else now
        message_id = None if receipt is None else receipt.message_id
        values = (state, reason, encoded, message_id, next_attempt_at, settled_at, not attempt_counts, outbound_id)

        def settle(connection: sqlite3.Connection) -> OutboundRow | None:
            settled = connection.execute(sql, values).rowcount == 1
            return _insert_notice(connection, notice, now) if settled else None

        return await self._write(settle)

    async def ready_outbound(self, channel: str, account: str, *, after_id: int, limit: int) -> list[OutboundRow]:
        sql = f"""
            SELECT {OUTBOUND_COLUMNS} FROM outbound
            WHERE channel = ? AND account = ? AND state = 'ready' AND id > ? ORDER BY id LIMIT ?
        """
        return await self._read(lambda connection: outbound_rows(connection.execute(sql, (channel, account, after_id, limit))))

    async def recover_outbound(
        self,
        *,
        stale_before: float,
        now: float,
        resend: Collection[str] = (),
        notice: Callable[[OutboundRow], OutboundDraft | None] = lambda row: None,
    ) -> OutboxStatus:
        def recover(connection: sqlite3.Connection) -> OutboxStatus:
            for channel in resend:
                connection.execute("UPDATE outbound SET state = 'ready' WHERE state = 'sending' AND channel = ?", (channel,))
            cut = outbound_rows(
                connection.execute(f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE state = 'sending' ORDER BY id")
            )
            connection.execute(
                "UPDATE outbound SET state = 'unknown', reason = 'interrupted', settled_at = ? WHERE state = 'sending'", (now,)
            )
            connection.execute(
                """
                UPDATE outbound SET state = 'parked', reason = 'stale', settled_at = :now
                WHERE state = 'ready' AND queued_at < :before AND (next_attempt_at IS NULL OR next_attempt_at <= :now)
                """,
                {"now": now, "before": stale_before},
            )
            for row in cut:
                _insert_notice(connection, notice(row), now)
            return _count(connection)

        return await self._write(recover)

    async def list_outbound(self, states: Sequence[OutboundState], *, limit: int) -> list[OutboundRow]:
        wanted = sorted(set(states))
        # A limit per state, each read from the end of its part of the index: dead letters may be many.
        newest = " UNION ALL ".join(
            ["SELECT id FROM (SELECT id FROM outbound WHERE state = ? ORDER BY id DESC LIMIT ?)"] * len(wanted)
        )
        sql = f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE id IN ({newest}) ORDER BY id DESC LIMIT ?"
        values: list[str | int] = [value for state in wanted for value in (state, limit)]
        if not wanted:
            return []
        return await self._read(lambda connection: outbound_rows(connection.execute(sql, (*values, limit))))

    async def get_outbound(self, outbound_id: int) -> OutboundRow | None:
        sql = f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE id = ?"
        return await self._read(lambda connection: next(iter(outbound_rows(connection.execute(sql, (outbound_id,)))), None))

    async def outbound_about(self, subject: str) -> list[OutboundRow]:
        sql = f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE subject = ? ORDER BY id"
        return await self._read(lambda connection: outbound_rows(connection.execute(sql, (subject,))))

    async def replies_of(self, turn_id: str) -> list[OutboundRow]:
        sql = f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE turn_id = ? ORDER BY id"
        return await self._read(lambda connection: outbound_rows(connection.execute(sql, (turn_id,))))

    async def transcript(self, channel: str, account: str, peer: Peer, *, limit: int) -> list[ChatLine]:
        # "in" sorts before "out": of the same instant, the question comes before its answer.
        sql = """
            WITH line AS (
                SELECT * FROM (
                    SELECT 'in' AS direction, id, received_at AS at, envelope AS data, state FROM inbound
                    WHERE channel = :channel AND account = :account AND peer = :peer AND instr(envelope, :press) = 0
                    ORDER BY id DESC LIMIT :limit
                ) UNION ALL SELECT * FROM (
                    SELECT 'out' AS direction, id, created_at AS at, payload AS data, state FROM outbound
                    WHERE channel = :channel AND account = :account AND peer = :peer AND instr(payload, :edit) <> 1
                    ORDER BY id DESC LIMIT :limit
                ) ORDER BY at DESC, direction DESC, id DESC LIMIT :limit
            )
            SELECT * FROM line UNION ALL
                SELECT 'edit', id, created_at, payload, state FROM outbound
                WHERE channel = :channel AND account = :account AND peer = :peer AND instr(payload, :edit) = 1
                AND id > (SELECT min(id) FROM line WHERE direction = 'out') AND state NOT IN ('parked', 'dead')
            ORDER BY at, direction, id
        """
        values = {"channel": channel, "account": account, "peer": peer_column(peer), "limit": limit}
        marks = {"press": _PRESS_MARK, "edit": _EDIT_MARK}
        return await self._read(lambda connection: _lines(connection.execute(sql, {**values, **marks})))


def _insert_notice(connection: sqlite3.Connection, draft: OutboundDraft | None, now: float) -> OutboundRow | None:
    """One for each turn, however many of its rows it is about."""
    if draft is None:
        return None
    of_turn = connection.execute("SELECT subject FROM outbound WHERE turn_id = ?", (draft.turn_id,))
    if any(subject is not None and is_about_reply(subject) for (subject,) in of_turn):
        return None
    return insert_outbound(connection, draft, now)


def insert_outbound(connection: sqlite3.Connection, draft: OutboundDraft, now: float) -> OutboundRow:
    """Inside somebody's transaction."""
    cursor = connection.execute(
        """
        INSERT INTO outbound
            (channel, account, conversation, peer, state, created_at, queued_at, turn_id, subject, edits, payload)
        VALUES (?, ?, ?, ?, 'ready', ?, ?, ?, ?, ?, ?)
        """,
        (
            draft.channel,
            draft.account,
            draft.conversation,
            peer_column(draft.payload.peer),
            now,
            now,
            draft.turn_id,
            draft.subject,
            draft.payload.of if isinstance(draft.payload, EditText) else None,
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
        state="ready",
        attempts=0,
        created_at=now,
        turn_id=draft.turn_id,
        subject=draft.subject,
        queued_at=now,
    )


def _count(connection: sqlite3.Connection) -> OutboxStatus:
    """What a person has dropped is not counted any more. Each half has an index that holds all that is asked of it."""
    sql = """
        SELECT state, count(*) FROM outbound WHERE state IN ('ready', 'sending') GROUP BY state UNION ALL
        SELECT state, count(*) FROM outbound INDEXED BY outbound_letter
            WHERE state IN ('unknown', 'parked', 'dead') AND closed_at IS NULL GROUP BY state
    """
    return OutboxStatus(**dict(connection.execute(sql)))


def outbound_rows(cursor: sqlite3.Cursor) -> list[OutboundRow]:
    """Records of ``OUTBOUND_COLUMNS``."""
    return [outbound_row(record) for record in cursor]


def outbound_row(record: tuple[Any, ...]) -> OutboundRow:
    where = f"outbound row {record[0]}"
    row = OutboundRow(*record)
    receipt = None if record[11] is None else decode_column(_RECEIPT, record[11], where)
    return msgspec.structs.replace(row, payload=decode_column(_PAYLOAD, record[4], where), receipt=receipt)


def _lines(records: Iterable[tuple[Any, ...]]) -> list[ChatLine]:
    """The lines as they read now; an edit of a line that is not among them is passed over."""
    lines: dict[tuple[str, int], ChatLine] = {}
    edits: list[tuple[int, EditText]] = []
    for direction, row_id, at, data, state in records:
        if direction == "in":
            heard = decode_column(_ENVELOPE, data, f"inbound row {row_id}")
            line = ChatLine(direction="in", id=row_id, at=at, text=heard.text, state=state, event_key=heard.event_key)
            lines["in", row_id] = line
            continue
        payload = decode_column(_PAYLOAD, data, f"outbound row {row_id}")
        if isinstance(payload, EditText):
            edits.append((row_id, payload))
        else:
            line = ChatLine(direction="out", id=row_id, at=at, text=payload.body.text, state=state, choices=payload.choices)
            lines["out", row_id] = line
    for row_id, edit in sorted(edits, key=lambda edit: edit[0]):
        if (old := lines.get(("out", edit.of))) is not None:
            new = msgspec.structs.replace(old, text=edit.body.text, choices=edit.choices, edit=row_id)
            lines["out", edit.of] = new
    return list(lines.values())
