"""A WebSocket client (RFC 6455): wsproto parses, the shared HTTP client connects (its TLS, its proxies, no redirects).

The session of httpx2 is not used. It checks no handshake, waits for ever for a peer that does not read, reads no pong while a
message waits for its reader, and wraps the errors of the block.

A URL can hold a secret, and a peer can say anything: no error's text has a part of either.
"""

import os
from base64 import b64encode
from collections import deque
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from hashlib import sha1
from typing import Final, Literal
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import httpcore2
import httpx2
from wsproto.connection import Connection, ConnectionState, ConnectionType
from wsproto.events import BytesMessage, CloseConnection, Event, Ping, TextMessage
from wsproto.utilities import LocalProtocolError

from gatewayd.actor.wakeup import Wakeup
from gatewayd.kit.http import CONNECT_SECONDS, retry_after_seconds, words_for
from gatewayd.model.errors import GatewayError

MESSAGE_BYTES: Final = 16 * 1024 * 1024
"""The default bound of one message, and of all that wait for ``receive``: Discord sends a large guild as one message."""
MESSAGES_WAITING: Final = 64
"""Messages that wait for ``receive``. When there are more, the peer has to wait."""
HANDSHAKE_SECONDS: Final = 20.0
"""For the whole way to an open WebSocket."""
CLOSE_SECONDS: Final = 3.0
"""For the peer's answer to a close frame. Not every server gives one, and not every server closes TCP after it."""

NO_CODE: Final = 1005
"""The close frame had no code (RFC 6455, section 7.4.1)."""
NO_CLOSE_FRAME: Final = 1006
"""There was no close frame (RFC 6455, section 7.4.1)."""

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_TOO_BIG: Final = 1009
_CHUNK: Final = 65_536
_ROUNDS: Final = 3  # of the event loop, until bytes that came while this process stood still are read


class WebSocketClosed(GatewayError):
    """The connection is over, or did not come about: the only error of this module. What it means is for the driver to decide.

    ``code`` is the close code, NO_CODE or NO_CLOSE_FRAME. ``by`` says who ended it: "peer", with a close frame or by refusing the
    handshake; "us", with ``close`` or because the peer broke the protocol (1002, 1007) or a bound (1009); "network": it broke,
    or nothing came in time. ``text`` is the close frame's own, at most 123 bytes: it is untrusted, and not in ``str(error)``.
    ``status`` is the HTTP status of a refused handshake, ``retry_after_seconds`` its header of that name.
    """

    def __init__(
        self,
        reason: str,
        *,
        by: Literal["peer", "us", "network"],
        code: int = NO_CLOSE_FRAME,
        text: str = "",
        status: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(reason)
        self.by = by
        self.code = code
        self.text = text
        self.status = status
        self.retry_after_seconds = retry_after_seconds


@asynccontextmanager
async def connect(
    http: httpx2.AsyncClient,
    url: str,
    *,
    headers: Mapping[str, str] | None = None,
    subprotocols: Sequence[str] = (),
    max_message_bytes: int = MESSAGE_BYTES,
    ping_seconds: float = 20.0,
    pong_seconds: float = 20.0,
    leaves_with: int = 1000,
) -> AsyncIterator["WebSocket"]:
    """Connect to a ``ws:`` or ``wss:`` URL. Redirects are not followed: what is secret would go with them.

    Every ``ping_seconds`` the peer is asked for a sign of life. If nothing comes within ``pong_seconds`` after that, the
    connection is over. Leaving the block closes with the code ``leaves_with``, within CLOSE_SECONDS. An error of the block comes
    out of it as it is, in no group.

    :raises WebSocketClosed: also of the handshake.
    """
    failure: Exception | None = None
    async with _upgraded(http, url, headers or {}, subprotocols) as (stream, subprotocol):
        websocket = WebSocket(stream, subprotocol, max_message_bytes)
        async with anyio.create_task_group() as group:
            group.start_soon(websocket._live, ping_seconds, pong_seconds)
            try:
                yield websocket
            except Exception as error:
                failure = error  # raised below: the group would wrap it
            finally:
                with anyio.CancelScope(shield=True):
                    await websocket.close(leaves_with)
                websocket._life.cancel()
    if failure is not None:
        raise failure


class WebSocket:
    """An open connection. Several tasks may use it at once. ``subprotocol`` is the one that the peer chose.

    It is read all the time, also while nobody receives: pings are answered, and what is received waits, within bounds.
    ``heard_at`` is when the last bytes came, of a pong, say, on the clock of the event loop.
    """

    def __init__(self, stream: httpcore2.AsyncNetworkStream, subprotocol: str | None, max_message_bytes: int) -> None:
        self.subprotocol = subprotocol
        self.heard_at = anyio.current_time()
        self._stream = stream
        self._max_bytes = max_message_bytes
        self._wire = Connection(ConnectionType.CLIENT)
        self._writing = anyio.Lock()
        self._partial = bytearray()
        self._waiting: deque[tuple[str | bytes, int]] = deque()
        self._waiting_bytes = 0
        self._changed = Wakeup()
        self._reading: object | None = None  # another one each time
        self._cause: WebSocketClosed | None = None
        self._over = anyio.Event()
        self._life = anyio.CancelScope(shield=True)

    async def receive(self) -> str | bytes:
        """The next message: a text or bytes, as the peer sent it. There is no time limit. A cancelled call loses no message.

        :raises WebSocketClosed: after all messages that came before the end.
        """
        await anyio.lowlevel.checkpoint()
        while not self._waiting:
            if self._over.is_set():
                raise self._closed()
            await self._changed.wait()
        message, size = self._waiting.popleft()
        self._waiting_bytes -= size
        self._changed.notify()
        return message

    async def send(self, message: str | bytes) -> None:
        """Send a text or bytes as one message. It returns when the system has taken it over, which says nothing about the peer.

        A call that is cancelled in the middle of its frame ends the connection: the peer could not tell what is next.

        :raises WebSocketClosed: the connection is closing, or over. The peer may have the message, or not.
        """
        await self._write(TextMessage(message) if isinstance(message, str) else BytesMessage(message))

    async def close(self, code: int = 1000, text: str = "") -> None:
        """Send a close frame, and wait up to CLOSE_SECONDS for the peer's. What comes until then can still be received.

        :param code: 1000, 1001, 1003, 1007 to 1011, or 3000 to 4999 (RFC 6455, section 7.4). :param text: up to 123 bytes.
        """
        cause = WebSocketClosed(f"closed by gatewayd with code {code}", by="us", code=code)
        with anyio.move_on_after(CLOSE_SECONDS):
            await self._say_goodbye(cause, CloseConnection(code, text))
            await self._over.wait()
        self._end(cause)

    async def _live(self, ping_seconds: float, pong_seconds: float) -> None:
        """What runs as long as the connection. Who leaves it because of a cancellation hears the peer's close frame, too."""
        with self._life:
            async with anyio.create_task_group() as group:
                group.start_soon(self._read)
                group.start_soon(self._keep_alive, ping_seconds, pong_seconds)
                group.start_soon(self._disconnect)

    async def _say_goodbye(self, cause: WebSocketClosed, frame: CloseConnection) -> None:
        """Send a close frame, unless there was one."""
        if self._cause is None:
            self._cause = cause
            self._changed.notify()
            with suppress(WebSocketClosed):
                await self._write(frame)

    def _end(self, cause: WebSocketClosed) -> None:
        """Nothing is sent or read any more. The first cause counts."""
        self._cause = self._cause or cause
        self._over.set()
        self._changed.notify()

    def _closed(self) -> WebSocketClosed:
        assert self._cause is not None
        return self._cause.with_traceback(None)

    async def _disconnect(self) -> None:
        """Close TCP at the end: a task that writes to a peer that does not read has no other way out."""
        await self._over.wait()
        with anyio.CancelScope() as scope:
            scope.cancel()
            await self._stream.aclose()

    async def _write(self, event: Event) -> None:
        async with self._writing:
            if self._over.is_set():
                raise self._closed()
            try:
                frame = self._wire.send(event)
            except LocalProtocolError:
                raise self._closed() from None
            is_written = False
            try:
                with suppress(httpcore2.NetworkError):
                    await self._stream.write(frame)
                    is_written = True
            finally:
                if not is_written:
                    self._end(WebSocketClosed("the connection broke", by="network"))
            if not is_written:
                raise self._closed()

    async def _read(self) -> None:
        while not self._over.is_set():
            self._reading = object()
            data = b""
            with suppress(httpcore2.NetworkError):
                data = await self._stream.read(_CHUNK)
            self._reading = None
            if not data:
                self._end(WebSocketClosed("the connection ended without a close frame", by="network"))
                return
            self.heard_at = anyio.current_time()
            self._wire.receive_data(data)
            for event in self._wire.events():
                await self._take(event)
                if self._over.is_set():
                    return
                await anyio.lowlevel.checkpoint()  # a few bytes may be many frames

    async def _take(self, event: Event) -> None:
        match event:
            case TextMessage() | BytesMessage():
                await self._collect(event)
            case Ping() if self._cause is None:
                with suppress(WebSocketClosed):
                    await self._write(event.response())
            case CloseConnection():
                await self._take_close(event)

    async def _take_close(self, event: CloseConnection) -> None:
        match self._wire.state:
            case ConnectionState.REMOTE_CLOSING:
                how = "without a code" if event.code == NO_CODE else f"with code {int(event.code)}"
                cause = WebSocketClosed(f"closed by the peer {how}", by="peer", code=int(event.code), text=event.reason or "")
                await self._leave(cause, event.response())
            case ConnectionState.CLOSED:
                self._end(WebSocketClosed("closed by gatewayd", by="us"))
            case _:  # so wsproto says that the peer breaks the protocol
                cause = WebSocketClosed("the peer broke the WebSocket protocol", by="us", code=int(event.code))
                await self._leave(cause, CloseConnection(event.code))

    async def _leave(self, cause: WebSocketClosed, frame: CloseConnection) -> None:
        with anyio.move_on_after(CLOSE_SECONDS):
            await self._say_goodbye(cause, frame)
        self._end(cause)

    async def _collect(self, event: TextMessage | BytesMessage) -> None:
        self._partial += event.data.encode() if isinstance(event, TextMessage) else event.data
        if len(self._partial) > self._max_bytes:
            why = f"a message of the peer is longer than {self._max_bytes} bytes"
            await self._leave(WebSocketClosed(why, by="us", code=_TOO_BIG), CloseConnection(_TOO_BIG))
        elif event.message_finished:
            size = len(self._partial)
            message = self._partial.decode() if isinstance(event, TextMessage) else bytes(self._partial)
            self._partial.clear()
            await self._keep(message, size)

    async def _keep(self, message: str | bytes, size: int) -> None:
        while self._is_full(size) and self._cause is None:
            await self._changed.wait()
        if not self._is_full(size):
            self._waiting.append((message, size))
            self._waiting_bytes += size
            self._changed.notify()

    def _is_full(self, size: int) -> bool:
        return len(self._waiting) >= MESSAGES_WAITING or self._waiting_bytes + size > self._max_bytes

    async def _keep_alive(self, ping_seconds: float, pong_seconds: float) -> None:
        while not self._over.is_set():
            await anyio.sleep(ping_seconds)
            asked_at, reading = anyio.current_time(), self._reading
            with anyio.move_on_after(pong_seconds) as patience, suppress(WebSocketClosed):
                await self._write(Ping())
            if patience.cancelled_caught:
                self._end(WebSocketClosed(f"the peer read nothing for {pong_seconds:g} s", by="network"))
            await anyio.sleep_until(asked_at + pong_seconds)
            for _ in range(_ROUNDS):
                await anyio.lowlevel.checkpoint()
            if reading is not None and self._reading is reading:
                self._end(WebSocketClosed(f"the peer did not answer a ping within {pong_seconds:g} s", by="network"))


@asynccontextmanager
async def _upgraded(
    http: httpx2.AsyncClient, url: str, headers: Mapping[str, str], subprotocols: Sequence[str]
) -> AsyncIterator[tuple[httpcore2.AsyncNetworkStream, str | None]]:
    """The opening handshake (RFC 6455, section 4.1)."""
    key = b64encode(os.urandom(16))
    asked = {
        "connection": "Upgrade",
        "upgrade": "websocket",
        "sec-websocket-key": key.decode(),
        "sec-websocket-version": "13",
        **({"sec-websocket-protocol": ", ".join(subprotocols)} if subprotocols else {}),
        **headers,
    }
    response = await _ask(http, url, asked)
    try:
        if response.status_code != 101:
            raise WebSocketClosed(
                f"the WebSocket was refused with HTTP {response.status_code}",
                by="peer",
                status=response.status_code,
                retry_after_seconds=retry_after_seconds(response),
            )
        subprotocol = response.headers.get("sec-websocket-protocol")
        if not _accepts(response.headers, key) or (subprotocol is not None and subprotocol not in subprotocols):
            raise WebSocketClosed("the server's answer is no proper WebSocket handshake", by="us", status=101)
        yield response.extensions["network_stream"], subprotocol
    finally:
        with anyio.CancelScope(shield=True):
            await response.aclose()


async def _ask(http: httpx2.AsyncClient, url: str, headers: Mapping[str, str]) -> httpx2.Response:
    failure: Exception
    try:
        if urlsplit(url).scheme not in ("ws", "wss"):
            raise httpx2.InvalidURL("no WebSocket")
        with anyio.fail_after(HANDSHAKE_SECONDS):
            timeout = httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS)
            request = http.build_request("GET", url, headers=headers, timeout=timeout)
            return await http.send(request, stream=True, follow_redirects=False)
    except (httpx2.InvalidURL, httpx2.UnsupportedProtocol, ValueError):
        failure = WebSocketClosed("the address is not a usable ws or wss URL", by="us")
    except (httpx2.RequestError, TimeoutError) as error:
        failure = WebSocketClosed(words_for(error), by="network")
    raise failure  # here, so that it has no context: the library's errors hold the URL


def _accepts(headers: httpx2.Headers, key: bytes) -> bool:
    """Nothing but what was asked for: no extension was."""
    proof = b64encode(sha1(key + _GUID, usedforsecurity=False).digest()).decode()
    return (
        headers.get("upgrade", "").lower() == "websocket"
        and "upgrade" in (token.strip().lower() for token in headers.get("connection", "").split(","))
        and headers.get("sec-websocket-accept", "").strip() == proof
        and "sec-websocket-extensions" not in headers
    )
