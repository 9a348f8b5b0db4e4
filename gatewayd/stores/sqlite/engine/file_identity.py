"""Recognises that the database or its log was removed or replaced while it is open.

SQLite goes on writing to a file that has no name any more, and reports no error. The next start does not find what was written.
"""

import os
from pathlib import Path


class FileIdentity:
    """Device and inode of the database at ``path`` and of its log, as they were at the first look."""

    def __init__(self, path: Path) -> None:
        self._known: dict[Path, tuple[int, int] | None] = {path: None, path.with_name(path.name + "-wal"): None}
        self.find_lost()

    def find_lost(self) -> str | None:
        """Which file was removed or replaced, as a sentence for the operator; None: none was. Takes some microseconds."""
        for path, known in self._known.items():
            found = _identity_of(path)
            if known is None:
                self._known[path] = found  # there is no log before the first commit
            elif found != known:
                became = "removed" if found is None else "replaced"
                return f"{path} was {became} while it was in use: put it back, or stop gatewayd and restore the state directory"
        return None


def _identity_of(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
