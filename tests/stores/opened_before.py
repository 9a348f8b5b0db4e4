"""Stores for the tests of everything else. The migrations take five times as long as it takes to open what they have made."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from gatewayd.ports.store import OutboundRow
from gatewayd.stores import sqlite
from gatewayd.stores.sqlite import RunBlocking, SqliteStore
from gatewayd.stores.sqlite.engine.directory import LOCK_NAME
from gatewayd.stores.sqlite.engine.files import open_files
from gatewayd.stores.sqlite.tables.reports import OUTBOUND_ROWS


def open_store(
    state_dir: Path, *, now: Callable[[], float], run_blocking: RunBlocking | None = None
) -> AbstractAsyncContextManager[SqliteStore]:
    """As ``gatewayd.stores.sqlite.open_store``; where nothing was, it finds an empty store that was opened and closed before."""
    if not (state_dir / LOCK_NAME).exists():
        state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        store = state_dir / "gatewayd.db"
        store.touch(0o600, exist_ok=False)
        store.write_bytes(_empty_store())
    return sqlite.open_store(state_dir, now=now, run_blocking=run_blocking)


async def every_outbound(store: SqliteStore) -> list[OutboundRow]:
    """All replies, by number. No operation of a store gives them: nothing but a test wants that many."""
    return await store._read(lambda connection: OUTBOUND_ROWS.select(connection, "1 ORDER BY id"))


@cache
def _empty_store() -> bytes:
    with TemporaryDirectory() as directory:
        open_files(Path(directory)).close()
        return (Path(directory) / "gatewayd.db").read_bytes()
