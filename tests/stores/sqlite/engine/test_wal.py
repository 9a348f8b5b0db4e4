"""A write-ahead log that lost commits is told from one that a crash has cut short."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.stores.sqlite.engine.wal import damage_of

COMMITS = 12
HEADER, FRAME = 32, 24 + 4096


@pytest.fixture(scope="module")
def written() -> Iterator[Path]:
    """A database whose log holds that many commits, of one page to several, and behind them what an earlier use has left."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "a.db"
        with closing(sqlite3.connect(path, isolation_level=None)) as connection:
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("PRAGMA synchronous = FULL")
            connection.execute("PRAGMA wal_autocheckpoint = 0")
            connection.execute("CREATE TABLE t (number INTEGER, filling BLOB)")
            for number in range(80):
                connection.execute("INSERT INTO t VALUES (?, zeroblob(3000))", (-number,))
            connection.execute("DELETE FROM t")
            connection.execute("PRAGMA wal_checkpoint(RESTART)")
            for number in range(COMMITS):
                connection.execute("INSERT INTO t VALUES (?, randomblob(?))", (number, 1 + 9000 * (number % 3)))
            copy = Path(folder) / "copy"
            copy.mkdir()
            for file in (path, log_of(path)):
                shutil.copy(file, copy)
        yield copy / "a.db"


def log_of(database: Path) -> Path:
    return database.with_name(database.name + "-wal")


def frames_in_use(database: Path) -> int:
    """How many frames SQLite reads."""
    with TemporaryDirectory() as folder:
        for file in (database, log_of(database)):
            shutil.copy(file, folder)
        with closing(sqlite3.connect(Path(folder) / database.name)) as connection:
            frames: int = connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()[1]
    return frames


def commits_read(database: Path) -> int:
    """How many of the commits SQLite still finds."""
    with closing(sqlite3.connect(database)) as connection:
        numbers = [number for (number,) in connection.execute("SELECT number FROM t WHERE number >= 0 ORDER BY number")]
    assert numbers == list(range(len(numbers)))
    return len(numbers)


def test_a_whole_log_with_old_frames_behind_is_whole(written: Path) -> None:
    assert (log_of(written).stat().st_size - HEADER) // FRAME > frames_in_use(written) > COMMITS
    assert damage_of(log_of(written)) is None


@given(where=st.floats(0, 1, exclude_max=True), mask=st.integers(1, 255))
def test_any_byte_that_changed_is_found_or_cost_the_last_commit_at_most(written: Path, where: float, mask: int) -> None:
    in_use = HEADER + frames_in_use(written) * FRAME
    with TemporaryDirectory() as folder:
        database = Path(folder) / "a.db"
        for file in (written, log_of(written)):
            shutil.copy(file, folder)
        data = bytearray(log_of(written).read_bytes())
        data[int(where * in_use)] ^= mask
        log_of(database).write_bytes(data)
        if damage_of(log_of(database)) is None:
            assert commits_read(database) >= COMMITS - 1


@given(keep=st.floats(0, 1))
def test_a_log_that_was_cut_short_anywhere_is_none_that_is_damaged(written: Path, keep: float) -> None:
    with TemporaryDirectory() as folder:
        log = Path(folder) / "a.db-wal"
        data = log_of(written).read_bytes()
        log.write_bytes(data[: int(len(data) * keep)])
        assert damage_of(log) is None


@given(lost=st.sets(st.integers(0, 4)))
def test_a_last_commit_of_which_any_pages_did_not_reach_the_disk_is_none_that_is_damaged(written: Path, lost: set[int]) -> None:
    in_use = frames_in_use(written)
    with TemporaryDirectory() as folder:
        log = Path(folder) / "a.db-wal"
        data = bytearray(log_of(written).read_bytes())
        # The last commit is of five pages: 18,000 bytes.
        for number in lost:
            begin = HEADER + (in_use - 1 - number) * FRAME
            data[begin : begin + FRAME] = bytes(FRAME)
        log.write_bytes(data)
        assert damage_of(log) is None
