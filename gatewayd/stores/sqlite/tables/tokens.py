"""Bearer tokens, login codes and web sessions, by digest."""

import sqlite3
from typing import Final

import msgspec

from gatewayd.ports.store import TokenRow
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables

_TOKENS: Final = Rows("token", TokenRow, name="name", texts={"scopes": msgspec.json.Decoder(tuple[str, ...])})


class TokenTable(Tables):
    async def put_token(self, row: TokenRow) -> None:
        await self._write(lambda connection: _TOKENS.insert(connection, row, verb="INSERT OR REPLACE"))

    async def get_token(self, digest: str) -> TokenRow | None:
        return await self._read(lambda connection: _TOKENS.find(connection, "digest = ?", (digest,)))

    async def take_token(self, digest: str) -> TokenRow | None:
        def take(connection: sqlite3.Connection) -> TokenRow | None:
            row = _TOKENS.find(connection, "digest = ?", (digest,))
            connection.execute("DELETE FROM token WHERE digest = ?", (digest,))
            return row

        return await self._write(take)

    async def exchange_token(self, digest: str, row: TokenRow) -> bool:
        def exchange(connection: sqlite3.Connection) -> bool:
            there = connection.execute("DELETE FROM token WHERE digest = ?", (digest,)).rowcount > 0
            if there:
                _TOKENS.insert(connection, row, verb="INSERT OR REPLACE")
            return there

        return await self._write(exchange)

    async def list_tokens(self, kind: str) -> list[TokenRow]:
        return await self._read(lambda connection: _TOKENS.select(connection, "kind = ? ORDER BY created_at, digest", (kind,)))

    async def delete_token(self, digest: str) -> None:
        await self._write(lambda connection: connection.execute("DELETE FROM token WHERE digest = ?", (digest,)).rowcount)

    async def delete_expired_tokens(self, now: float) -> int:
        sql = "DELETE FROM token WHERE expires_at <= ?"
        return await self._write(lambda connection: connection.execute(sql, (now,)).rowcount)
