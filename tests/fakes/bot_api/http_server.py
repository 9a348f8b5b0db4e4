"""A small HTTP/1.1 server for fakes: real sockets, keep-alive, pipelining, and the freedom to misbehave.

RFC 9112 framing is left to httptools. A handler may answer at once or in a stream of chunks, or return
None: then the connection is reset without an answer, as a crashing server does.
"""

import socket
import struct
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import httptools
import trio
from msgspec import Struct

BODY_LIMIT_BYTES = 64 * 1024 * 1024

REASONS = {
    200: "OK",
    201: "Created",
    204: "No Content",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    409: "Conflict",
    413: "Content Too Large",
    421: "Misdirected Request",
    429: "Too Many Requests",
    500: "Internal Server Error",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


class Request(Struct):
    """One request, whole. Header names are lower case; ``path`` is as sent, not percent-decoded."""

    method: str
    path: str
    query: str
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class Response(Struct):
    """One answer. ``headers`` are added to the framing headers."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


class ConnectionCut(Exception):
    """Raised by a stream's ``write``: break the connection in mid-stream."""


Send = Callable[[bytes], Awaitable[None]]


class Stream(Struct):
    """An answer in chunks; the status line goes with the first. ``write`` is cancelled when the client closes the connection."""

    write: Callable[[Send], Awaitable[None]]
    status: int = 200
    content_type: str = "text/event-stream"
    headers: tuple[tuple[str, str], ...] = ()


Handler = Callable[[Request], Awaitable[Response | None]]
StreamingHandler = Callable[[Request], Awaitable[Response | Stream | None]]
Upgraded = Callable[[Request, trio.SocketStream], Awaitable[None]]
"""Takes a connection over that a request wants to upgrade (RFC 9110, 7.8); it is closed afterwards."""


async def listen(port: int) -> trio.SocketListener:
    """A listener on 127.0.0.1; port 0 takes a free one. The caller closes it."""
    (listener,) = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=4096)
    return listener


def port_of(listener: trio.SocketListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


async def serve_http(listener: trio.SocketListener, handle: StreamingHandler, upgraded: Upgraded | None = None) -> None:
    """Serve until cancelled. Without ``upgraded`` a request to upgrade is refused."""
    await trio.serve_listeners(partial(_serve_connection, handle, upgraded), [listener])


class _Requests:
    """Collects whole requests out of httptools' callbacks."""

    def __init__(self) -> None:
        self.whole: deque[Request] = deque()
        self.parser = httptools.HttpRequestParser(self)
        self.too_large = False
        self._begin()

    def _begin(self) -> None:
        self._url = b""
        self._headers: dict[str, str] = {}
        self._body: list[bytes] = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > BODY_LIMIT_BYTES:
            self.too_large = True
        else:
            self._body.append(body)

    def on_message_complete(self) -> None:
        path, _, query = self._url.decode("latin-1").partition("?")
        self.whole.append(
            Request(
                method=self.parser.get_method().decode("ascii"),
                path=path,
                query=query,
                headers=self._headers,
                body=b"".join(self._body),
                keep_alive=self.parser.should_keep_alive(),
            )
        )
        self._begin()


async def _serve_connection(handle: StreamingHandler, upgraded: Upgraded | None, stream: trio.SocketStream) -> None:
    requests = _Requests()
    try:
        async with stream:
            while data := await stream.receive_some(65536):
                if not await _answer(stream, requests, data, handle, upgraded):
                    return
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        return


async def _answer(
    stream: trio.SocketStream, requests: _Requests, data: bytes, handle: StreamingHandler, upgraded: Upgraded | None
) -> bool:
    """Feed ``data`` and answer what it completes. False: the connection is over."""
    try:
        requests.parser.feed_data(data)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
        if upgraded is not None and isinstance(error, httptools.HttpParserUpgrade):
            await upgraded(requests.whole.pop(), stream)
            return False
        await stream.send_all(encode(Response(400, b"", "text/plain"), keep_alive=False))
        return False
    if requests.too_large:
        await stream.send_all(encode(Response(413, b"", "text/plain"), keep_alive=False))
        return False
    while requests.whole:
        request = requests.whole.popleft()
        response = await handle(request)
        if isinstance(response, Stream):
            if not await _send_stream(stream, requests, response, keep_alive=request.keep_alive):
                return False
        elif response is None:
            _break(stream)
            return False
        else:
            await stream.send_all(encode(response, keep_alive=request.keep_alive))
        if not request.keep_alive:
            return False
    return True


def _break(stream: trio.SocketStream) -> None:
    # SO_LINGER with zero time-out makes close() send RST, so that the client surely sees a broken connection.
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def _send_stream(stream: trio.SocketStream, requests: _Requests, response: Stream, *, keep_alive: bool) -> bool:
    """False: the connection is over, by either side."""
    whole = False
    head = _head(response, "Transfer-Encoding: chunked", keep_alive=keep_alive)

    async def send(data: bytes) -> None:
        nonlocal head
        before, head = head, b""
        await stream.send_all(before + b"%x\r\n%s\r\n" % (len(data), data))

    async def watch(scope: trio.CancelScope) -> None:
        with suppress(trio.BrokenResourceError, httptools.HttpParserError):
            while data := await stream.receive_some(65536):
                requests.parser.feed_data(data)  # the next request, which has to wait
        scope.cancel()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch, nursery.cancel_scope)
        try:
            await response.write(send)
            await stream.send_all(head + b"0\r\n\r\n")
            whole = True
        except ConnectionCut:
            _break(stream)
        except trio.BrokenResourceError:
            pass
        nursery.cancel_scope.cancel()
    return whole


def encode(response: Response, *, keep_alive: bool) -> bytes:
    """The bytes of one answer."""
    return _head(response, f"Content-Length: {len(response.body)}", keep_alive=keep_alive) + response.body


def _head(response: Response | Stream, framing: str, *, keep_alive: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {response.status} {REASONS.get(response.status, 'Unknown')}",
        f"Connection: {'keep-alive' if keep_alive else 'close'}",
        f"Content-Type: {response.content_type}",
        framing,
        *(f"{name}: {value}" for name, value in response.headers),
    ]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
