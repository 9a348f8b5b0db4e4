"""Turns SQLite's errors into StoreRefused with a sentence for the operator."""

import sqlite3
from pathlib import Path

from gatewayd.model.errors import StoreRefused

_WORDS = {
    sqlite3.SQLITE_FULL: "the disk is full",
    sqlite3.SQLITE_IOERR: "the disk reported an I/O error",
    sqlite3.SQLITE_CORRUPT: "the file is damaged",
    sqlite3.SQLITE_NOTADB: "the file is damaged",
    sqlite3.SQLITE_READONLY: "the file cannot be written",
    sqlite3.SQLITE_CANTOPEN: "the file cannot be opened",
    sqlite3.SQLITE_PERM: "the file cannot be opened",
    sqlite3.SQLITE_AUTH: "the file cannot be opened",
    sqlite3.SQLITE_BUSY: "another program holds the file locked",
    sqlite3.SQLITE_LOCKED: "another program holds the file locked",
    sqlite3.SQLITE_PROTOCOL: "another program holds the file locked",
    sqlite3.SQLITE_NOMEM: "out of memory",
    sqlite3.SQLITE_INTERRUPT: "interrupted",
}

_MAY_PASS = frozenset(
    (
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_INTERRUPT,
    )
)


def is_about_the_file(error: BaseException) -> bool:
    """True: the file or the machine has failed, and with it the whole transaction. False: one statement was wrong (a
    constraint, a parameter)."""
    return _primary_code(error) in _WORDS


def is_damage(error: sqlite3.Error) -> bool:
    """Whether the file is damaged. A later statement that succeeds is no proof that it is whole."""
    return _primary_code(error) in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


def refusal(error: sqlite3.Error, path: Path) -> StoreRefused:
    """The error as a StoreRefused that names the file."""
    words = _WORDS.get(_primary_code(error), "SQLite refused")
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    return StoreRefused(f"{path}: {words} ({name}: {error})", may_pass=_primary_code(error) in _MAY_PASS)


def _primary_code(error: BaseException) -> int:
    # The low byte of an extended result code is the primary one (sqlite.org/rescode.html). Errors that the sqlite3 module
    # raises by itself carry none.
    code: int = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR)
    return code & 0xFF
