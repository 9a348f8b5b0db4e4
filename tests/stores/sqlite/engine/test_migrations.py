import sqlite3
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from gatewayd.stores.sqlite.migrations import APPLICATION_ID, migrate, newest_version, schema_version, scripts, statements

FIRST = "CREATE TABLE a (x);\nINSERT INTO a VALUES (1);"
SECOND = "ALTER TABLE a ADD COLUMN y;\nUPDATE a SET y = x + 1;"
SLOW = """CREATE TABLE c (x);
INSERT INTO c WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 50000) SELECT i FROM n;"""
BROKEN = "CREATE TABLE b (x);\nINSERT INTO nowhere VALUES (1);"


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(tmp_path / "db", isolation_level=None)) as opened:
        yield opened


def test_an_empty_file_comes_to_the_newest_version(connection: sqlite3.Connection) -> None:
    migrate(connection)
    assert schema_version(connection) == newest_version() == len(scripts())
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_each_version_starts_from_the_one_before(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    migrate(connection, [FIRST, SECOND])
    migrate(connection, [FIRST, SECOND])
    assert schema_version(connection) == 2
    assert connection.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]


def test_one_that_fails_leaves_the_version_before_it_whole(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST])
    with pytest.raises(sqlite3.OperationalError, match="nowhere"):
        migrate(connection, [FIRST, SECOND, BROKEN])
    assert schema_version(connection) == 1
    assert connection.execute("SELECT * FROM a").fetchall() == [(1,)]
    assert connection.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]
    assert not connection.in_transaction
    migrate(connection, [FIRST, SECOND])
    assert schema_version(connection) == 2


def test_a_newer_file_is_left_alone(connection: sqlite3.Connection) -> None:
    migrate(connection, [FIRST, SECOND])
    migrate(connection, [FIRST])
    assert schema_version(connection) == 2


@pytest.mark.parametrize("attempt", range(3))
def test_racing_starters_migrate_once(tmp_path: Path, attempt: int) -> None:
    starters = 8
    barrier = Barrier(starters)

    def start(_: int) -> int:
        with closing(sqlite3.connect(tmp_path / f"db-{attempt}", isolation_level=None, timeout=30)) as own:
            barrier.wait(30)
            migrate(own, [SLOW, FIRST, SECOND])
            return schema_version(own)

    with ThreadPoolExecutor(starters) as pool:
        assert list(pool.map(start, range(starters))) == [3] * starters
    with closing(sqlite3.connect(tmp_path / f"db-{attempt}")) as own:
        assert own.execute("SELECT x, y FROM a").fetchall() == [(1, 2)]


def test_a_script_is_cut_at_the_ends_of_statements() -> None:
    trigger = "CREATE TRIGGER t AFTER INSERT ON a BEGIN\n  DELETE FROM a;\n  DELETE FROM b; -- ;\nEND;"
    script = f"-- a comment; with a semicolon\nCREATE TABLE a (x);\n\n{trigger}\nINSERT INTO a VALUES (';\n');\n"
    assert [statement.strip() for statement in statements(script)] == [
        "-- a comment; with a semicolon\nCREATE TABLE a (x);",
        trigger,
        "INSERT INTO a VALUES (';\n');",
    ]


def test_an_unfinished_script_is_a_bug() -> None:
    with pytest.raises(AssertionError, match="unfinished"):
        list(statements("CREATE TABLE a (x)"))
