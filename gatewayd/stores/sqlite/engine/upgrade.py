"""The upgrade of a store of an older release: a copy of the file first, then the migrations."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Final

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite.migrations import migrate, newest_version, schema_version

DISK_SPACE_FACTOR: Final = 3
"""An upgrade needs this many times the size of the file on the disk: for the copy, the log, and the new tables beside the old."""
_WHILE_IT_LASTS: Final = ("PRAGMA temp_store = FILE", "PRAGMA cache_size = -32768")
"""Sort indexes in files. In memory, those of a large store would exceed the limit of the service."""
_AFTERWARDS: Final = ("PRAGMA temp_store = MEMORY", "PRAGMA cache_size = -2000")


def upgrade(connection: sqlite3.Connection, path: Path) -> None:
    """Bring the open file at ``path`` to the newest version. Blocks for some 25 s for each million rows. When the process is
    killed meanwhile, the file has the old version completely, and the next start begins the upgrade again.

    :raises StoreRefused: the disk has too little space. May raise sqlite3.Error and OSError; then nothing has changed.
    """
    version = schema_version(connection)
    if version >= newest_version():
        return
    _refuse_without_disk_space(path)
    _copy(connection, path, version)
    for pragma in _WHILE_IT_LASTS:
        connection.execute(pragma)
    migrate(connection)
    for pragma in _AFTERWARDS:
        connection.execute(pragma)


def copy_of(path: Path, version: int) -> Path:
    """The path of the copy of a store of this version. There is one copy: the next upgrade replaces it."""
    return path.with_name(f"{path.name}.version-{version}")


def _refuse_without_disk_space(path: Path) -> None:
    needed = DISK_SPACE_FACTOR * path.stat().st_size
    disk = os.statvfs(path.parent)
    free = disk.f_bavail * disk.f_frsize
    if free < needed:
        raise StoreRefused(
            f"{path} is of an older release, and is copied before it is upgraded: that needs {needed >> 20} MiB on the disk, "
            f"and {free >> 20} MiB are free. The file was not changed",
            may_pass=True,
        )


def _copy(connection: sqlite3.Connection, path: Path, version: int) -> None:
    """The copy gets its name when it is complete and synced."""
    copy = copy_of(path, version)
    unborn = copy.with_name(copy.name + ".new")
    unborn.unlink(missing_ok=True)
    file = os.open(unborn, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with closing(sqlite3.connect(unborn, isolation_level=None)) as target:
            target.execute("PRAGMA journal_mode = OFF")
            target.execute("PRAGMA synchronous = OFF")  # it is synced as a whole
            connection.backup(target)
        os.fsync(file)
    finally:
        os.close(file)
    unborn.rename(copy)
    for older in path.parent.glob(f"{path.name}.version-*"):
        if older != copy:
            older.unlink()
