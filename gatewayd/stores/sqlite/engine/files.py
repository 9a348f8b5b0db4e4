"""Opens the store of a state directory: lock, check, upgrade, two connections."""

import os
import sqlite3
import stat
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.engine.directory import StateDirectory, hold_directory
from gatewayd.stores.sqlite.engine.errors import refusal
from gatewayd.stores.sqlite.engine.inspection import check_missing, inspect, open_read_only
from gatewayd.stores.sqlite.engine.upgrade import upgrade
from gatewayd.stores.sqlite.migrations import migrate

OLDEST_SQLITE = (3, 24, 0)  # INSERT … ON CONFLICT
LOG_BYTES_KEPT = 64 * 2**20


@dataclass(frozen=True)
class OpenFiles:
    """The open store. Only ``writer`` writes and checkpoints: SQLite before 3.51.3 may corrupt a file when two connections
    checkpoint and write at the same time (sqlite.org/wal.html, "the WAL-reset bug"). ``close`` releases the lock last.
    """

    path: Path
    writer: sqlite3.Connection
    reader: sqlite3.Connection
    checked_whole: bool
    held: ExitStack

    def close(self) -> None:
        self.held.close()


def open_files(state_dir: Path) -> OpenFiles:
    """Lock the directory, check its files, make what is missing, and upgrade. Blocks.

    :raises StoreRefused: with a sentence for the operator. The files that were found are not changed.
    """
    if sqlite3.sqlite_version_info < OLDEST_SQLITE:
        oldest = ".".join(str(number) for number in OLDEST_SQLITE)
        raise StoreRefused(f"this Python has SQLite {sqlite3.sqlite_version}; gatewayd needs {oldest} or newer")
    path = state_dir / "gatewayd.db"
    with ExitStack() as stack:
        directory = hold_directory(state_dir)
        stack.callback(directory.release)
        try:
            checked_whole = _find_or_make(directory, path)
            writer = stack.enter_context(closing(_open_writer(path)))
            upgrade(writer, path)
            reader = stack.enter_context(closing(open_read_only(path)))
        except sqlite3.Error as error:
            raise refusal(error, path) from error
        except OSError as error:
            raise StoreRefused.of_os(error, str(path)) from error
        return OpenFiles(path, writer, reader, checked_whole, stack.pop_all())


def _find_or_make(directory: StateDirectory, path: Path) -> bool:
    log = path.with_name(path.name + "-wal")
    checked_whole = True
    if path.exists():
        checked_whole = inspect(path, log)
        if stat.S_IMODE(path.stat().st_mode) & 0o077:
            path.chmod(0o600)  # a copy that came back from a backup; SQLite gives -wal and -shm the same mode
    else:
        check_missing(path, log, store_was_made=directory.store_was_made)
        _make(path)
    directory.note_store()
    return checked_whole


def _make(path: Path) -> None:
    """Make the database under another name and rename it: an interruption leaves a complete file or none.

    So an empty file, or one without a header, is always damage and never an interrupted first start.
    """
    unborn = path.with_name(path.name + ".new")
    for leftover in unborn.parent.glob(unborn.name + "*"):
        leftover.unlink()
    os.close(os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    with closing(sqlite3.connect(unborn, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous = FULL")
        migrate(connection)
        _use_log(connection, unborn)
    unborn.rename(path)
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _open_writer(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        _use_log(connection, path)
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA fullfsync = ON")  # macOS: fsync alone does not reach the disk there
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute("PRAGMA trusted_schema = OFF")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute(f"PRAGMA journal_size_limit = {LOG_BYTES_KEPT}")
    except BaseException:
        connection.close()
        raise
    return connection


def _use_log(connection: sqlite3.Connection, path: Path) -> None:
    mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
    if mode != "wal":
        raise StoreRefused(
            f"{path}: the file system there cannot hold SQLite's write-ahead log (journal mode {mode}); "
            "give a state_dir on a local disk"
        )
