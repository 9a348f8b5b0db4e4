"""The least of a WebSocket client: text messages over one connection on Trio streams. No TLS, no compression."""

from collections.abc import Awaitable, Callable
from typing import Any, Self
from urllib.parse import urlsplit

import trio
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, Message, Ping, Request, TextMessage

WAITING_PER_CHAT = 1000

_READ_BYTES = 65_536


class Socket:
    """A connection that is open."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self._protocol = WSConnection(ConnectionType.CLIENT)
        self._text = ""

    @classmethod
    async def open(cls, url: str) -> Self:
        """:raises OSError: nobody listens there."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        socket = cls(await trio.open_tcp_stream(parts.hostname, parts.port or 80))
        await socket._stream.send_all(socket._protocol.send(Request(host=parts.netloc, target=f"{parts.path}?{parts.query}")))
        return socket

    async def receive(self) -> list[str] | None:
        """The messages that are whole after the next bytes, perhaps none of them; None: the connection is over."""
        data = await self._stream.receive_some(_READ_BYTES)
        if not data:
            return None
        self._protocol.receive_data(data)
        messages: list[str] = []
        for event in self._protocol.events():
            if isinstance(event, Ping):
                await self._stream.send_all(self._protocol.send(event.response()))
            elif isinstance(event, TextMessage):
                self._text += event.data  # a message may come in pieces
                if event.message_finished:
                    messages.append(self._text)
                    self._text = ""
            else:
                assert isinstance(event, AcceptConnection), event
        return messages

    async def send(self, *texts: str) -> None:
        """At once."""
        await self._stream.send_all(b"".join(self._protocol.send(Message(data=text)) for text in texts))


class Chats:
    """``answer`` runs side by side for chats, and in order within each."""

    def __init__(self, nursery: trio.Nursery, answer: Callable[[Any], Awaitable[None]]) -> None:
        self._nursery = nursery
        self._answer = answer
        self._waiting: dict[str, trio.MemorySendChannel[Any]] = {}

    async def put(self, chat: str, said: Any) -> None:
        if chat not in self._waiting:
            self._waiting[chat], receive = trio.open_memory_channel[Any](WAITING_PER_CHAT)
            self._nursery.start_soon(self._run, receive)
        await self._waiting[chat].send(said)

    async def _run(self, waiting: trio.MemoryReceiveChannel[Any]) -> None:
        async for said in waiting:
            await self._answer(said)
