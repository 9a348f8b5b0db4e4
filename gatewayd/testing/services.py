"""What the hub hands to every driver, in memory: a log, a clock and a state."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import BytesIO

import structlog
import trio
from structlog.typing import FilteringBoundLogger

from gatewayd.model.errors import SendRejected
from gatewayd.model.message.payload import SendFile


class FileInMemory:
    """An ``OutgoingFile`` in memory."""

    def __init__(self, data: bytes) -> None:
        self._file = BytesIO(data)

    async def read(self, at_most_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        return self._file.read(at_most_bytes)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(65_536)
        if not data:
            raise StopAsyncIteration
        return data


class ServicesInMemory:
    """``kept`` is the driver's state. It outlives the driver, as the store does. ``files`` are the files to send, by their
    ``SendFile.file``."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.files: dict[str, bytes] = {}

    @asynccontextmanager
    async def open_file(self, payload: SendFile) -> AsyncIterator[FileInMemory]:
        await trio.lowlevel.checkpoint()
        data = self.files.get(payload.file)
        if data is None or len(data) != payload.size_bytes:
            raise SendRejected("the file is gone, or is not what was written")
        yield FileInMemory(data)

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
