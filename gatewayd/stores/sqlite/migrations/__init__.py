"""Forward-only migrations: ``NNNN_name.sql`` brings the schema from version NNNN - 1 to NNNN.

``PRAGMA user_version`` is the number of the last one. The missing ones run in one transaction together with the new number, so a
crash leaves the old or the new version completely. A released file is never edited. There is no way back but a backup.
"""

import re
import sqlite3
from collections.abc import Iterator, Sequence
from functools import cache
from importlib.resources import files
from typing import Final

APPLICATION_ID = 0x67747764
"""In the header of every store of gatewayd (SQLite file format, section 1.3.9): "gtwd"."""
HAS_STRICT: Final = sqlite3.sqlite_version_info >= (3, 37)
_STRICT_TABLE: Final = re.compile(r"(CREATE TABLE .*)\n\)( WITHOUT ROWID)?(?:,? STRICT);\s*", re.DOTALL)
_COLUMN: Final = re.compile(r"^    (\w+) (INTEGER|REAL|TEXT|BLOB)\b(?! PRIMARY KEY AUTOINCREMENT)", re.MULTILINE)


@cache
def scripts() -> tuple[str, ...]:
    """The migrations' SQL, in order: the first brings an empty file to version 1."""
    found = sorted((entry for entry in files(__name__).iterdir() if entry.name.endswith(".sql")), key=lambda entry: entry.name)
    numbers = [int(entry.name.partition("_")[0]) for entry in found]
    assert numbers == list(range(1, len(found) + 1)), f"migrations are not numbered without gaps: {numbers}"
    return tuple(entry.read_text("utf-8") for entry in found)


def newest_version() -> int:
    return len(scripts())


def schema_version(connection: sqlite3.Connection) -> int:
    version: int = connection.execute("PRAGMA user_version").fetchone()[0]
    return version


def migrate(connection: sqlite3.Connection, migrations: Sequence[str] | None = None) -> None:
    """Bring an open file (autocommit mode) to the newest version. Raises sqlite3.Error; then the version is as before.

    Any number of processes may do so at once: the version is read again under the write lock. All missing migrations are one
    transaction, so an interrupted upgrade leaves a file that the older release can still use.
    """
    migrations = scripts() if migrations is None else migrations
    if schema_version(connection) >= len(migrations):
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        for version in range(schema_version(connection), len(migrations)):
            for statement in statements(migrations[version]):
                connection.execute(statement if HAS_STRICT else with_checks(statement))
            connection.execute(f"PRAGMA user_version = {version + 1}")
        connection.execute("COMMIT")
    finally:
        if connection.in_transaction:
            connection.execute("ROLLBACK")


def statements(script: str) -> Iterator[str]:
    """Cut a script into its statements. ``Connection.executescript`` would do it, but it commits first."""
    statement = ""
    for line in script.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
    assert not statement.strip(), f"an unfinished statement at the end of a migration: {statement!r}"


def with_checks(statement: str) -> str:
    """The statement for an SQLite without STRICT tables: a CHECK for the type of each column. Other statements stay as they
    are."""
    found = _STRICT_TABLE.fullmatch(statement.lstrip())
    if found is None:
        return statement
    table, without_rowid = found.groups()
    checks = [f"    CHECK (typeof({name}) IN ('{kind.lower()}', 'null'))" for name, kind in _COLUMN.findall(table)]
    return ",\n".join([table, *checks]) + f"\n){without_rowid or ''};"
