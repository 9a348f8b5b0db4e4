"""The least that an HTTP client can do: one kept-open connection on Trio streams, parsed by httptools. No TLS, no redirects, no
retries: what a benchmark's baseline needs, and no more."""

from typing import Self
from urllib.parse import urlsplit

import httptools
import trio

_READ_BYTES = 65_536
_AGENT = "DiscordBot (https://example.org, 1)"  # Discord takes calls with this form alone; others take any


class Connection:
    """One request at a time."""

    def __init__(self, stream: trio.SocketStream, host: str, authorization: str | None) -> None:
        self._stream = stream
        header = "" if authorization is None else f"Authorization: {authorization}\r\n"
        self._head = f"Host: {host}\r\nUser-Agent: {_AGENT}\r\nContent-Type: application/json\r\n{header}"
        self._begin()

    @classmethod
    async def open(cls, url: str, authorization: str | None = None) -> Self:
        """``authorization`` is the header of this name in each request. :raises OSError: nobody listens there."""
        parts = urlsplit(url)
        assert parts.hostname is not None
        return cls(await trio.open_tcp_stream(parts.hostname, parts.port or 80), parts.netloc, authorization)

    async def post(self, path: str, body: bytes) -> bytes:
        """The body of the answer. :raises ConnectionError: it is cut, or its status is no success."""
        self._begin()
        head = f"POST {path} HTTP/1.1\r\n{self._head}Content-Length: {len(body)}\r\n\r\n"
        await self._stream.send_all(head.encode() + body)
        while not self._whole:
            data = await self._stream.receive_some(_READ_BYTES)
            if not data:
                raise ConnectionError("the server closed the connection")
            self._parser.feed_data(data)
        if not 200 <= self._parser.get_status_code() < 300:
            raise ConnectionError(f"the server answered {self._parser.get_status_code()}")
        return b"".join(self._pieces)

    def close(self) -> None:
        self._stream.socket.close()

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []
        self._whole = False

    # --- Called by httptools

    def on_body(self, body: bytes) -> None:
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        self._whole = True


class Connections:
    """Connections to one server: as many as are used at once, kept open."""

    def __init__(self, url: str, *, authorization: str | None = None) -> None:
        self._url = url
        self._authorization = authorization
        self._free: list[Connection] = []

    async def post(self, path: str, body: bytes) -> bytes:
        """See :meth:`Connection.post`. A connection whose request failed is not used again."""
        connection = self._free.pop() if self._free else await Connection.open(self._url, self._authorization)
        answer = await connection.post(path, body)
        self._free.append(connection)
        return answer

    def close(self) -> None:
        """Close those that are not in use."""
        while self._free:
            self._free.pop().close()
