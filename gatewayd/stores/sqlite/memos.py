"""Each account's own small values: a poll offset, a webhook secret."""

import sqlite3

from gatewayd.stores.sqlite.tables import Tables


class MemoTable(Tables):
    async def load_memo(self, channel: str, account: str, key: str) -> str | None:
        sql = "SELECT value FROM memo WHERE channel = ? AND account = ? AND key = ?"
        record = await self._read(lambda connection: connection.execute(sql, (channel, account, key)).fetchone())
        return None if record is None else str(record[0])

    async def save_memo(self, channel: str, account: str, key: str, value: str) -> None:
        await self._write(lambda connection: save_memo(connection, channel, account, key, value))


def save_memo(connection: sqlite3.Connection, channel: str, account: str, key: str, value: str) -> None:
    """Inside somebody's transaction."""
    connection.execute(
        "INSERT OR REPLACE INTO memo (channel, account, key, value) VALUES (?, ?, ?, ?)", (channel, account, key, value)
    )
