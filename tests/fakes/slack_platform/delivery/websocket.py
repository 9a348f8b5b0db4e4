"""The server's side of one WebSocket (RFC 6455): wsproto frames, and the freedom to misbehave."""

import base64
import hashlib
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import suppress

import trio
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Ping, Pong, TextMessage
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tests.fakes.bot_api.http_server import Request

GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class WebSocket:
    """Texts in both directions over an accepted connection.

    ``deaf``: never read again. ``silent``: send nothing more, not even a pong. ``lingers``: after the close handshake TCP stays
    open. Each is set by a test while the connection lives.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._protocol = Connection(ConnectionType.SERVER)
        self._writing = trio.Lock()
        self.deaf = False
        self.silent = False
        self.lingers = False
        self.closed = trio.Event()
        self.close_code: int | None = None
        self.pongs = 0

    async def accept(self, request: Request) -> bool:
        """Answer the handshake. False: it was none."""
        key = request.headers.get("sec-websocket-key", "")
        if request.headers.get("upgrade", "").lower() != "websocket" or not key:
            await self._stream.send_all(b"HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            return False
        accept = base64.b64encode(hashlib.sha1(key.encode() + GUID, usedforsecurity=False).digest()).decode()
        lines = [
            "HTTP/1.1 101 Switching Protocols",
            "Upgrade: websocket",
            "Connection: Upgrade",
            f"Sec-WebSocket-Accept: {accept}",
        ]
        await self._stream.send_all("\r\n".join(lines).encode() + b"\r\n\r\n")
        return True

    async def texts(self) -> AsyncIterator[str]:
        """Each whole text until the connection ends, by either side."""
        parts: list[str] = []
        try:
            while not self.closed.is_set():
                data = await self._stream.receive_some(65536)
                if self.deaf:
                    await self.closed.wait()
                    return
                self._protocol.receive_data(data or None)
                for event in self._protocol.events():
                    match event:
                        case TextMessage():
                            parts.append(event.data)
                            if event.message_finished:
                                yield "".join(parts)
                                parts.clear()
                        case BytesMessage():
                            pass
                        case Ping() if self._protocol.state is ConnectionState.OPEN:
                            await self._send(self._protocol.send(event.response()))
                        case Pong():
                            self.pongs += 1
                        case CloseConnection():
                            self.close_code = event.code
                            if self._protocol.state is ConnectionState.REMOTE_CLOSING:
                                await self._send(self._protocol.send(event.response()))
                            if data and self.lingers:
                                await self.closed.wait()
                            return
        except (trio.BrokenResourceError, trio.ClosedResourceError, RemoteProtocolError):
            return
        finally:
            self.closed.set()

    async def send(self, text: str) -> None:
        """:raises trio.BrokenResourceError: the connection is over."""
        await self._event(TextMessage(data=text))

    async def ping(self, payload: bytes) -> None:
        """:raises trio.BrokenResourceError: the connection is over."""
        await self._event(Ping(payload=payload))

    async def close(self, code: int, reason: str = "") -> None:
        """Begin the close handshake; the client's answer ends :meth:`texts`."""
        with suppress(trio.BrokenResourceError):
            await self._event(CloseConnection(code=code, reason=reason))

    async def send_raw(self, data: bytes) -> None:
        """Bytes as they are, frames or not."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self._send(data)

    async def cut(self, *, in_the_middle_of: str | None = None) -> None:
        """Break TCP, perhaps after half a frame."""
        if in_the_middle_of is not None:
            with suppress(trio.BrokenResourceError, LocalProtocolError):
                frame = self._protocol.send(TextMessage(data=in_the_middle_of))
                await self._send(frame[: max(3, len(frame) // 2)])
        else:
            # SO_LINGER with zero time-out makes close() send RST.
            self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.closed.set()
        await self._stream.aclose()

    async def _event(self, event: TextMessage | Ping | CloseConnection) -> None:
        try:
            data = self._protocol.send(event)
        except LocalProtocolError as error:
            raise trio.BrokenResourceError from error
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        if self.silent:
            return
        try:
            async with self._writing:
                await self._stream.send_all(data)
        except trio.ClosedResourceError as error:
            raise trio.BrokenResourceError from error
        except trio.Cancelled:  # half a frame may be out: nothing can follow it
            self.closed.set()
            self._stream.socket.close()
            raise
