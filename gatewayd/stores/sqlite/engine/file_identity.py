"""Whether the open files are still those that have the names. What is written to a file without a name is lost at the next start,
and SQLite goes on writing to it without a word."""

import os
from pathlib import Path


class Place:
    """The database at ``path`` and its log, as they were when they were first looked at."""

    def __init__(self, path: Path) -> None:
        self._known: dict[Path, tuple[int, int] | None] = {path: None, path.with_name(path.name + "-wal"): None}
        self.find_lost()

    def find_lost(self) -> str | None:
        """What has become of a file that was there before, in words. None when all are in their place. Some microseconds."""
        for path, known in self._known.items():
            found = _identity(path)
            if known is None:
                self._known[path] = found  # there is no log before the first commit
            elif found != known:
                became = "removed" if found is None else "replaced"
                return f"{path} was {became} while it was in use: put it back, or stop gatewayd and restore the state directory"
        return None


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
