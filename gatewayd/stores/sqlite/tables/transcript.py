"""The newest messages and replies of one conversation, over both tables."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from typing import Final

from msgspec.json import Decoder

from gatewayd.model.lifecycle import NEVER_SEEN
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import OutboundPayload
from gatewayd.ports.store import TranscriptRow
from gatewayd.stores.sqlite.engine.conditions import outside
from gatewayd.stores.sqlite.engine.rows import decode_column
from gatewayd.stores.sqlite.engine.table import Tables

# "in" sorts before "out": at the same time, the message comes before its reply.
_TRANSCRIPT: Final = f"""
    WITH line AS (
        SELECT * FROM (
            SELECT 'in' AS direction, id, received_at AS at, envelope AS data, state FROM inbound
            WHERE channel = :channel AND account = :account AND peer = :peer AND instr(envelope, :press) = 0
                AND instr(envelope, :reaction) = 0 AND instr(envelope, :deleted) = 0
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
        AND id > (SELECT min(id) FROM line WHERE direction = 'out') AND {outside(NEVER_SEEN)}
    ORDER BY at, direction, id
"""
# The encoder writes the tag first and no white space. Within a text every quotation mark has a backslash before it.
_MARKS = {
    "press": b'"kind":"button"',
    "reaction": b'"kind":"reaction"',
    "deleted": b'"kind":"deleted"',
    "edit": b'{"type":"edit_text"',
}
_ENVELOPE: Final = Decoder(InboundEnvelope)
_PAYLOAD: Final = Decoder(OutboundPayload)


class TranscriptTable(Tables):
    async def transcript(self, channel: str, account: str, peer: Peer, *, limit: int) -> list[TranscriptRow]:
        values = {"channel": channel, "account": account, "peer": str(peer), "limit": limit}

        def read(connection: sqlite3.Connection) -> list[TranscriptRow]:
            records = connection.execute(_TRANSCRIPT, {**values, **_MARKS})
            return [
                TranscriptRow(row_id, at, state, _content(direction, row_id, data))
                for direction, row_id, at, data, state in records
            ]

        return await self._read(read)


def _content(direction: str, row_id: int, data: bytes) -> InboundEnvelope | OutboundPayload:
    if direction == "in":
        return decode_column(_ENVELOPE, data, f"inbound row {row_id}")
    payload: OutboundPayload = decode_column(_PAYLOAD, data, f"outbound row {row_id}")
    return payload
