"""The bytes of one connection: WebSocket by wsproto (RFC 6455), transport compression ("Gateway", zlib-stream)."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs, urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    Message,
    Ping,
    Pong,
    RejectConnection,
    RejectData,
    Request,
    TextMessage,
)
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from tests.fakes.discord_platform.gateway.behaviour import Behaviour

_SUFFIX_BYTES = 4
"""00 00 ff ff ends each flush; a piece is never so small that a client finds a part of it alone."""


class ClosedByPeer(Exception):
    """The client is gone. ``code`` is of its close frame, None for a TCP connection that ended without one."""

    def __init__(self, code: int | None) -> None:
        super().__init__(code)
        self.code = code


class WebSocket:
    """A connection after its handshake. ``path`` and ``query`` are of the request."""

    def __init__(self, stream: trio.SocketStream, behaviour: Behaviour) -> None:
        self._stream = stream
        self._behaviour = behaviour
        self._sending = trio.Lock()
        self._protocol = WSConnection(ConnectionType.SERVER)
        self._deflate: zlib._Compress | None = None
        self.query: dict[str, str] = {}

    async def accept(self) -> None:
        """:raises ClosedByPeer: no handshake came, or it was refused on demand."""
        request = await self._next()
        if not isinstance(request, Request):
            raise ClosedByPeer(None)
        if self._behaviour.unavailable is not None:
            reject = RejectConnection(
                status_code=self._behaviour.unavailable, headers=[(b"content-type", b"text/plain")], has_body=True
            )
            await self._send(reject)
            await self._send(RejectData(data=b"no healthy upstream"))
            raise ClosedByPeer(None)
        self.query = {name: values[0] for name, values in parse_qs(urlsplit(request.target).query).items()}
        if self.query.get("compress") == "zlib-stream":
            self._deflate = zlib.compressobj()
        await self._send(AcceptConnection())

    async def receive(self) -> bytes:
        """The next whole message.

        :raises ClosedByPeer: the connection is over.
        """
        data = b""
        while True:
            event = await self._next()
            match event:
                case TextMessage():
                    data += event.data.encode()
                case BytesMessage():
                    data += bytes(event.data)
                case Ping():
                    await self._send(event.response())
                    continue
                case CloseConnection():
                    if self._protocol.state is ConnectionState.CLOSED:  # the answer to a close frame of this side
                        raise ClosedByPeer(None)
                    if not self._behaviour.answers_close:
                        await trio.sleep_forever()
                    await self._send(event.response())
                    raise ClosedByPeer(int(event.code))
                case _:
                    continue
            if event.message_finished:
                return data

    async def _next(self) -> Event:
        while True:
            try:
                for event in self._protocol.events():
                    if not isinstance(event, Pong):
                        return event
                data = await self._stream.receive_some(65536)
                while not self._behaviour.reads:
                    await self._behaviour.changed.wait()
                self._protocol.receive_data(data or None)
            except (trio.BrokenResourceError, RemoteProtocolError, LocalProtocolError):
                raise ClosedByPeer(None) from None
            if not data:
                raise ClosedByPeer(None)

    async def send(self, payload: bytes, *, compress: bool = False, cut: bool = False) -> None:
        """One payload, in as many messages and frames as the behaviour says. ``compress`` is payload compression; ``cut`` sends
        the first half of its bytes.

        :raises ClosedByPeer: the connection is over.
        """
        data = b"".join(self._messages(payload, compress=compress))
        await self._write(data[: len(data) // 2] if cut else data)

    def _messages(self, payload: bytes, *, compress: bool) -> Iterator[bytes]:
        """The bytes of its messages."""
        if self._deflate is None:
            yield self._frames(zlib.compress(payload) if compress else payload, text=not compress)
            return
        data = self._deflate.compress(payload) + self._deflate.flush(zlib.Z_SYNC_FLUSH)
        size = max(self._behaviour.piece_bytes or len(data), _SUFFIX_BYTES)
        while data:
            # The last piece has the whole suffix, perhaps nothing else.
            piece = data[: size if len(data) <= size else min(size, len(data) - _SUFFIX_BYTES)]
            yield self._frames(piece, text=False)
            data = data[len(piece) :]

    def _frames(self, data: bytes, *, text: bool) -> bytes:
        whole: Any = data.decode() if text else data
        size = self._behaviour.fragment_bytes or max(len(whole), 1)
        parts = [whole[start : start + size] for start in range(0, len(whole), size)]
        try:
            return b"".join(
                self._protocol.send(Message(data=part, message_finished=index == len(parts) - 1))
                for index, part in enumerate(parts)
            )
        except LocalProtocolError:
            raise ClosedByPeer(None) from None

    async def send_raw(self, data: bytes) -> None:
        """Any bytes, outside of every frame."""
        await self._write(data)

    async def send_message(self, data: bytes, *, text: bool) -> None:
        """A message that need not be a payload."""
        await self._write(self._frames(data, text=text))

    async def close(self, code: int, reason: str) -> None:
        """A close frame."""
        await self._send(CloseConnection(code, reason))

    async def _send(self, event: Event) -> None:
        try:
            data = self._protocol.send(event)
        except LocalProtocolError:
            raise ClosedByPeer(None) from None
        await self._write(data)

    async def _write(self, data: bytes) -> None:
        try:
            async with self._sending:
                await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise ClosedByPeer(None) from None
