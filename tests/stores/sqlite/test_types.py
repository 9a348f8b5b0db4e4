"""Each column takes values of its own type: by STRICT tables, and by CHECKs where SQLite has none."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing

import pytest

from gatewayd.stores.sqlite.migrations import HAS_STRICT, migrate, scripts, statements, with_checks

WRONG = {"TEXT": b"\xff", "BLOB": "text", "INTEGER": "text", "REAL": "text"}
RIGHT: dict[str, object] = {"TEXT": "text", "BLOB": b"blob", "INTEGER": 1, "REAL": 1.5}
ONE_OF = {
    "state": {"outbound": "ready", "inbound": "received"},
    "kind": {"token": "token", "report": "read"},
    "scope": {"approval": "once"},
}


@pytest.fixture(params=["strict", "checks"])
def connection(request: pytest.FixtureRequest) -> Iterator[sqlite3.Connection]:
    if request.param == "strict" and not HAS_STRICT:
        pytest.skip("this SQLite has no STRICT tables")
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as opened:
        if request.param == "strict":
            migrate(opened)
        else:
            for script in scripts():
                for statement in statements(script):
                    opened.execute(with_checks(statement))
        yield opened


def tables(connection: sqlite3.Connection) -> list[tuple[str, list[tuple[str, str]]]]:
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%'")
    return [
        (name, [(column, kind) for _, column, kind, *_ in connection.execute(f"PRAGMA table_info({name})")])
        for (name,) in names.fetchall()
    ]


def values_for(table: str, columns: list[tuple[str, str]]) -> dict[str, object]:
    values = {name: ONE_OF.get(name, {}).get(table, RIGHT[kind]) for name, kind in columns}
    return values | {"state": ONE_OF["state"].get(table, "pending"), "session_grant": "off"}


def insert(connection: sqlite3.Connection, table: str, columns: list[tuple[str, str]], values: dict[str, object]) -> None:
    names = [name for name, _ in columns]
    places = ", ".join(f":{name}" for name in names)
    connection.execute(f"INSERT INTO {table} ({', '.join(names)}) VALUES ({places})", values)  # noqa: S608


def test_every_column_refuses_what_is_of_another_type(connection: sqlite3.Connection) -> None:
    found = tables(connection)
    assert len(found) == 13
    for table, columns in found:
        right = values_for(table, columns)
        for name, kind in columns:
            with pytest.raises(sqlite3.Error, match=r"cannot store|CHECK|datatype mismatch"):
                insert(connection, table, columns, right | {name: WRONG[kind]})
        insert(connection, table, columns, right)


def test_both_kinds_of_tables_have_the_same_columns_and_indexes() -> None:
    found = []
    for render in (str, with_checks):
        with closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
            for script in scripts():
                for statement in statements(script):
                    connection.execute(render(statement) if HAS_STRICT else with_checks(statement))
            indexes = connection.execute("SELECT name, tbl_name, sql FROM sqlite_master WHERE type <> 'table'").fetchall()
            found.append((tables(connection), sorted(indexes, key=str)))
    assert found[0] == found[1]
