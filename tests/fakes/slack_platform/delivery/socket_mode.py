"""Socket Mode: tickets, connections, envelopes and acknowledgements (docs.slack.dev/apis/events-api/using-socket-mode).

An app may hold up to 10 connections; a payload goes to one of them. A connection that a refresh was asked of gets no more
payloads, and is closed some seconds later.
"""

import secrets
from collections.abc import Callable
from typing import Literal

import msgspec
import trio
from msgspec import Struct

from tests.fakes.bot_api.bot import Signal
from tests.fakes.bot_api.http_server import Request
from tests.fakes.slack_platform.delivery.deliveries import ACK_SECONDS, Delivery
from tests.fakes.slack_platform.delivery.websocket import WebSocket
from tests.fakes.slack_platform.errors import Json

MAX_CONNECTIONS = 10
TICKET_SECONDS = 30.0
CLOSE_SECONDS = 10.0
CONNECTION_SECONDS = 18060
DisconnectReason = Literal["warning", "refresh_requested", "link_disabled", "too_many_websockets"]


class Connection(Struct):
    """One open connection. ``leaving``: it gets no more payloads."""

    id: str
    socket: WebSocket
    number: int
    leaving: bool = False
    sent: int = 0


class Pending(Struct):
    """An envelope on its way: ``done`` is set by its acknowledgement or by the end of its connection."""

    delivery: Delivery
    connection: Connection
    done: trio.Event
    acknowledged: bool = False


class SocketMode:
    """The WebSocket server of one app."""

    def __init__(self, app: str, url: Callable[[], str], ping_seconds: float | None, changed: Signal) -> None:
        self._app = app
        self._url = url
        self._ping_seconds = ping_seconds
        self._tickets: dict[str, float] = {}
        self._numbers = 0
        self.connections: list[Connection] = []
        self.foreign = 0
        self.enabled = True
        self.refusals: list[int] = []
        self._changed = changed
        self.received: list[Json] = []
        self._pending: dict[str, Pending] = {}

    def open(self) -> str:
        """The URL of apps.connections.open, good for one connection."""
        ticket = secrets.token_hex(16)
        self._tickets[ticket] = trio.current_time() + TICKET_SECONDS
        return f"{self._url()}/link/?ticket={ticket}&app_id={self._app}"

    async def serve(self, request: Request, stream: trio.SocketStream) -> None:
        """One connection, from its handshake on."""
        query = dict(part.partition("=")[::2] for part in request.query.split("&"))
        expires = self._tickets.pop(query.get("ticket", ""), 0.0)
        socket = WebSocket(stream)
        status = self.refusals.pop(0) if self.refusals else 401
        if status != 401 or not request.path.startswith("/link") or expires < trio.current_time():
            await stream.send_all(b"HTTP/1.1 %d No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n" % status)
            return
        if not await socket.accept(request):
            return
        if not self.enabled:  # for this apps.connections.open has no documented error
            await self._refuse(socket, "link_disabled")
            return
        if len(self.connections) + self.foreign >= MAX_CONNECTIONS:
            await self._refuse(socket, "too_many_websockets")
            return
        self._numbers += 1
        connection = Connection(f"applink-{self._numbers}", socket, self._numbers)
        async with trio.open_nursery() as nursery:
            self.connections.append(connection)
            try:
                await socket.send(self._hello(connection))
                self._changed.notify()
                if self._ping_seconds is not None:
                    nursery.start_soon(self._ping, connection, self._ping_seconds)
                async for text in socket.texts():
                    self._acknowledge(text, connection)
            except trio.BrokenResourceError:
                pass
            finally:
                self._gone(connection)
                nursery.cancel_scope.cancel()

    async def _refuse(self, socket: WebSocket, reason: DisconnectReason) -> None:
        await socket.send(_encode(self._disconnect(reason, "applink")))
        await socket.close(1000)
        with trio.move_on_after(CLOSE_SECONDS):
            async for _ in socket.texts():
                pass

    def _hello(self, connection: Connection) -> str:
        return _encode(
            {
                "type": "hello",
                "num_connections": len(self.connections) + self.foreign,
                "debug_info": {
                    "host": connection.id,
                    "build_number": 123,
                    "approximate_connection_time": CONNECTION_SECONDS,
                },
                "connection_info": {"app_id": self._app},
            }
        )

    async def _ping(self, connection: Connection, seconds: float) -> None:
        while True:
            await trio.sleep(seconds)
            try:
                await connection.socket.ping(f"Ping from {connection.id}".encode())
            except trio.BrokenResourceError:
                return

    def _acknowledge(self, text: str, connection: Connection) -> None:
        """It counts on the connection that brought the envelope."""
        try:
            frame = msgspec.json.decode(text, type=Json)
        except msgspec.DecodeError:
            return
        self.received.append(frame)
        pending = self._pending.get(str(frame.get("envelope_id")))
        if pending is not None and pending.connection is connection:
            pending.acknowledged = True
            pending.delivery.answer = frame.get("payload")
            pending.done.set()
        self._changed.notify()

    def _gone(self, connection: Connection) -> None:
        if connection in self.connections:
            self.connections.remove(connection)
        connection.socket.closed.set()
        for pending in list(self._pending.values()):
            if pending.connection is connection:
                pending.done.set()
        self._changed.notify()

    async def attempt(self, delivery: Delivery) -> str | None:
        """Send one envelope and wait for its acknowledgement; None when it came within 3 seconds."""
        ready = [connection for connection in self.connections if not connection.leaving]
        if not ready:
            return "connection_failed"
        connection = min(ready, key=lambda one: (one.sent, one.number))
        connection.sent += 1
        envelope_id = delivery.new_envelope_id()
        pending = self._pending[envelope_id] = Pending(delivery, connection, trio.Event())
        try:
            with trio.move_on_after(ACK_SECONDS):
                await connection.socket.send(_encode(_envelope(envelope_id, delivery)))
                await pending.done.wait()
        except trio.BrokenResourceError:
            return "connection_failed"
        finally:
            del self._pending[envelope_id]
        if pending.acknowledged:
            return None
        return "timeout" if not connection.socket.closed.is_set() else "connection_failed"

    # For tests

    async def disconnect(self, reason: DisconnectReason, connection: Connection, *, closes: bool = True) -> None:
        """Ask a client to go: it gets no more payloads (a warning alone changes nothing) and is closed 10 seconds later."""
        connection.leaving = reason != "warning"
        if reason == "link_disabled":
            self.enabled = False
        await connection.socket.send(_encode(self._disconnect(reason, connection.id)))
        if closes and reason != "warning":
            with trio.move_on_after(CLOSE_SECONDS):
                await connection.socket.closed.wait()
                return
            await connection.socket.close(1000)

    def _disconnect(self, reason: str, host: str) -> Json:
        return {"type": "disconnect", "reason": reason, "debug_info": {"host": host}}


def _envelope(envelope_id: str, delivery: Delivery) -> Json:
    envelope: Json = {
        "envelope_id": envelope_id,
        "payload": delivery.payload,
        "type": delivery.kind,
        "accepts_response_payload": delivery.accepts_response_payload,
    }
    if delivery.kind == "events_api":
        envelope["retry_attempt"] = len(delivery.tried)
        envelope["retry_reason"] = delivery.tried[-1] if delivery.tried else ""
    return envelope


def _encode(value: Json) -> str:
    return msgspec.json.encode(value).decode()
