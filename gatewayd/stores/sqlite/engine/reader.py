"""The reader: queries on a connection of their own, which do not wait for a running commit."""

import sqlite3
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import anyio

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.engine.blocking import RunBlocking
from gatewayd.stores.sqlite.engine.errors import is_about_the_file, is_damage, refusal

T = TypeVar("T")


class Reader:
    """Owns the reading connection and runs one query at a time, in a thread of ``run_blocking``.

    A SELECT sees one state of the file: at least all commits that were done before the call.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, run_blocking: RunBlocking, damaged: Callable[[StoreRefused], None]
    ) -> None:
        """``damaged`` is called in the event loop when a query finds the file damaged."""
        self._connection = connection
        self._path = path
        self._run_blocking = run_blocking
        self._damaged = damaged
        self._lock = anyio.Lock()
        self._closed = False

    async def fetch(self, query: Callable[[sqlite3.Connection], T]) -> T:
        """:raises StoreRefused: the file cannot be read, or the store is closed."""
        async with self._lock:
            if self._closed:
                raise StoreRefused(f"{self._path}: the store is closed")
            try:
                return await self._run_blocking(partial(self._query, query))
            except StoreRefused as refused:
                if isinstance(refused.__cause__, sqlite3.Error) and is_damage(refused.__cause__):
                    self._damaged(refused)
                raise

    async def close(self) -> None:
        """Wait for the running query, and refuse later ones."""
        async with self._lock:
            self._closed = True

    def _query(self, query: Callable[[sqlite3.Connection], T]) -> T:
        try:
            return query(self._connection)
        except sqlite3.Error as error:
            if is_about_the_file(error):
                raise refusal(error, self._path) from error
            raise
