"""Strangers who asked to talk, and whom an operator let in."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from typing import Any, Literal

import msgspec

from gatewayd.model.envelope import Peer
from gatewayd.model.errors import Conflict
from gatewayd.ports.store import PairingRow
from gatewayd.stores.sqlite.columns import decode_column
from gatewayd.stores.sqlite.tables import Tables

_COLUMNS = "code, channel, account, sender_id, sender_name, peer, state, created_at, expires_at, decided_at, decided_by"
_PEER = msgspec.json.Decoder(Peer)


class PairingTable(Tables):
    async def add_pairing(self, row: PairingRow) -> PairingRow:
        def add(connection: sqlite3.Connection) -> PairingRow:
            connection.execute("DELETE FROM pairing WHERE state = 'pending' AND expires_at <= ?", (row.created_at,))
            sender = (row.channel, row.account, row.sender_id)
            asked = _select(connection, "channel = ? AND account = ? AND sender_id = ? AND state = 'pending'", sender)
            if asked is not None:
                return asked
            if _select(connection, "code = ? AND state = 'pending'", (row.code,)) is not None:
                raise Conflict("another sender holds this pairing code")
            _insert(connection, row)
            return row

        return await self._write(add)

    async def decide_pairing(self, code: str, state: Literal["approved", "denied"], *, by: str, now: float) -> PairingRow | None:
        def decide(connection: sqlite3.Connection) -> PairingRow | None:
            asked = _select(connection, "code = ? AND state = 'pending' AND expires_at > ?", (code, now))
            if asked is None:
                return None
            sender = (asked.channel, asked.account, asked.sender_id)
            connection.execute("DELETE FROM pairing WHERE channel = ? AND account = ? AND sender_id = ?", sender)
            decided = msgspec.structs.replace(asked, state=state, decided_at=now, decided_by=by)
            _insert(connection, decided)
            return decided

        return await self._write(decide)

    async def list_pairings(self, state: Literal["pending", "approved", "denied"], *, limit: int) -> list[PairingRow]:
        sql = f"SELECT {_COLUMNS} FROM pairing WHERE state = ? AND (state <> 'pending' OR expires_at > ?) ORDER BY id LIMIT ?"
        values = (state, self._now(), limit)
        return await self._read(lambda connection: [_row(record) for record in connection.execute(sql, values)])

    async def is_paired(self, channel: str, account: str, sender_id: str) -> bool:
        sql = "SELECT 1 FROM pairing WHERE channel = ? AND account = ? AND sender_id = ? AND state = 'approved'"
        values = (channel, account, sender_id)
        return await self._read(lambda connection: connection.execute(sql, values).fetchone() is not None)

    async def revoke_pairing(self, channel: str, account: str, sender_id: str) -> bool:
        sql = "DELETE FROM pairing WHERE channel = ? AND account = ? AND sender_id = ? AND state = 'approved'"
        return await self._write(lambda connection: connection.execute(sql, (channel, account, sender_id)).rowcount > 0)


def _insert(connection: sqlite3.Connection, row: PairingRow) -> None:
    values = msgspec.structs.asdict(row) | {"peer": msgspec.json.encode(row.peer)}
    places = ", ".join(f":{column}" for column in _COLUMNS.split(", "))
    connection.execute(f"INSERT INTO pairing ({_COLUMNS}) VALUES ({places})", values)


def _select(connection: sqlite3.Connection, condition: str, values: tuple[str | float, ...]) -> PairingRow | None:
    record = connection.execute(f"SELECT {_COLUMNS} FROM pairing WHERE {condition}", values).fetchone()
    return None if record is None else _row(record)


def _row(record: tuple[Any, ...]) -> PairingRow:
    row = PairingRow(*record)
    return msgspec.structs.replace(row, peer=decode_column(_PEER, record[5], f"pairing of {row.sender_id}"))
