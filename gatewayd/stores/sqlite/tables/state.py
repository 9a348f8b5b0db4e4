"""Each owner's own small values: an account's poll offset or webhook secret, what an agent core must know after a crash."""

import sqlite3

from gatewayd.stores.sqlite.engine.table import Tables


class StateTable(Tables):
    async def load_state(self, channel: str, account: str, key: str) -> str | None:
        sql = "SELECT value FROM state WHERE channel = ? AND account = ? AND key = ?"
        record = await self._read(lambda connection: connection.execute(sql, (channel, account, key)).fetchone())
        return None if record is None else str(record[0])

    async def save_state(self, channel: str, account: str, key: str, value: str) -> None:
        await self._write(lambda connection: put_state(connection, channel, account, key, value))

    async def forget_state(self, channel: str, account: str, key: str) -> None:
        sql = "DELETE FROM state WHERE channel = ? AND account = ? AND key = ?"

        def forget(connection: sqlite3.Connection) -> None:
            connection.execute(sql, (channel, account, key))

        await self._write(forget)


def put_state(connection: sqlite3.Connection, channel: str, account: str, key: str, value: str) -> None:
    """Inside somebody's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO state (channel, account, key, value) VALUES (?, ?, ?, ?)", (channel, account, key, value)
    )
