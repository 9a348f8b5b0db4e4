"""The other side of a WebSocket: a proper one, made of the ``websockets`` package, and one that writes any bytes."""

from base64 import b64encode
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from hashlib import sha1
from typing import Any

import trio
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from gatewayd.kit.http import create_client
from gatewayd.kit.network.websocket import WebSocket, WebSocketClosed, connect
from tests.kit.test_http import Behaviour, server

Play = Callable[["Peer"], Awaitable[None]]


class Peer:
    """The server's side of one connection, after the handshake. ``taken`` are the messages that it got."""

    def __init__(self, stream: trio.SocketStream, protocol: ServerProtocol, request: Request) -> None:
        self.stream = stream
        self.protocol = protocol
        self.request = request
        self.taken: list[str | bytes] = []
        self._told = 0
        self._writing = trio.Lock()
        self._partial = bytearray()
        self._is_text = False

    async def flush(self) -> None:
        """Also while another task reads, which answers pings."""
        async with self._writing:
            for data in self.protocol.data_to_send():
                if data:
                    await self.stream.send_all(data)

    async def take(self) -> str | bytes | None:
        """The client's next message; None: it has closed, see ``protocol.close_code``."""
        while len(self.taken) == self._told:
            data = await self.stream.receive_some(65_536)
            if data:
                self.protocol.receive_data(data)
            else:
                self.protocol.receive_eof()
            for frame in self.protocol.events_received():
                assert isinstance(frame, Frame)
                self._take(frame)
            await self.flush()
            if len(self.taken) == self._told and (not data or self.protocol.close_rcvd):
                return None
        self._told += 1
        return self.taken[self._told - 1]

    def _take(self, frame: Frame) -> None:
        if frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.opcode is not Opcode.CONT:
                self._is_text = frame.opcode is Opcode.TEXT
            self._partial += frame.data
            if frame.fin:
                self.taken.append(self._partial.decode() if self._is_text else bytes(self._partial))
                self._partial.clear()

    async def say(self, message: str | bytes, *, fragments: int = 1) -> None:
        data = message.encode() if isinstance(message, str) else message
        step = max(-(-len(data) // fragments), 1)
        pieces = [data[at : at + step] for at in range(0, len(data), step)] or [b""]
        first = self.protocol.send_text if isinstance(message, str) else self.protocol.send_binary
        first(pieces[0], fin=len(pieces) == 1)
        for number, piece in enumerate(pieces[1:], 2):
            self.protocol.send_ping(b"in between")
            self.protocol.send_continuation(piece, fin=number == len(pieces))
        await self.flush()

    async def close(self, code: int | None, text: str = "") -> None:
        self.protocol.send_close(code, text)
        await self.flush()


def playing(play: Play, *, subprotocols: Sequence[str] | None = None) -> Behaviour:
    """A server that is a proper WebSocket until ``play`` does something else with the stream."""

    async def behave(stream: trio.SocketStream) -> None:
        protocol = ServerProtocol(subprotocols=subprotocols, max_size=None)  # type: ignore[arg-type]  # they are texts
        request: Any = None
        while request is None:
            protocol.receive_data(await stream.receive_some(65_536))
            request = next(iter(protocol.events_received()), None)
        protocol.send_response(protocol.accept(request))
        peer = Peer(stream, protocol, request)
        await peer.flush()
        async with stream:
            await play(peer)

    return behave


@asynccontextmanager
async def connected(behave: Behaviour, **options: Any) -> AsyncIterator[WebSocket]:
    async with server(behave) as url, create_client() as http, connect(http, url.replace("http", "ws"), **options) as websocket:
        yield websocket


async def until_closed(websocket: WebSocket) -> tuple[list[str | bytes], WebSocketClosed]:
    """All messages, and the end."""
    messages: list[str | bytes] = []
    while True:
        try:
            messages.append(await websocket.receive())
        except WebSocketClosed as closed:
            return messages, closed


def frame(
    opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bytes = b"", length: int | None = None
) -> bytes:
    """A frame of a server (RFC 6455, section 5.2), right or wrong. ``length`` is what it says of its payload."""
    said = len(payload) if length is None else length
    short = said if said < 126 else 126 if said < 65_536 else 127
    more = b"" if short < 126 else said.to_bytes(2 if short == 126 else 8, "big")
    masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(payload)) if mask else payload
    return bytes([fin << 7 | rsv << 4 | opcode, bool(mask) << 7 | short]) + more + mask + masked


def accepting(head: bytes) -> bytes:
    """The answer to the handshake, as RFC 6455 has it in section 4.2.2."""
    [key] = [line.split(b":")[1].strip() for line in head.split(b"\r\n") if line.lower().startswith(b"sec-websocket-key:")]
    proof = b64encode(sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11", usedforsecurity=False).digest())
    return (
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: keep-alive, upgrade\r\n"
        b"Sec-WebSocket-Accept: " + proof + b"\r\n\r\n"
    )


def writing(*pieces: bytes, then: Behaviour | None = None) -> Behaviour:
    """A server that answers the handshake, writes these bytes, and then does something else, or cuts the connection."""

    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(accepting(await stream.receive_some(65_536)) + b"".join(pieces[:1]))
        for piece in pieces[1:]:
            await stream.send_all(piece)
        if then is not None:
            await then(stream)
        await stream.aclose()

    return behave


async def listening(stream: trio.SocketStream) -> None:
    """Reads on until the other side ends, and says nothing."""
    while await stream.receive_some(65_536):
        pass
