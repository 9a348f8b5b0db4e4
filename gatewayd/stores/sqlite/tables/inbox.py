"""The inbox: each envelope once, from its receipt to its end."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from gatewayd.model.lifecycle import END_INBOUND, INBOUND, INBOUND_OPEN, START_TURN, EndState, InboundReason
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.store import (
    Account,
    AccountReport,
    InboundKey,
    InboundRow,
    Journaled,
    OutboundDraft,
    OutboundRow,
    StateValue,
)
from gatewayd.stores.sqlite.engine.conditions import OF_ACCOUNTS, accounts_value, among, newest_by, quoted
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.tables.outbox import insert_outbound
from gatewayd.stores.sqlite.tables.reports import ReportTable
from gatewayd.stores.sqlite.tables.state import put_state

INBOUND_ROWS: Final = Rows("inbound", InboundRow, blobs={"envelope": msgspec.json.Decoder(InboundEnvelope)})
[_NEW] = INBOUND.made["add_inbound"]
_INSERT: Final = f"""
    INSERT INTO inbound (channel, account, event_key, given_key, peer, state, received_at, message_id, envelope)
    VALUES (?, ?, ?, ?, ?, {quoted(_NEW)}, ?, ?, ?) ON CONFLICT (channel, account, event_key) DO NOTHING
"""
_START: Final = f"""
    UPDATE inbound
    SET state = {quoted(START_TURN.target)}, attempts = attempts + 1, turn_id = ?, session_key = ?, started_at = ?
    WHERE id = ? AND {among(START_TURN.sources)}
"""
_NOTE_STOP: Final = f"UPDATE inbound SET stops = stops + 1 WHERE id = ? AND {among(INBOUND.marked['note_stop'])}"
_END: Final = f"""
    UPDATE inbound SET state = ?, reason = ?, detail = ?, ended_at = ? WHERE id = ? AND {among(END_INBOUND.sources)}
"""
_BY_EVENT: Final = "channel = ? AND account = ? AND event_key = ?"
_PENDING: Final = f"{among(INBOUND_OPEN)} AND id > :after AND {OF_ACCOUNTS} ORDER BY id LIMIT :limit"
_encode = msgspec.json.Encoder().encode


class InboxTable(ReportTable):
    async def add_inbound(
        self,
        envelopes: Sequence[InboundEnvelope],
        *,
        state: Sequence[StateValue] = (),
        reports: Sequence[AccountReport] = (),
    ) -> Journaled:
        now = self._now()

        def add(connection: sqlite3.Connection) -> Journaled:
            rows = [_insert(connection, envelope, now) for envelope in envelopes]
            for value in state:
                put_state(connection, *value)
            reported = [self._report(connection, *report, now) for report in reports]
            return Journaled([row for row in rows if row is not None], [it for it in reported if it is not None])

        return await self._write(add)

    async def find_inbound(self, channel: str, account: str, event_key: str) -> InboundRow | None:
        values = (channel, account, event_key)
        return await self._read(lambda connection: INBOUND_ROWS.find(connection, _BY_EVENT, values))

    async def get_inbound(self, inbound_id: int) -> InboundRow | None:
        return await self._read(lambda connection: INBOUND_ROWS.find(connection, "id = ?", (inbound_id,)))

    async def inbound_by(
        self, key: InboundKey, value: str, *, account: Account | None = None, limit: int | None = None
    ) -> list[InboundRow]:
        return await self._read(lambda connection: INBOUND_ROWS.select(connection, *newest_by(key, value, account, limit))[::-1])

    async def start_turn(self, inbound_ids: Sequence[int], *, turn_id: str, session_key: str) -> None:
        now = self._now()
        values = [(turn_id, session_key, now, inbound_id) for inbound_id in inbound_ids]

        def start(connection: sqlite3.Connection) -> None:
            connection.executemany(_START, values)

        await self._write(start)

    async def note_stop(self, inbound_ids: Sequence[int]) -> None:
        def note(connection: sqlite3.Connection) -> None:
            connection.executemany(_NOTE_STOP, [(inbound_id,) for inbound_id in inbound_ids])

        await self._write(note)

    async def end_inbound(
        self,
        inbound_ids: Sequence[int],
        *,
        state: EndState,
        reason: InboundReason,
        now: float,
        detail: str | None = None,
        replies: Sequence[OutboundDraft] = (),
    ) -> list[OutboundRow]:
        values = [(state, reason, detail, now, inbound_id) for inbound_id in inbound_ids]

        def end(connection: sqlite3.Connection) -> list[OutboundRow]:
            if connection.executemany(_END, values).rowcount < 1:
                return []
            return [insert_outbound(connection, draft, now) for draft in replies]

        return await self._write(end)

    async def pending_inbound(self, accounts: Collection[Account], *, after_id: int, limit: int) -> list[InboundRow]:
        values = {"accounts": accounts_value(accounts), "after": after_id, "limit": limit}
        return await self._read(lambda connection: INBOUND_ROWS.select(connection, _PENDING, values))


def _insert(connection: sqlite3.Connection, envelope: InboundEnvelope, now: float) -> InboundRow | None:
    cursor = connection.execute(
        _INSERT,
        (
            envelope.channel,
            envelope.account,
            envelope.event_key,
            envelope.given_key,
            str(envelope.peer),
            envelope.received_at or now,
            envelope.message_id,
            _encode(envelope),
        ),
    )
    if cursor.rowcount == 0 or cursor.lastrowid is None:
        return None
    return InboundRow(id=cursor.lastrowid, envelope=envelope, state=_NEW, attempts=0)
