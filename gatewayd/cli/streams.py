"""Standard streams that are closed, full, or without a reader.

The first file that a process opens gets the lowest free descriptor. With a closed stdout or stderr that would be the store, and
output would be written into it. So the three standard descriptors are opened before any other file.
"""

import errno
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Final, TextIO

IO_ERROR: Final = 74
"""EX_IOERR of sysexits.h: the output could not be written."""
_STREAMS: Final = {"stdin": os.O_RDONLY, "stdout": os.O_RDONLY, "stderr": os.O_WRONLY}
_OF_OUTPUT: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EBADF})


def run_with_streams(program: str, run: Callable[[], int], *, needs_stdout: bool) -> int:
    """The result of ``run``, or ``IO_ERROR`` after a sentence on stderr. ``needs_stdout``: ``run`` is not called where stdout
    is closed. A reader that closes the pipe (head, less) is no error."""
    if "stdout" in open_closed_streams() and needs_stdout:
        print_error(f"{program}: stdout is closed, so nothing was done. Where no output is wanted: > /dev/null")
        return IO_ERROR
    try:
        try:
            return run()
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        discard_output(sys.stdout)
        return 0
    except OSError as error:
        if error.errno not in _OF_OUTPUT:
            raise
        discard_output(sys.stdout)
        print_error(f"{program}: the output cannot be written ({error.strerror}). What was asked for may have been done.")
        return IO_ERROR


def open_closed_streams() -> frozenset[str]:
    """Open /dev/null for each standard stream that is closed. Returns the names of these streams. Such a stdout is read-only:
    output to it fails, as it should."""
    closed = set()
    for fd, (name, flags) in enumerate(_STREAMS.items()):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, flags), True)  # it gets this number, the lowest free one
            closed.add(name)
            setattr(sys, name, open(fd, "r" if fd == 0 else "w", encoding="utf-8", closefd=False))  # noqa: SIM115
    return frozenset(closed)


def discard_output(stream: TextIO) -> None:
    """What is still buffered goes nowhere, or the interpreter would print_error at its end."""
    devnull = os.open(os.devnull, os.O_WRONLY)
    with suppress(OSError, ValueError):
        os.dup2(devnull, stream.fileno())
    os.close(devnull)


def print_error(text: str) -> None:
    """A line on stderr. Where stderr cannot be written, either, only the exit code remains."""
    try:
        sys.stderr.write(f"{text}\n")
        sys.stderr.flush()
    except OSError:
        discard_output(sys.stderr)
