"""The byte stream of a connection. Every wait on its client has a limit."""

import os
import socket
import struct
from contextlib import suppress
from typing import Final

import trio

from gatewayd.web.server.request_memory import ConnectionMemory

WRITE_SECONDS: Final = 10.0
"""How long a client may take to accept the next piece of a response."""
LINGER_SECONDS: Final = 2.0
"""How long to read after the last response, see :meth:`ClientStream.finish`."""

_PIECE: Final = 64 * 1024
_RECEIVE: Final = 16 * 1024  # with more, hundreds of connections at once each hold a large buffer for a moment
_RESET: Final = struct.pack("ii", 1, 0)

Address = tuple[str, int]


class ClientStream:
    """One accepted TCP (or Unix) connection. The owner calls :meth:`close` at the end; closing twice is no error.

    ``client`` and ``server`` are the addresses of the two ends, None on a Unix socket. ``memory`` counts the received bytes; it
    is cleared after each response.

    :raises OSError: from the constructor: the client has gone already.
    """

    def __init__(self, stream: trio.SocketStream, memory: ConnectionMemory) -> None:
        self._stream = stream
        self.memory = memory
        self.client = _address(stream.socket, stream.socket.getpeername())
        self.server = _address(stream.socket, stream.socket.getsockname())

    def stands_for(self, host: str, port: int) -> None:
        """Use this as the address of the server's end."""
        self.server = (host, port)

    async def receive(self) -> bytes:
        """The next bytes; empty when the client has finished sending or has gone, or the stream is closed.

        :raises HttpError: overloaded: requests take too much memory. These bytes are lost.
        """
        data = await self._receive()
        self.memory.add(len(data))
        return data

    async def _receive(self) -> bytes:
        try:
            return bytes(await self._stream.receive_some(_RECEIVE))
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return b""

    async def send(self, data: bytes) -> None:
        """Send all of ``data``. A client that does not take the next 64 KiB within ``WRITE_SECONDS`` is cut off.

        :raises trio.BrokenResourceError: the client has gone, or was cut off.
        :raises trio.ClosedResourceError: the stream was closed.
        """
        for start in range(0, len(data), _PIECE):
            with trio.move_on_after(WRITE_SECONDS) as scope:
                await self._stream.send_all(memoryview(data)[start : start + _PIECE])
            if scope.cancelled_caught:
                self.abort()
                raise trio.BrokenResourceError("the client does not read")

    async def send_within(self, data: bytes) -> None:
        """As :meth:`send`, for a caller that sets the deadline itself."""
        await self._stream.send_all(data)

    async def finish(self) -> None:
        """Close in a way that lets the client read the last response.

        If a socket is closed with unread input, the kernel sends a reset, which may destroy a response on its way (RFC 9112
        section 9.6). So the rest of the input is read and dropped, for ``LINGER_SECONDS`` at most.
        """
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, trio.BusyResourceError):
            await self._stream.send_eof()
        with trio.move_on_after(LINGER_SECONDS):
            while await self._receive():
                pass
        self.close()

    def reject(self, answer: bytes) -> None:
        """Respond and close at once, without waiting. The input is read first, because of the reset (see :meth:`finish`)."""
        descriptor = self._stream.socket.fileno()
        with suppress(OSError):
            os.write(descriptor, answer)
            self._stream.socket.shutdown(socket.SHUT_WR)
            os.read(descriptor, _RECEIVE)
        self.close()

    def close(self) -> None:
        """Close, from any task: pending sends and receives end. The kernel still delivers the bytes that it has accepted."""
        self.memory.clear()
        self._stream.socket.close()

    def abort(self) -> None:
        """As :meth:`close`, but the kernel drops the undelivered bytes: a client that never reads leaves nothing there."""
        with suppress(OSError):
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.close()


def _address(sock: trio.socket.SocketType, name: object) -> Address | None:
    if sock.family in (socket.AF_INET, socket.AF_INET6) and isinstance(name, tuple):
        return (str(name[0]), int(name[1]))
    return None
