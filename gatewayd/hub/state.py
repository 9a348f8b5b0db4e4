"""The memos of one owner: an account, or an agent."""

from gatewayd.model.records.storable import refuse_unusable_memo
from gatewayd.ports.store import MemoRows

OF_AGENTS = "@agents"
"""Stands where a channel's name stands for an account's memos; no channel can be called that."""


class OwnMemos:
    """``gatewayd.ports.memos.Memos`` over the store's rows."""

    def __init__(self, rows: MemoRows, channel: str, account: str) -> None:
        self._rows = rows
        self._channel = channel
        self._account = account

    async def load(self, key: str) -> str | None:
        return await self._rows.load_memo(self._channel, self._account, key)

    async def save(self, key: str, value: str) -> None:
        refuse_unusable_memo(key, value)
        await self._rows.save_memo(self._channel, self._account, key, value)

    async def forget(self, key: str) -> None:
        await self._rows.forget_memo(self._channel, self._account, key)
