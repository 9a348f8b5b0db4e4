"""The state of accounts and agents, and which gateway an account belongs to. Several gateways may share a store."""

import sqlite3
from collections.abc import Collection
from typing import Final

from gatewayd.ports.store import Account
from gatewayd.stores.sqlite.engine.table import Tables

_CLAIM: Final = "INSERT OR REPLACE INTO account (channel, account, gateway) VALUES (?, ?, ?)"
_CLAIMED: Final = "SELECT channel, account FROM account WHERE gateway = ? ORDER BY channel, account"


class StateTable(Tables):
    async def claim_accounts(self, gateway: str, accounts: Collection[Account]) -> list[Account]:
        def claim(connection: sqlite3.Connection) -> list[Account]:
            connection.executemany(_CLAIM, [(*account, gateway) for account in accounts])
            return connection.execute(_CLAIMED, (gateway,)).fetchall()

        return await self._write(claim)

    async def load_state(self, channel: str, account: str, key: str) -> str | None:
        sql = "SELECT value FROM state WHERE channel = ? AND account = ? AND key = ?"
        record = await self._read(lambda connection: connection.execute(sql, (channel, account, key)).fetchone())
        return None if record is None else str(record[0])

    async def save_state(self, channel: str, account: str, key: str, value: str) -> None:
        await self._write(lambda connection: put_state(connection, channel, account, key, value))

    async def forget_state(self, channel: str, account: str, key: str) -> None:
        sql = "DELETE FROM state WHERE channel = ? AND account = ? AND key = ?"
        await self._write(lambda connection: connection.execute(sql, (channel, account, key)).rowcount)


def put_state(connection: sqlite3.Connection, channel: str, account: str, key: str, value: str) -> None:
    """Runs within the transaction of the caller."""
    connection.execute(
        "INSERT OR REPLACE INTO state (channel, account, key, value) VALUES (?, ?, ?, ?)", (channel, account, key, value)
    )
