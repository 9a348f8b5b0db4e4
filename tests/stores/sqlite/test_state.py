"""The state of accounts and agents in a store of the release before, whose table had another name."""

import sqlite3
from contextlib import closing
from pathlib import Path

from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.stores.sqlite.engine.upgrade import copy_of
from gatewayd.stores.sqlite.migrations import migrate, scripts

BEFORE = 6


async def test_state_of_the_release_before_is_kept(tmp_path: Path) -> None:
    directory = tmp_path / "state"
    directory.mkdir(mode=0o700)
    path = directory / "gatewayd.db"
    rows = [("@agents", "assistant", "session/s1", "{}"), ("telegram", "main", "offset.1", "5")]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        migrate(connection, scripts()[:BEFORE])
        connection.executemany("INSERT INTO memo VALUES (?, ?, ?, ?)", rows)
    for _ in range(2):
        async with open_store(directory, now=lambda: 100.0, run_blocking=run_inline) as store:
            assert await store.load_state("telegram", "main", "offset.1") == "5"
            assert await store.load_state("@agents", "assistant", "session/s1") == "{}"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT * FROM state").fetchall() == rows
        assert connection.execute("SELECT name FROM sqlite_master WHERE name LIKE '%memo%'").fetchall() == []
    with closing(sqlite3.connect(copy_of(path, BEFORE))) as before:
        assert before.execute("SELECT * FROM memo").fetchall() == rows
