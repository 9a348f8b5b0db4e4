"""A small HTTP server whose answers can go wrong on purpose.

HTTP/1.1 with keep-alive, chunked streams for OpenCode; HTTP/1.0 that closes after each answer for OpenAgentic.
"""

import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any, Literal
from urllib.parse import parse_qs, urlsplit

import msgspec
import trio
from msgspec import Struct


class Request(Struct):
    """One request, whole. Header names are lower case; ``path`` is as sent."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return msgspec.json.decode(self.body or b"{}")


class Reply(Struct):
    status: int
    body: bytes = b""
    content_type: str = "application/json"


def reply(value: object, status: int = 200) -> Reply:
    return Reply(status, msgspec.json.encode(value))


class Events:
    """One reader of an event stream."""

    def __init__(self) -> None:
        self.send, self.receive = trio.open_memory_channel[bytes](10_000)


class Fault(Struct):
    """What goes wrong with the next request of this method whose path ends so: the connection is reset before anything is done
    (``lost``), or after it is done (``unanswered``), or it never ends (``hangs``), or an error is answered instead."""

    method: str
    ending: str
    kind: Literal["lost", "unanswered", "hangs"] | int
    times: int = 1


Handler = Callable[[Request], Awaitable[Reply | Events | None]]
"""None: the connection is closed without an answer, as a crashed handler thread does."""

_REASONS = {200: "OK", 204: "No Content", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 500: "Internal Server Error"}


class HttpServer:
    """``port`` stays the same over ``stop`` and ``start``. ``seen`` are "METHOD PATH" of all requests, in order.
    ``rewrite`` changes the bytes of each answer, but not of streams."""

    def __init__(self, handle: Handler, *, http10: bool) -> None:
        self.port = 0
        self.seen: list[str] = []
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.rewrite: Callable[[bytes], bytes] = lambda body: body
        self._handle = handle
        self._http10 = http10
        self._nursery: trio.Nursery | None = None
        self._open: trio.Nursery | None = None

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as self._nursery:
            await self.start()
            yield
            self._nursery.cancel_scope.cancel()

    async def start(self) -> None:
        """Listen (again)."""
        assert self._nursery is not None
        [listener] = await trio.open_tcp_listeners(self.port, host="127.0.0.1")
        self.port = listener.socket.getsockname()[1]
        await self._nursery.start(self._run, listener)

    async def stop(self) -> None:
        """Break all connections, and refuse new ones."""
        assert self._open is not None
        self._open.cancel_scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

    def break_connections(self) -> None:
        """All that are open now, with their requests; new ones are taken."""
        assert self._open is not None
        for scope in list(self._scopes):
            scope.cancel()

    async def _run(self, listener: trio.SocketListener, *, task_status: trio.TaskStatus[None]) -> None:
        self._scopes: set[trio.CancelScope] = set()
        async with listener, trio.open_nursery() as self._open:
            task_status.started()
            await trio.serve_listeners(self._connection, [listener])

    async def _connection(self, stream: trio.SocketStream) -> None:
        with trio.CancelScope() as scope:
            self._scopes.add(scope)
            try:
                with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                    while (request := await _read(stream)) is not None and await self._answer(stream, request):
                        pass
                await trio.aclose_forcefully(stream)
            finally:
                self._scopes.discard(scope)
                stream.socket.close()

    async def _answer(self, stream: trio.SocketStream, request: Request) -> bool:
        """False: the connection is over."""
        self.seen.append(f"{request.method} {request.path}")
        self.requests.append(request)
        kind = self._fault(request)
        if kind == "hangs":
            await trio.sleep_forever()
        if kind == "lost":
            return _reset(stream)
        if isinstance(kind, int):
            await self._send(stream, Reply(kind, b'{"name":"UnknownError","data":{"message":"on purpose"}}'))
            return not self._http10
        answer = await self._handle(request)
        if kind == "unanswered" or answer is None:
            return _reset(stream)
        if isinstance(answer, Events):
            await self._stream(stream, answer)
            return False
        await self._send(stream, answer)
        return not self._http10

    def _fault(self, request: Request) -> str | int | None:
        for fault in self.faults:
            if fault.method == request.method and request.path.endswith(fault.ending):
                fault.times -= 1
                if not fault.times:
                    self.faults.remove(fault)
                return fault.kind
        return None

    async def _send(self, stream: trio.SocketStream, answer: Reply) -> None:
        body = self.rewrite(answer.body)
        await stream.send_all(self._head(answer.status, answer.content_type, f"Content-Length: {len(body)}") + body)

    async def _stream(self, stream: trio.SocketStream, events: Events) -> None:
        framing = "Cache-Control: no-cache" if self._http10 else "Transfer-Encoding: chunked"
        await stream.send_all(self._head(200, "text/event-stream", framing))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(_cancel_at_end, stream, nursery.cancel_scope)
            with suppress(trio.BrokenResourceError):
                async for data in events.receive:
                    await stream.send_all(data if self._http10 else b"%x\r\n%s\r\n" % (len(data), data))
            nursery.cancel_scope.cancel()

    def _head(self, status: int, content_type: str, framing: str) -> bytes:
        version = "1.0" if self._http10 else "1.1"
        lines = [f"HTTP/{version} {status} {_REASONS.get(status, 'Error')}", f"Content-Type: {content_type}", framing, "", ""]
        return "\r\n".join(lines).encode()


async def _cancel_at_end(stream: trio.SocketStream, scope: trio.CancelScope) -> None:
    with suppress(trio.BrokenResourceError):
        while await stream.receive_some(1024):
            pass
    scope.cancel()


def _reset(stream: trio.SocketStream) -> bool:
    # SO_LINGER with zero time-out makes close() send RST, so that the client surely sees a broken connection.
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


async def _read(stream: trio.SocketStream) -> Request | None:
    data = b""
    while b"\r\n\r\n" not in data:
        more = await stream.receive_some(65536)
        if not more:
            return None
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    line, *fields = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (field.partition(":") for field in fields)}
    while len(body) < int(headers.get("content-length", 0)):
        body += await stream.receive_some(65536)
    method, target, _ = line.split(" ")
    parts = urlsplit(target)
    return Request(method, parts.path, {key: values[0] for key, values in parse_qs(parts.query).items()}, headers, body)
