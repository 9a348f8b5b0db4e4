"""Which gateway has an account. Several may share a store, each with accounts of its own."""

import sqlite3
from collections.abc import Collection
from typing import Final

from gatewayd.ports.store import Account
from gatewayd.stores.sqlite.engine.table import Tables

_CLAIM: Final = "INSERT OR REPLACE INTO account (channel, account, gateway) VALUES (?, ?, ?)"
_CLAIMED: Final = "SELECT channel, account FROM account WHERE gateway = ? ORDER BY channel, account"


class AccountTable(Tables):
    async def claim_accounts(self, gateway: str, accounts: Collection[Account]) -> list[Account]:
        def claim(connection: sqlite3.Connection) -> list[Account]:
            connection.executemany(_CLAIM, [(*account, gateway) for account in accounts])
            return connection.execute(_CLAIMED, (gateway,)).fetchall()

        return await self._write(claim)
