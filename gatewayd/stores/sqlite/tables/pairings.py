"""Pairings: strangers who asked to talk, and the decisions about them."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from typing import Final

import msgspec

from gatewayd.model.errors import Conflict
from gatewayd.model.lifecycle import PAIRED, PAIRING, PAIRING_OPEN, PairingDecision, PairingState
from gatewayd.model.message.envelope import Peer
from gatewayd.model.records.pairing import PairingRow
from gatewayd.stores.sqlite.engine.conditions import among, outside
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables

_PAIRINGS: Final = Rows("pairing", PairingRow, name="sender_id", blobs={"peer": msgspec.json.Decoder(Peer)})
_OF_SENDER: Final = "channel = ? AND account = ? AND sender_id = ?"
_FORGET_EXPIRED: Final = f"DELETE FROM pairing WHERE {among(PAIRING.deleted['add_pairing'])} AND expires_at <= ?"
_ASKED_BY: Final = f"{_OF_SENDER} AND {among(PAIRING_OPEN)}"
_WITH_CODE: Final = f"code = ? AND {among(PAIRING_OPEN)}"
_LIST: Final = f"state = ? AND ({outside(PAIRING_OPEN)} OR expires_at > ?) ORDER BY id LIMIT ?"
_REVOKE: Final = f"DELETE FROM pairing WHERE {_OF_SENDER} AND {among(PAIRED)}"


class PairingTable(Tables):
    async def add_pairing(self, row: PairingRow) -> PairingRow:
        def add(connection: sqlite3.Connection) -> PairingRow:
            connection.execute(_FORGET_EXPIRED, (row.created_at,))
            sender = (row.channel, row.account, row.sender_id)
            asked = _PAIRINGS.find(connection, _ASKED_BY, sender)
            if asked is not None:
                return asked
            if _PAIRINGS.find(connection, _WITH_CODE, (row.code,)) is not None:
                raise Conflict("another sender holds this pairing code")
            _PAIRINGS.insert(connection, row)
            return row

        return await self._write(add)

    async def decide_pairing(self, code: str, state: PairingDecision, *, by: str, now: float) -> PairingRow | None:
        def decide(connection: sqlite3.Connection) -> PairingRow | None:
            asked = _PAIRINGS.find(connection, f"{_WITH_CODE} AND expires_at > ?", (code, now))
            if asked is None:
                return None
            sender = (asked.channel, asked.account, asked.sender_id)
            connection.execute(f"DELETE FROM pairing WHERE {_OF_SENDER}", sender)
            decided = msgspec.structs.replace(asked, state=state, decided_at=now, decided_by=by)
            _PAIRINGS.insert(connection, decided)
            return decided

        return await self._write(decide)

    async def list_pairings(self, state: PairingState, *, limit: int) -> list[PairingRow]:
        values = (state, self._now(), limit)
        return await self._read(lambda connection: _PAIRINGS.select(connection, _LIST, values))

    async def revoke_pairing(self, channel: str, account: str, sender_id: str) -> bool:
        values = (channel, account, sender_id)
        return await self._write(lambda connection: connection.execute(_REVOKE, values).rowcount > 0)
