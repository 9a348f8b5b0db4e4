"""The session map: which of the agent core's sessions belongs to a session key."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

from msgspec.structs import astuple

from gatewayd.ports.store import SessionRow
from gatewayd.stores.sqlite.tables import Tables

_COLUMNS = "session_key, agent_id, session_id, generation, created_at, last_used_at, core, left_over"


class SessionTable(Tables):
    async def get_session(self, session_key: str) -> SessionRow | None:
        sql = f"SELECT {_COLUMNS} FROM session WHERE session_key = ?"
        record = await self._read(lambda connection: connection.execute(sql, (session_key,)).fetchone())
        return None if record is None else SessionRow(*record)

    async def put_session(self, row: SessionRow) -> None:
        sql = f"INSERT OR REPLACE INTO session ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?)"
        await self._write(lambda connection: connection.execute(sql, astuple(row)).rowcount)

    async def list_sessions(self, *, limit: int) -> list[SessionRow]:
        sql = f"SELECT {_COLUMNS} FROM session ORDER BY last_used_at DESC, session_key LIMIT ?"
        records = await self._read(lambda connection: connection.execute(sql, (limit,)).fetchall())
        return [SessionRow(*record) for record in records]
