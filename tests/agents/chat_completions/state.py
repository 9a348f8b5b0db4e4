"""State of an agent that outlives its core, but not the test."""

from gatewayd.model.errors import StoreRefused


class StateInMemory:
    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.writes = 0
        self.full = False

    async def load(self, key: str) -> str | None:
        return self.rows.get(key)

    async def save(self, key: str, value: str) -> None:
        if self.full:
            raise StoreRefused("the disk is full; nothing was stored")
        self.writes += 1
        self.rows[key] = value

    async def forget(self, key: str) -> None:
        self.rows.pop(key, None)
