"""A file system of a few megabytes, that can be filled and emptied."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


class SmallDisk:
    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take all room that is left."""
        descriptor = os.open(self._filler, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while True:
                os.write(descriptor, bytes(4096))
        except OSError:
            assert os.statvfs(self.path).f_bavail == 0
        finally:
            os.close(descriptor)

    def make_room(self) -> None:
        """Give back what :meth:`fill` took."""
        self._filler.unlink()


@contextmanager
def small_disk(path: Path, *, megabytes: int = 4) -> Iterator[SmallDisk]:
    """Mounted at ``path`` meanwhile. Skips the test where that is not allowed."""
    path.mkdir(parents=True)
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m,mode=0700", "gatewayd-test", str(path)]
    if os.geteuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    try:
        yield SmallDisk(path)
    finally:
        subprocess.run(["umount", "--lazy", str(path)], check=True)
