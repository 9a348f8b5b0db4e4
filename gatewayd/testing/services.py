"""What the hub hands to every driver, in memory: a log, a clock and a state."""

import structlog
import trio
from structlog.typing import FilteringBoundLogger


class ServicesInMemory:
    """``kept`` is the driver's state. It outlives the driver, as the store does."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}

    @property
    def state(self) -> "ServicesInMemory":
        return self

    @property
    def log(self) -> FilteringBoundLogger:
        log: FilteringBoundLogger = structlog.get_logger()
        return log

    def now(self) -> float:
        return 1_800_000_000.0 + trio.current_time()

    async def load(self, key: str) -> str | None:
        await trio.lowlevel.checkpoint()
        return self.kept.get(key)

    async def save(self, key: str, value: str) -> None:
        await trio.lowlevel.checkpoint()
        self.kept[key] = value

    async def forget(self, key: str) -> None:
        await trio.lowlevel.checkpoint()
        self.kept.pop(key, None)
