"""A small durable key-value store of one owner's own: of an account (poll offset, webhook secret) or of an agent."""

from typing import Protocol


class Memos(Protocol):
    """Every write returns after the commit. :raises StoreRefused: disk full or damaged; nothing was written."""

    async def load(self, key: str) -> str | None: ...

    async def save(self, key: str, value: str) -> None:
        """:raises UnusableId: the key is longer than 2,048 bytes or has a NUL character, or the value is no Unicode."""

    async def forget(self, key: str) -> None:
        """Delete; no error when there is none."""
