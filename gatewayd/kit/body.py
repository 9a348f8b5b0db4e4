"""The body of a response, piece by piece. It is unpacked if the server has packed it although ``identity`` was asked for."""

import zlib
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import anyio
import anyio.lowlevel
import httpx2

UNPACKED_MAX: Final = 64 * 1024 * 1024
"""The bound of an unpacked body in bytes: a few packed bytes can become any number. It is unpacked in pieces of ``_PIECE``."""
_PIECE: Final = 65_536
_GZIP_MAGIC: Final = b"\x1f\x8b"  # RFC 1952, section 2.3.1


class CannotUnpack(httpx2.DecodingError):
    """The body is not packed as content-encoding says, or in an unknown way, or is larger than ``UNPACKED_MAX``. The text says
    which."""


class Body:
    """The bytes of a response that was opened as a stream. Ends when the body does.

    Use it with ``contextlib.aclosing``, inside of what closes the response. Iterating raises httpx2.RequestError as the library
    does, and CannotUnpack.
    """

    def __init__(self, response: httpx2.Response) -> None:
        self._unpacker = _unpacker(response.headers.get("content-encoding", ""))
        self._chunks = response.aiter_raw()  # the library unpacks without a bound
        self._unpacked: Iterator[bytes] = iter(())

    def __aiter__(self) -> "Body":
        return self

    async def __anext__(self) -> bytes:
        if self._unpacker is None:
            return await anext(self._chunks)
        if (piece := next(self._unpacked, None)) is not None:
            await anyio.lowlevel.checkpoint()  # one chunk may become many
            return piece
        while piece is None:
            self._unpacked = self._unpacker.unpack(await anext(self._chunks))
            piece = next(self._unpacked, None)
        return piece

    async def aclose(self) -> None:
        """Stop reading. The connection is not kept when the body was not read to its end."""
        # The library's generators are nested, and closing the outer one abandons the inner ones. A cancellation ends all of them,
        # from the inside out.
        with anyio.CancelScope() as scope, suppress(StopAsyncIteration, httpx2.RequestError):
            scope.cancel()
            while True:
                await anext(self._chunks)


class _Deflated:
    """gzip (RFC 1952), and deflate: zlib's format (RFC 9110, section 8.4.1.2) or, from some servers, the raw one."""

    def __init__(self, coding: str) -> None:
        self._coding = coding
        self._stream: zlib._Decompress | None = None
        self._plain = False
        self._first = b""
        self._size = 0

    def unpack(self, data: bytes) -> Iterator[bytes]:
        """:raises CannotUnpack: the data is not of this format, or too large."""
        if self._stream is None and not self._plain:
            self._first += data
            if len(self._first) < len(_GZIP_MAGIC):
                return
            data, self._first = self._first, b""
            self._begin(data)
        if self._plain:
            yield data
            return
        while data:
            piece, data = self._some(data)
            self._size += len(piece)
            if self._size > UNPACKED_MAX:
                raise CannotUnpack(f"{_said(self._coding)} becomes more than {UNPACKED_MAX} bytes")
            if piece:
                yield piece

    def _begin(self, first: bytes) -> None:
        if self._coding == "gzip":
            self._plain = not first.startswith(_GZIP_MAGIC)  # a proxy that forgot the header
            self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
        else:
            is_zlib = first[0] & 0x0F == 8 and int.from_bytes(first[:2], "big") % 31 == 0  # RFC 1950, section 2.2
            self._stream = zlib.decompressobj(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)

    def _some(self, data: bytes) -> tuple[bytes, bytes]:
        """A piece, and what is left of the data."""
        assert self._stream is not None
        try:
            piece = self._stream.decompress(data, _PIECE)
        except zlib.error as error:
            raise CannotUnpack(f"{_said(self._coding)} cannot be unpacked: {error}") from None
        if not self._stream.eof:
            return piece, self._stream.unconsumed_tail
        rest = self._stream.unused_data
        if self._coding == "gzip" and rest.startswith(_GZIP_MAGIC):  # one member behind the other
            self._stream = zlib.decompressobj(16 + zlib.MAX_WBITS)
            return piece, rest
        return piece, b""


def _unpacker(header: str) -> _Deflated | None:
    codings = [coding for part in header.lower().split(",") if (coding := part.strip()) not in ("", "identity")]
    match codings:
        case []:
            return None
        case ["gzip" | "x-gzip"]:
            return _Deflated("gzip")
        case ["deflate"]:
            return _Deflated("deflate")
    raise CannotUnpack(f"{_said(header[:50])} cannot be unpacked here: have its server send it as it is")


def _said(coding: str) -> str:
    return f"the body, which came packed (content-encoding: {coding}) although identity was asked for,"
