"""A raw HTTP client: says what it is told to say, byte for byte, and reads what comes back."""

import json
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import trio
from msgspec import Struct

EPOCH = 1_800_000_000.0


def now() -> float:
    """Wall time that follows the fake clock."""
    return EPOCH + trio.current_time()


class Answer(Struct):
    """One response. Header names are lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        """The stable code of an error answer."""
        return str(self.json["error"]["code"])


class RawClient:
    """One TCP connection. Reads are bounded in size and time by the test's own fake or real clock."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self._unread = b""

    async def say(self, data: bytes) -> None:
        """Send; a server that has closed already is no error, as its answer may still be there to read."""
        try:
            await self.stream.send_all(data)
        except trio.BrokenResourceError:
            return

    async def ask(self, data: bytes) -> Answer:
        await self.say(data)
        return await self.answer()

    async def answer(self) -> Answer:
        """The next response, by Content-Length, chunks, or to the end."""
        head = await self._until(b"\r\n\r\n")
        lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        status = int(lines[0].split(" ")[1])
        if status == 100:
            return Answer(status, headers, b"")
        if "content-length" in headers:
            return Answer(status, headers, await self._exactly(int(headers["content-length"])))
        if headers.get("transfer-encoding") == "chunked":
            return Answer(status, headers, await self._chunks())
        return Answer(status, headers, await self.rest())

    async def head(self) -> tuple[int, dict[str, str]]:
        """Only the head of the next response; the body is left."""
        lines = (await self._until(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:] if line)}
        return int(lines[0].split(" ")[1]), headers

    async def chunk(self) -> bytes:
        """One chunk of a chunked body; empty at its end."""
        size = int(await self._until(b"\r\n"), 16)
        data = await self._exactly(size + 2)
        return data[:-2]

    async def rest(self) -> bytes:
        """Everything until the server closes. A reset counts as closed."""
        data = self._unread
        self._unread = b""
        try:
            while part := await self.stream.receive_some(65536):
                data += part
        except trio.BrokenResourceError:
            pass
        return data

    async def closed(self) -> bool:
        """True when the server closes without another byte."""
        return await self.rest() == b""

    async def _chunks(self) -> bytes:
        body = b""
        while part := await self.chunk():
            body += part
        return body

    async def _until(self, end: bytes) -> bytes:
        while end not in self._unread:
            await self._more()
        data, _, self._unread = self._unread.partition(end)
        return data

    async def _exactly(self, size: int) -> bytes:
        while len(self._unread) < size:
            await self._more()
        data, self._unread = self._unread[:size], self._unread[size:]
        return data

    async def _more(self) -> None:
        part = await self.stream.receive_some(65536)
        assert part, f"the server closed in the middle of an answer: {self._unread[:200]!r}"
        self._unread += part


@asynccontextmanager
async def dial(url: str, *, receive_buffer: int | None = None, source: str | None = None) -> AsyncIterator[RawClient]:
    """Connect to the server at ``url``, from the address ``source``. A small ``receive_buffer`` makes a client that does not read
    felt sooner."""
    parts = urlsplit(url)
    assert parts.hostname is not None
    assert parts.port is not None
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    try:
        if source is not None:
            await sock.bind((source, 0))
        await sock.connect((parts.hostname, parts.port))
        yield RawClient(trio.SocketStream(sock))
    finally:
        sock.close()


def request(
    method: str,
    target: str,
    *,
    host: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
    body: bytes | None = None,
    version: str = "1.1",
) -> bytes:
    """The bytes of one request; a body is framed by Content-Length unless a header says otherwise."""
    fields = {"Host": host, **(headers or {})}
    framed = any(name.lower() in ("content-length", "transfer-encoding") for name in fields)
    if body is not None and not framed:
        fields["Content-Length"] = str(len(body))
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + (body or b"")


def chunked(body: bytes, size: int = 16384) -> bytes:
    """A body in chunked framing (RFC 9112 section 7.1)."""
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
