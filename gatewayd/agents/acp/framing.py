"""Lines out of a stream of bytes. Pure."""

from typing import Final

LINE_MAX: Final = 8 * 1024 * 1024
"""Bytes of one message. The output of a tool and the history of a session come as single lines, so it is generous."""


class LineTooLong(Exception):
    """A line is longer than ``LINE_MAX``: what follows it cannot be told from its rest."""


class Lines:
    """Collects bytes, gives whole lines without their end. The time is linear in the bytes, in whatever pieces they come."""

    def __init__(self, longest: int = LINE_MAX) -> None:
        self._longest = longest
        self._rest = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The lines that are complete now. :raises LineTooLong: no more may be fed then."""
        *lines, tail = data.split(b"\n")
        if lines:
            lines[0] = bytes(self._rest) + lines[0]
            self._rest.clear()
        self._rest += tail
        if len(self._rest) > self._longest or any(len(line) > self._longest for line in lines):
            raise LineTooLong
        return lines

    def rest(self) -> bytes:
        """What came after the last line end."""
        return bytes(self._rest)
