"""An upgrade is preceded by a copy, and takes whatever an older release has written."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite import open_store, run_inline
from gatewayd.stores.sqlite.engine.files import open_files
from gatewayd.stores.sqlite.engine.upgrade import copy_of, upgrade
from gatewayd.stores.sqlite.migrations import migrate, schema_version, scripts
from gatewayd.testing.store_contract.rows import envelope
from tests.stores.sqlite.engine.test_upgrade import insert_old

VERSION = 4


def make_old(directory: Path) -> Path:
    directory.mkdir(mode=0o700, exist_ok=True)
    path = directory / "gatewayd.db"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        migrate(connection, scripts()[:VERSION])
        insert_old(connection, "1", b"{}")
    return path


def dump(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


def test_a_store_is_copied_before_it_is_upgraded(tmp_path: Path) -> None:
    path = make_old(tmp_path)
    before = dump(path)
    copy_of(path, 2).write_text("of an earlier upgrade")
    copy_of(path, 3).with_suffix(".version-3.new").write_text("of one that was cut")
    open_files(tmp_path).close()
    copies = list(tmp_path.glob("*.version-*"))
    assert copies == [copy_of(path, VERSION)]
    assert dump(copies[0]) == before
    assert copies[0].stat().st_mode & 0o777 == 0o600
    copies[0].unlink()
    open_files(tmp_path).close()
    assert list(tmp_path.glob("*.version-*")) == [], "there is nothing to upgrade any more"


def test_the_copy_is_a_store_of_its_version(tmp_path: Path) -> None:
    path = make_old(tmp_path / "state")
    open_files(tmp_path / "state").close()
    back = tmp_path / "back"
    back.mkdir(mode=0o700)
    copy_of(path, VERSION).rename(back / "gatewayd.db")
    with closing(sqlite3.connect(back / "gatewayd.db")) as connection:
        assert schema_version(connection) == VERSION
    files = open_files(back)
    assert files.reader.execute("SELECT event_key FROM inbound").fetchall() == [("1",)]
    files.close()


def test_a_migration_that_fails_leaves_the_store_and_its_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_old(tmp_path)
    before = dump(path)
    broken = (*scripts()[:VERSION], scripts()[VERSION] + "DROP TABLE nowhere;")
    monkeypatch.setattr("gatewayd.stores.sqlite.migrations.scripts", lambda: broken)
    with pytest.raises(StoreRefused, match="nowhere"):
        open_files(tmp_path)
    assert dump(path) == dump(copy_of(path, VERSION)) == before
    monkeypatch.undo()
    open_files(tmp_path).close()


def test_without_room_for_it_nothing_is_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = make_old(tmp_path)
    before = dump(path)
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=1, f_frsize=4096))
    with pytest.raises(StoreRefused, match=r"that needs \d+ MiB on the disk, and 0 MiB are free") as refused:
        open_files(tmp_path)
    assert refused.value.may_pass
    assert dump(path) == before
    assert list(tmp_path.glob("*.version-*")) == []


def test_a_connection_is_as_before_after_an_upgrade(tmp_path: Path) -> None:
    path = make_old(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        cache = connection.execute("PRAGMA cache_size").fetchone()
        upgrade(connection, path)
        assert connection.execute("PRAGMA cache_size").fetchone() == cache
        assert connection.execute("PRAGMA temp_store").fetchone() == (2,)


async def test_values_of_other_types_do_not_stop_the_start(tmp_path: Path) -> None:
    path = make_old(tmp_path)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("INSERT INTO token VALUES ('d', 'token', 'me', 'operator', ?, 1.0, NULL)", (b'["admin"]',))
        connection.execute("INSERT INTO event VALUES (7, 'soon', 'kind', '{}')")
        connection.execute("DELETE FROM inbound")
        for number, key in enumerate([b"k", "k", "other"], 2):
            connection.execute(
                "INSERT INTO inbound (id, channel, account, event_key, peer, state, attempts, received_at, envelope)"
                " VALUES (?, 'telegram', 'main', ?, 'dm:42', 'received', 'many', 10.0, ?)",
                (number, key, '{"text": "no envelope"}' if key == "other" else sqlite3.Binary(b"{}")),
            )
        connection.execute("DELETE FROM inbound WHERE event_key = 'other'")
    async with open_store(tmp_path, now=lambda: 1.0, run_blocking=run_inline) as store:
        token = await store.get_token("d")
        assert token is not None
        assert token.scopes == ("admin",)
        assert [(event.at, bytes(event.data)) for event in await store.events_after(0, limit=9)] == [(0.0, b"{}")]
        [new] = (await store.add_inbound([envelope("9")])).rows
        assert new.id == 5, "numbers are not used again, also when the last ones are gone"
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT id, event_key, attempts FROM inbound WHERE id < 5").fetchall() == [(2, "k", 0)]
    with closing(sqlite3.connect(copy_of(path, VERSION))) as connection:
        assert connection.execute("SELECT id FROM inbound").fetchall() == [(2,), (3,)]
