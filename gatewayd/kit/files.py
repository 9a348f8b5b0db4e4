"""Files to send: the bytes that the hub keeps in its own folder, opened so that nothing else is read."""

import os
import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from io import FileIO
from pathlib import Path
from typing import Final

import anyio

from gatewayd.model.errors import SendRejected

FILE_NAME: Final = re.compile(r"[0-9a-f]{32}")
"""The names that the hub gives. They have no path in them."""
CHUNK_BYTES: Final = 65_536
_GONE: Final = "the file is gone, or is not what was written"


class FileReader:
    """The ``OutgoingFile`` of ports/channel/: exactly ``size_bytes`` bytes."""

    def __init__(self, file: FileIO, size_bytes: int) -> None:
        self._file = file
        self._left = size_bytes

    async def read(self, at_most_bytes: int) -> bytes:
        """The next bytes; none at the end. :raises SendRejected: the file has become shorter."""
        wanted = min(at_most_bytes, self._left)
        if wanted <= 0:
            return b""
        try:
            data = await anyio.to_thread.run_sync(self._file.read, wanted)
        except OSError as error:
            raise SendRejected(f"the file cannot be read: {error.strerror}") from error
        if not data:
            raise SendRejected(_GONE)
        self._left -= len(data)
        return data

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        data = await self.read(CHUNK_BYTES)
        if not data:
            raise StopAsyncIteration
        return data


@asynccontextmanager
async def open_file(folder: Path | None, name: str, size_bytes: int) -> AsyncIterator[FileReader]:
    """A file of the hub's folder: a regular file of this size, and no link.

    :raises SendRejected: it is gone, is something else, or cannot be read.
    """
    file = await anyio.to_thread.run_sync(_open, folder, name, size_bytes)
    try:
        yield FileReader(file, size_bytes)
    finally:
        file.close()


def _open(folder: Path | None, name: str, size_bytes: int) -> FileIO:
    if folder is None or FILE_NAME.fullmatch(name) is None:
        raise SendRejected(_GONE)
    try:
        # Not blocking: somebody may have put a pipe there.
        file = FileIO(os.open(folder / name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK))
    except OSError as error:
        raise SendRejected(f"{_GONE}: {error.strerror}") from error
    found = os.fstat(file.fileno())
    if not stat.S_ISREG(found.st_mode) or found.st_size != size_bytes:
        file.close()
        raise SendRejected(_GONE)
    return file
