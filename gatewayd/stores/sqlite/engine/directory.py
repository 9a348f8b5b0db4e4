"""The state directory. One user owns it, and one process at a time uses it."""

import fcntl
import os
import stat
from pathlib import Path

from gatewayd.model.errors import StoreRefused

LOCK_NAME = "gatewayd.lock"
_ROOT = 0
_STORE_MADE = "gatewayd.db was made here; without it gatewayd does not start over by itself"


class StateDirectory:
    """A state directory that this process has locked with ``hold_directory``, until ``release``.

    The lock is flock(2) on ``gatewayd.lock``. The kernel releases it when the process ends in any way; the file may stay. Its
    first line is the process id. Its second line says that a store was made here: so a lost file is not taken for a first
    start.
    """

    def __init__(self, path: Path, lock_file: int, *, store_was_made: bool) -> None:
        self.path = path
        self.store_was_made = store_was_made
        self._lock_file = lock_file

    def note_store(self) -> None:
        """Note in the lock file that the store was made. Durable on return."""
        if not self.store_was_made:
            self.store_was_made = True
            self.write_note()

    def write_note(self) -> None:
        note = f"{os.getpid()}\n" + (f"{_STORE_MADE}\n" if self.store_was_made else "")
        os.pwrite(self._lock_file, note.encode(), 0)
        os.ftruncate(self._lock_file, len(note.encode()))
        os.fsync(self._lock_file)

    def release(self) -> None:
        os.close(self._lock_file)


def hold_directory(path: Path) -> StateDirectory:
    """Make the directory (mode 0700) if it is missing, and lock it. An existing directory keeps its mode: it may have other
    files.

    :raises StoreRefused: it cannot be made or written, others can write there, or another process has locked it.
    """
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        _refuse_others(path, path.stat())
        if (path / LOCK_NAME).is_symlink():
            raise StoreRefused(f"{path / LOCK_NAME} is a symbolic link: remove it, gatewayd makes its lock itself")
        lock_file = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise StoreRefused.of_os(error, f"the state directory {path} cannot be written") from error
    try:
        return _lock(path, lock_file)
    except BaseException:
        os.close(lock_file)
        raise


def who_can_read(path: Path) -> str | None:
    """A warning if other users can read the state directory; None: they cannot. gatewayd's own files are private, but files of
    agents may not be."""
    mode = path.stat().st_mode
    if not mode & (stat.S_IRWXG | stat.S_IRWXO):
        return None
    return f"others can look into the state directory {path} (mode {stat.S_IMODE(mode):04o}): chmod 700 {path}"


def _refuse_others(path: Path, found: os.stat_result) -> None:
    """Another user who can write in the directory could replace the store, or put a link to another file there.

    :raises StoreRefused: another user owns the directory or can write there.
    """
    own = f"or name one that gatewayd makes itself, such as --state-dir {path}/gatewayd"
    us = os.geteuid()
    if found.st_uid not in (us, _ROOT):
        raise StoreRefused(
            f"the state directory {path} belongs to user {found.st_uid}, and gatewayd runs as user {us}: chown {us} {path}, {own}"
        )
    if (mode := stat.S_IMODE(found.st_mode)) & (stat.S_IWGRP | stat.S_IWOTH):
        raise StoreRefused(f"others can write in the state directory {path} (mode {mode:04o}): chmod 700 {path}, {own}")


def _lock(path: Path, lock_file: int) -> StateDirectory:
    try:
        fcntl.flock(lock_file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        note = _note(lock_file)
        directory = StateDirectory(path, lock_file, store_was_made=len(note) > 1)
        directory.write_note()
    except BlockingIOError as error:
        holder = next(iter(_note(lock_file)), "")
        process = f"process {holder}" if holder.isdecimal() else "another process"
        raise StoreRefused(
            f"the state directory {path} is in use by {process}: stop that one first, or give this one another state_dir"
        ) from error
    except OSError as error:
        raise StoreRefused.of_os(error, f"the state directory {path} cannot be locked") from error
    return directory


def _note(lock_file: int) -> list[str]:
    return os.pread(lock_file, 4096, 0).decode("utf-8", "replace").splitlines()
