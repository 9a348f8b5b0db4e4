"""What is found at start: damage is refused in words, and left as it was."""

import random
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
import trio

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.stores.sqlite.engine import inspection
from gatewayd.stores.sqlite.engine.files import open_files
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, draft, envelope


def contents(directory: Path) -> dict[str, bytes]:
    """What holds data: not the lock, which names each attempt, and not SQLite's index of the log or an empty log."""
    files = [directory / name for name in ("gatewayd.db", "gatewayd.db-wal")]
    return {path.name: path.read_bytes() for path in files if path.exists() and path.stat().st_size > 0}


async def make_stores(alive: Path, killed: Path) -> None:
    """One that is closed, with some rows, and the files of it that a kill would have left: all rows are in the log only."""
    async with open_store(alive, now=lambda: 0.0, run_blocking=run_inline) as store:
        await store.add_inbound([envelope(str(number), text="x" * 500) for number in range(200)])
        shutil.copytree(alive, killed)


@pytest.fixture
def closed(tmp_path: Path) -> Path:
    """A state directory after a clean stop."""
    trio.run(make_stores, tmp_path / "closed", tmp_path / "killed")
    return tmp_path / "closed"


@pytest.fixture
def killed(closed: Path) -> Path:
    """A state directory after a kill."""
    return closed.with_name("killed")


def overwrite(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(offset)
        file.write(data)


def noise(length: int) -> bytes:
    return random.Random(length).randbytes(length)


def cut_in_half(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)


def replace_by_another_database(path: Path) -> None:
    path.unlink()
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE somebody_elses (x)")


DAMAGES: dict[str, tuple[Callable[[Path], object], str]] = {
    "noise": (lambda path: path.write_bytes(noise(50_000)), "it is not an SQLite file"),
    "text": (lambda path: path.write_text("hello"), "it is not an SQLite file"),
    "empty": (lambda path: path.write_bytes(b""), "the file is empty"),
    "only the magic": (lambda path: path.write_bytes(b"SQLite format 3\0"), "the file is cut off"),
    "half": (cut_in_half, "is damaged: "),
    "a page of noise": (lambda path: overwrite(path, 20 * 4096, noise(4096)), "is damaged: "),
    "a page of zeros": (lambda path: overwrite(path, 20 * 4096, bytes(4096)), "is damaged: "),
    "zeros in the head": (lambda path: overwrite(path, 16, bytes(84)), "is damaged: "),
    "another program's": (replace_by_another_database, "not one of gatewayd's"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_refused_and_left_as_it_was(closed: Path, name: str) -> None:
    damage, words = DAMAGES[name]
    damage(closed / "gatewayd.db")
    before = contents(closed)
    for _ in range(2):  # the second time to see that the lock was given back
        with pytest.raises(StoreRefused) as refused:
            open_files(closed)
        assert words in refused.value.reason
        assert str(closed / "gatewayd.db") in refused.value.reason
        assert contents(closed) == before


def test_the_words_say_what_to_do_and_doing_it_helps(closed: Path) -> None:
    shutil.copytree(closed, closed.parent / "backup")
    cut_in_half(closed / "gatewayd.db")
    with pytest.raises(StoreRefused, match=r"restore the file from a backup, or move gatewayd\.db\* and gatewayd\.lock away"):
        open_files(closed)
    shutil.copy(closed.parent / "backup" / "gatewayd.db", closed)
    open_files(closed).close()
    for path in [*closed.glob("gatewayd.db*"), closed / "gatewayd.lock"]:
        path.unlink()
    open_files(closed).close()


def test_a_lost_database_is_not_a_first_start(closed: Path) -> None:
    (closed / "gatewayd.db").unlink()
    with pytest.raises(StoreRefused, match=r"gatewayd\.db is missing, but gatewayd\.lock says"):
        open_files(closed)
    assert not (closed / "gatewayd.db").exists()


def test_a_log_without_its_database_is_not_a_first_start(killed: Path) -> None:
    (killed / "gatewayd.db").unlink()
    (killed / "gatewayd.lock").unlink()
    before = contents(killed)
    with pytest.raises(StoreRefused, match=r"gatewayd\.db is missing, but its log gatewayd\.db-wal is there"):
        open_files(killed)
    assert contents(killed) == before


async def test_what_was_committed_before_a_kill_is_there(killed: Path) -> None:
    async with open_store(killed, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert len(await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=1000)) == 200


@pytest.mark.parametrize("offset", [0, 4, 16, 24])
def test_a_log_with_a_garbage_header_is_refused(killed: Path, offset: int) -> None:
    overwrite(killed / "gatewayd.db-wal", offset, b"\xa5\x5a\xa5\x5a")
    before = contents(killed)
    with pytest.raises(StoreRefused, match=r"the header of its log gatewayd\.db-wal is garbage"):
        open_files(killed)
    assert contents(killed) == before


@pytest.mark.parametrize("length", [0, 10, 32, 500])
async def test_a_log_too_short_for_a_commit_lost_nothing(closed: Path, length: int) -> None:
    (closed / "gatewayd.db-wal").write_bytes(noise(length))
    async with open_store(closed, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert len(await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=1000)) == 200


def test_tables_that_this_sqlite_does_not_know_are_no_damage(closed: Path) -> None:
    with closing(sqlite3.connect(closed / "gatewayd.db")) as connection, connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = 'CREATE STRICT TABLE event(seq)' WHERE name = 'event'")
    with pytest.raises(StoreRefused, match=r"was written with SQLite 3\.37 or newer, .* The file is whole"):
        open_files(closed)


def test_a_newer_releases_file_is_refused_and_left_as_it_was(closed: Path) -> None:
    with closing(sqlite3.connect(closed / "gatewayd.db")) as connection:
        connection.execute("PRAGMA user_version = 4711")
    before = contents(closed)
    with pytest.raises(StoreRefused, match=r"written by a newer release of gatewayd \(schema 4711, this one knows"):
        open_files(closed)
    assert contents(closed) == before


async def test_a_large_file_is_checked_in_part_and_says_so(closed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_store(closed, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert store.statistics().checked_whole
    monkeypatch.setattr(inspection, "WHOLE_CHECK_BYTES", 4096)
    async with open_store(closed, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert not store.statistics().checked_whole


async def test_damage_met_later_is_refused_by_the_call_that_meets_it_and_told_until_the_end(
    closed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "WHOLE_CHECK_BYTES", 4096)
    path = closed / "gatewayd.db"
    for page in range(60, path.stat().st_size // 4096):  # behind the schema and the roots of all trees
        overwrite(path, page * 4096, noise(4096))
    async with open_store(closed, now=lambda: 0.0, run_blocking=run_inline) as store:
        told: list[str | None] = []
        store.watch(told.append)
        with pytest.raises(StoreRefused, match=r"gatewayd\.db: the file is damaged \(SQLITE_CORRUPT"):
            await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=1000)
        assert not store.statistics().healthy
        with pytest.raises(StoreRefused, match=r"gatewayd\.db: the file is damaged .*; nothing was stored"):
            await store.add_inbound([envelope(f"new-{number}", text="x" * 500) for number in range(1000)])
        await store.add_outbound([draft("what is not damaged is still of use")], now=1.0)
        assert not store.statistics().healthy
        assert ["damaged" in (reason or "") for reason in told] == [True]
