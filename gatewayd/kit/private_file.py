"""Files that only their owner can read, written whole or not at all."""

import os
from contextlib import suppress
from pathlib import Path


def write_private(path: Path, data: bytes) -> None:
    """Write ``path`` with mode 0600. Durable on return: after a power cut there is the whole new file, or the old one.

    An existing file or link at ``path``, or at the name of the temporary file, is replaced. It is never written to or followed.

    :raises OSError:
    """
    part = path.with_name(f".{path.name}.part")
    with suppress(FileNotFoundError):
        part.unlink()  # of a start that was cut short
    fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        with open(fd, "wb") as file:
            os.fchmod(fd, 0o600)
            file.write(data)
            file.flush()
            os.fsync(fd)
        part.replace(path)
    except BaseException:  # also a cancellation leaves no half file
        with suppress(OSError):
            part.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
