"""Bearer tokens, login codes and web sessions, by digest."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from typing import Any

import msgspec

from gatewayd.ports.store import TokenRow
from gatewayd.stores.sqlite.engine.columns import decode_column
from gatewayd.stores.sqlite.engine.table import Tables

_COLUMNS = "digest, kind, name, role, scopes, created_at, expires_at"
_PUT = f"INSERT OR REPLACE INTO token ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?)"
_SELECT = f"SELECT {_COLUMNS} FROM token WHERE digest = ?"
_SCOPES = msgspec.json.Decoder(tuple[str, ...])


class TokenTable(Tables):
    async def put_token(self, row: TokenRow) -> None:
        await self._write(lambda connection: _put(connection, row))

    async def get_token(self, digest: str) -> TokenRow | None:
        return await self._read(lambda connection: _row_or_none(connection, digest))

    async def take_token(self, digest: str) -> TokenRow | None:
        def take(connection: sqlite3.Connection) -> TokenRow | None:
            row = _row_or_none(connection, digest)
            connection.execute("DELETE FROM token WHERE digest = ?", (digest,))
            return row

        return await self._write(take)

    async def exchange_token(self, digest: str, row: TokenRow) -> bool:
        def exchange(connection: sqlite3.Connection) -> bool:
            there = connection.execute("DELETE FROM token WHERE digest = ?", (digest,)).rowcount > 0
            if there:
                _put(connection, row)
            return there

        return await self._write(exchange)

    async def list_tokens(self, kind: str) -> list[TokenRow]:
        sql = f"SELECT {_COLUMNS} FROM token WHERE kind = ? ORDER BY created_at, digest"
        return await self._read(lambda connection: [_row(record) for record in connection.execute(sql, (kind,))])

    async def delete_token(self, digest: str) -> None:
        await self._write(lambda connection: connection.execute("DELETE FROM token WHERE digest = ?", (digest,)).rowcount)

    async def delete_expired_tokens(self, now: float) -> int:
        sql = "DELETE FROM token WHERE expires_at <= ?"
        return await self._write(lambda connection: connection.execute(sql, (now,)).rowcount)


def _put(connection: sqlite3.Connection, row: TokenRow) -> int:
    values = (row.digest, row.kind, row.name, row.role, msgspec.json.encode(row.scopes).decode(), row.created_at, row.expires_at)
    return connection.execute(_PUT, values).rowcount


def _row_or_none(connection: sqlite3.Connection, digest: str) -> TokenRow | None:
    record = connection.execute(_SELECT, (digest,)).fetchone()
    return None if record is None else _row(record)


def _row(record: tuple[Any, ...]) -> TokenRow:
    row = TokenRow(*record)
    return msgspec.structs.replace(row, scopes=decode_column(_SCOPES, record[4].encode(), f"token {row.name}"))
