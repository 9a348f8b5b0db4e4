"""The check of an existing file at start. It only reads: a refused file is not changed.

It cannot see two kinds of damage: a damaged last commit of the write-ahead log, because a power cut leaves the same; and changed
bytes within a text.
"""

import sqlite3
from contextlib import closing
from pathlib import Path

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.engine.directory import LOCK_NAME
from gatewayd.stores.sqlite.engine.errors import refusal
from gatewayd.stores.sqlite.engine.wal import damage_of
from gatewayd.stores.sqlite.migrations import APPLICATION_ID, newest_version, schema_version

WHOLE_CHECK_BYTES = 256 * 2**20
"""Up to this size the whole file is checked (about 0.3 s for 400 MB in the page cache). Of a larger file the header, the log
and the schema are checked; damage elsewhere is reported by the operation that finds it."""

_MAGIC = b"SQLite format 3\x00"


def inspect(path: Path, log: Path) -> bool:
    """Check an existing store. True: all of it was read; False: it is too large for that.

    :raises StoreRefused: it is no store of gatewayd, is damaged, or is of a newer release.
    """
    try:
        _check_head(path, log)
        _check_log(path, log)
        with closing(open_read_only(path)) as connection:
            return _check_inside(connection, path)
    except sqlite3.Error as error:
        if 'near "STRICT"' in str(error):  # as an SQLite without such tables says it: https://sqlite.org/stricttables.html
            raise StoreRefused(
                f"{path} was written with SQLite 3.37 or newer, and this Python has {sqlite3.sqlite_version}, which cannot read "
                f"it: run gatewayd with a newer SQLite. The file is whole"
            ) from error
        raise _damaged(path, refusal(error, path).reason) from error
    except OSError as error:
        raise StoreRefused.of_os(error, f"{path} cannot be read") from error


def open_read_only(path: Path) -> sqlite3.Connection:
    """A connection that neither writes nor checkpoints. The caller closes it. Raises sqlite3.Error."""
    # absolute: as_uri wants it; it quotes what a URI would take for itself, such as "?"
    uri = f"{path.absolute().as_uri()}?mode=ro"
    connection = sqlite3.connect(uri, uri=True, timeout=5.0, isolation_level=None, check_same_thread=False)
    connection.execute("PRAGMA temp_store = MEMORY")
    return connection


def check_missing(path: Path, log: Path, *, store_was_made: bool) -> None:
    """Check that a missing database file means a first start.

    :raises StoreRefused: there is a log without its database, or the directory had a store.
    """
    if log.exists() and log.stat().st_size > 0:
        raise StoreRefused(f"{path} is missing, but its log {log.name} is there and may hold messages. {_cure(path)}")
    if store_was_made:
        raise StoreRefused(f"{path} is missing, but {LOCK_NAME} says that this directory had a store. {_cure(path)}")


def _check_head(path: Path, log: Path) -> None:
    with path.open("rb") as file:
        head = file.read(100)  # the database header (SQLite file format, section 1.3)
    if not head:
        raise _damaged(path, "the file is empty")
    if not head.startswith(_MAGIC):
        raise _damaged(path, "it is not an SQLite file")
    if len(head) < 100:
        raise _damaged(path, "the file is cut off")
    # SQLite would read zeros behind the end. A crash in a checkpoint may leave half a page, but then the log has the whole page.
    page_bytes = int.from_bytes(head[16:18], "big")
    if path.stat().st_size % max(page_bytes, 512) and not (log.exists() and log.stat().st_size):
        raise _damaged(path, "the file is cut off in the middle of a page")


def _check_log(path: Path, log: Path) -> None:
    """SQLite reads a damaged log as an empty or a shorter one, and reports no error: commits would be lost."""
    if log.exists() and (found := damage_of(log)) is not None:
        raise _damaged(path, found)


def _check_inside(connection: sqlite3.Connection, path: Path) -> bool:
    if connection.execute("PRAGMA application_id").fetchone()[0] != APPLICATION_ID:
        raise StoreRefused(f"{path} is an SQLite file, but not one of gatewayd's: move it away, or give another state_dir")
    version = schema_version(connection)
    if version > newest_version():
        raise StoreRefused(
            f"{path} was written by a newer release of gatewayd (schema {version}, this one knows {newest_version()}): "
            "install that release, or restore the copy that it made before (gatewayd.db.version-N). The file was not changed"
        )
    connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if path.stat().st_size > WHOLE_CHECK_BYTES:
        return False
    found = [str(line) for (line,) in connection.execute("PRAGMA quick_check(5)")]
    if found != ["ok"]:
        raise _damaged(path, "; ".join(found))
    return True


def _damaged(path: Path, found: str) -> StoreRefused:
    return StoreRefused(f"{path} is damaged: {found}. {_cure(path)}")


def _cure(path: Path) -> str:
    return (
        "gatewayd does not start over on lost messages: restore the file from a backup, "
        f"or move {path.name}* and {LOCK_NAME} away to start empty"
    )
