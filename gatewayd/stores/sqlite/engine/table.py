"""The base of all tables: the writer, the reader and the clock."""

import sqlite3
from collections.abc import Callable
from typing import TypeVar

from gatewayd.stores.sqlite.engine.reader import Reader
from gatewayd.stores.sqlite.engine.writer import Writer

T = TypeVar("T")


class Tables:
    """Base of the class of each concern. ``SqliteStore`` inherits all of them, because the port is one object."""

    def __init__(self, writer: Writer, reader: Reader, now: Callable[[], float]) -> None:
        self._writer = writer
        self._reader = reader
        self._now = now

    async def _write(self, operation: Callable[[sqlite3.Connection], T]) -> T:
        """``operation`` runs in a transaction and in a worker thread; returns after the commit."""
        return await self._writer.submit(operation)

    async def _read(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """``query`` runs in a worker thread and reads only."""
        return await self._reader.fetch(query)
