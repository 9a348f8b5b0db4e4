import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

import pytest
import trio

from gatewayd.model.errors import StoreRefused
from gatewayd.ports.store import Store
from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.stores.sqlite.engine import files as store_files
from gatewayd.stores.sqlite.engine.files import open_files

T = TypeVar("T")


def pragma(connection: sqlite3.Connection, name: str) -> object:
    return connection.execute(f"PRAGMA {name}").fetchone()[0]


def test_commits_are_durable(tmp_path: Path) -> None:
    with closing(open_files(tmp_path)) as files:
        assert pragma(files.writer, "journal_mode") == "wal"
        assert pragma(files.writer, "synchronous") == 2  # FULL
        assert pragma(files.writer, "foreign_keys") == 1
        assert pragma(files.writer, "busy_timeout") == 5000


def test_a_clean_stop_leaves_one_whole_file(tmp_path: Path) -> None:
    open_files(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gatewayd.db", "gatewayd.lock"]


@pytest.mark.parametrize("leftover", ["gatewayd.db.new", "gatewayd.db.new-journal", "gatewayd.db.new-wal"])
def test_a_first_start_that_was_cut_short_is_done_again(tmp_path: Path, leftover: str) -> None:
    (tmp_path / leftover).write_bytes(b"half of something")
    (tmp_path / "gatewayd.lock").write_text("4711\n")
    open_files(tmp_path).close()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["gatewayd.db", "gatewayd.lock"]


def test_a_path_may_hold_what_means_something_in_a_uri(tmp_path: Path) -> None:
    directory = tmp_path / "what? 100%#1 ü"
    open_files(directory).close()
    with closing(open_files(directory)) as files:
        files.writer.execute("INSERT INTO state VALUES ('a', 'b', 'c', 'd')")
        assert files.reader.execute("SELECT value FROM state").fetchone() == ("d",)


def test_a_relative_path_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    open_files(Path("state")).close()
    assert (tmp_path / "state" / "gatewayd.db").exists()


def test_a_file_system_without_a_log_is_refused_in_words(tmp_path: Path) -> None:
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(StoreRefused, match="give a state_dir on a local disk"),
    ):
        store_files._use_log(connection, tmp_path)


def test_an_old_sqlite_is_refused_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 7, 15))
    with pytest.raises(StoreRefused, match=r"gatewayd needs 3\.24\.0 or newer"):
        open_files(tmp_path / "state")
    assert not (tmp_path / "state").exists()


def test_a_directory_in_the_files_place_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / "gatewayd.db").mkdir()
    with pytest.raises(StoreRefused, match=r"gatewayd\.db cannot be read: Is a directory"):
        open_files(tmp_path)


def test_opening_and_refusing_leaks_no_descriptor(tmp_path: Path) -> None:
    def count() -> int:
        return len(os.listdir("/proc/self/fd"))

    open_files(tmp_path).close()
    before = count()
    for _ in range(5):
        with closing(open_files(tmp_path)), pytest.raises(StoreRefused):
            open_files(tmp_path)
    (tmp_path / "gatewayd.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(StoreRefused):
        open_files(tmp_path)
    assert count() == before


async def test_the_object_is_a_store(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as opened:
        store: Store = opened
        statistics = store.statistics()
    assert statistics.healthy
    assert statistics.queue_depth == 0
    assert statistics.last_error is None


async def test_a_cancelled_start_gives_everything_back(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_store(tmp_path, now=lambda: 0.0):
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    async with open_store(tmp_path, now=lambda: 0.0) as store:
        await store.save_state("telegram", "main", "offset", "1")
        assert await store.load_state("telegram", "main", "offset") == "1"


async def test_a_start_cancelled_while_it_opens_gives_everything_back(tmp_path: Path) -> None:
    async def run_blocking(work: Callable[[], T], /) -> T:
        result = work()
        await trio.lowlevel.checkpoint()
        return result

    with trio.CancelScope() as scope:
        scope.cancel()
        async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_blocking):
            await trio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    open_files(tmp_path).close()


async def test_a_refused_start_is_not_in_a_group(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0):
        with pytest.raises(StoreRefused, match="in use by process"):
            async with open_store(tmp_path, now=lambda: 0.0):
                pytest.fail("opened twice")
