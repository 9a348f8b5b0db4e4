"""A small durable key-value store of one owner's own: of an account (poll offset, webhook secret) or of an agent."""

from typing import Protocol


class Memos(Protocol):
    """Every write returns after the commit. :raises StoreRefused: disk full or damaged; nothing was written."""

    async def load(self, key: str) -> str | None: ...

    async def save(self, key: str, value: str) -> None: ...

    async def forget(self, key: str) -> None:
        """Delete; no error when there is none."""
