"""Lines out of a stream of bytes: a pure core, and a reader. The memory is bounded, also for a peer that never ends its line."""

from collections import deque
from typing import Final

import anyio
import anyio.abc
import anyio.lowlevel

from gatewayd.model.errors import GatewayError

_CHUNK: Final = 65_536


class LineTooLong(GatewayError):
    """A line is longer than the bound. It is left out, and the next line is read as usual: whether that is good enough is for the
    caller to decide. ``beginning`` are its first bytes, as many as the bound allows."""

    def __init__(self, beginning: bytes) -> None:
        super().__init__(f"a line is longer than {len(beginning)} bytes")
        self.beginning = beginning


class Lines:
    """Collects bytes, and returns lines without their end. The lines do not depend on the pieces in which the bytes come, and the
    time is linear in the bytes.

    A line ends with LF; with ``drops_cr``, one CR before it is part of the end. Any other CR, and NUL, are bytes as others are.
    ``at_most_bytes`` bounds a line without its end.
    """

    def __init__(self, at_most_bytes: int, *, drops_cr: bool = False) -> None:
        self._at_most = at_most_bytes
        self._drops_cr = drops_cr
        self._rest = bytearray()
        self._is_skipping = False

    def feed(self, data: bytes) -> list[bytes | LineTooLong]:
        """The lines that are complete now, in order. LineTooLong stands in the place of a line as soon as it is too long."""
        *ended, tail = data.split(b"\n")
        found: list[bytes | LineTooLong] = []
        for piece in ended:
            self._grow(piece, found)
            if not self._is_skipping:
                found.append(bytes(self._rest[:-1] if self._ends_with_cr() else self._rest))
            self._rest.clear()
            self._is_skipping = False
        self._grow(tail, found)
        return found

    def rest(self) -> bytes:
        """The bytes after the last line end. At the end of a stream: a line that was cut, unless the protocol says otherwise."""
        return bytes(self._rest)

    def _grow(self, piece: bytes, found: list[bytes | LineTooLong]) -> None:
        if self._is_skipping:
            return
        self._rest += piece
        if len(self._rest) > self._at_most + self._ends_with_cr():
            found.append(LineTooLong(bytes(self._rest[: self._at_most])))
            self._rest.clear()
            self._is_skipping = True

    def _ends_with_cr(self) -> bool:
        return self._drops_cr and self._rest.endswith(b"\r")


class LineReader:
    """The lines of a stream, see ``Lines``. The stream is the caller's, who closes it.

    Iterating ends when the stream does, and raises as ``receive`` otherwise; an iteration may go on after LineTooLong.
    """

    def __init__(self, stream: anyio.abc.ByteReceiveStream, *, at_most_bytes: int, drops_cr: bool = False) -> None:
        self._stream = stream
        self._lines = Lines(at_most_bytes, drops_cr=drops_cr)
        self._ready: deque[bytes | LineTooLong] = deque()

    async def receive(self) -> bytes:
        """The next line. There is no time limit. A cancelled call loses no byte.

        :raises LineTooLong: the next call goes on behind that line. :raises anyio.EndOfStream: the stream has ended, perhaps in
        the middle of a line, see ``rest``. :raises anyio.BrokenResourceError, anyio.ClosedResourceError: as the stream does.
        """
        if self._ready:
            await anyio.lowlevel.checkpoint()  # one chunk may be many lines
        while not self._ready:
            self._ready.extend(self._lines.feed(await self._stream.receive(_CHUNK)))
        line = self._ready.popleft()
        if isinstance(line, LineTooLong):
            raise line
        return line

    def rest(self) -> bytes:
        """See ``Lines.rest``."""
        return self._lines.rest()

    def __aiter__(self) -> "LineReader":
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self.receive()
        except anyio.EndOfStream:
            raise StopAsyncIteration from None
