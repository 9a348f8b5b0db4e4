"""The HTTP server: one accept loop, one port, HTTP/1.1.

No connection can end the process (each has a barrier), none can hold up a stop (every write is bounded, and in the end the
sockets are closed by force), and there are never more than ``gateway.max_connections``: then accepting stops, and who comes
next waits in the kernel's listen queue.
"""

import errno
from collections.abc import Sequence
from math import inf
from typing import Final

import structlog
import trio
from msgspec import Struct

from gatewayd.web.app import GatewayApp
from gatewayd.web.connection import Connection
from gatewayd.web.http1 import Http1Site
from gatewayd.web.intake import Intake
from gatewayd.web.listen import url_of
from gatewayd.web.stream import ClientStream

GRACE_SECONDS: Final = 3.0
"""How long requests under way may go on when the server stops."""
_ACCEPT_PAUSE_SECONDS: Final = 0.1
_LOG_PAUSE_SECONDS: Final = 60.0
# No descriptors or memory left: the same errors as in trio.serve_listeners.
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})

log = structlog.get_logger("gatewayd.web")


class ServerStatistics(Struct, frozen=True):
    """``open`` of at most ``limit`` connections; ``accepted`` since the start."""

    open: int
    limit: int
    accepted: int


class GatewayServer:
    """Serves ``app`` until :meth:`stop`. One use only. ``no_room_since``: Unix seconds since when connections cannot be accepted
    for want of descriptors or memory; None while they can."""

    def __init__(
        self, app: GatewayApp, *, max_connections: int, max_body_bytes: int, grace_seconds: float = GRACE_SECONDS
    ) -> None:
        self._app = app
        self._site = Http1Site(app, app.traffic.note)
        app.traffic.connections = lambda: (len(self._connections), self._limit)
        self._max_body = max_body_bytes
        self._intake = Intake(max_body_bytes=max_body_bytes)
        self._limit = max_connections
        self._grace = grace_seconds
        self._slots = trio.Semaphore(max_connections)
        self._connections: set[Connection] = set()
        self._closing = trio.Event()
        self._stopping = trio.Event()
        self._stopped = trio.Event()
        self._accepted = 0
        self._warned_at: dict[str, float] = {}
        self.no_room_since: float | None = None
        self.urls: tuple[str, ...] = ()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve; closes the listeners. Starts with the URLs. Returns after :meth:`stop`, when every connection is
        closed: within the grace time, and a moment for what is cut off then. Cancelling cuts at once."""
        self.urls = tuple(map(url_of, listeners))
        try:
            async with trio.open_nursery() as background:
                await background.start(self._app.webhooks.run)
                async with trio.open_nursery() as connections:
                    background.start_soon(self._cut_off_in_time, connections)
                    async with trio.open_nursery() as accepting:
                        for listener in listeners:
                            accepting.start_soon(self._accept, listener, connections)
                        task_status.started(self.urls)
                        await self._closing.wait()
                        accepting.cancel_scope.cancel()
                    await self._wind_up()
                background.cancel_scope.cancel()
        finally:
            self._stopped.set()

    def stop_accepting(self) -> None:
        """Close the listeners and idle connections; what is under way goes on, and is the last on its connection. For listeners
        that live on elsewhere: who connects from now on is answered by the next process. :meth:`stop` must follow."""
        self._closing.set()

    def stop(self) -> None:
        """Close the listeners and idle connections, end streams and long waits, let requests under way finish."""
        self._stopping.set()
        self._closing.set()

    async def wait_stopped(self) -> None:
        """Returns when :meth:`serve` is over: every connection is closed."""
        await self._stopped.wait()

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(open=len(self._connections), limit=self._limit, accepted=self._accepted)

    async def _wind_up(self) -> None:
        await self._site.stop()
        if not self._stopping.is_set():
            for connection in tuple(self._connections):
                connection.close_soon()
            await self._stopping.wait()
        self._app.waits.end_all()
        for connection in tuple(self._connections):
            connection.stop()

    async def _cut_off_in_time(self, connections: trio.Nursery) -> None:
        """Close by force what is left after the grace time, or at once when the server is cancelled: writes are shielded, so
        a cancellation does not reach them, but a closed socket does."""
        try:
            await self._stopping.wait()
            await trio.sleep(self._grace)
        finally:
            for connection in tuple(self._connections):
                connection.abort()
            connections.cancel_scope.cancel()

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        async with listener:
            while True:
                if self._slots.value == 0:
                    self._warn("connection_limit_reached", limit=self._limit)
                await self._slots.acquire()
                stream = await self._accept_one(listener)
                self._accepted += 1
                connections.start_soon(self._serve_one, stream)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        try:
            client = ClientStream(stream, self._intake.open())
        except OSError:
            stream.socket.close()
            self._slots.release()
            return
        connection = Connection(client, self._site, self._app.webhooks, max_body_bytes=self._max_body)
        self._connections.add(connection)
        if self._stopping.is_set():
            connection.stop()
        elif self._closing.is_set():
            connection.close_soon()
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            self._slots.release()

    async def _accept_one(self, listener: trio.SocketListener) -> trio.SocketStream:
        while True:
            try:
                with trio.move_on_after(inf if self.no_room_since is None else _ACCEPT_PAUSE_SECONDS):
                    stream = await listener.accept()
                    self.no_room_since = None
                    return stream
                self.no_room_since = None  # it waits for somebody, as it should
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                if self.no_room_since is None:
                    self.no_room_since = self._app.gateway.now()
                self._warn("accept_failed", reason=error.strerror)
                await trio.sleep(_ACCEPT_PAUSE_SECONDS)

    def _warn(self, event: str, **fields: object) -> None:
        """Log, but not the same again within a minute."""
        now = trio.current_time()
        if now - self._warned_at.get(event, -inf) >= _LOG_PAUSE_SECONDS:
            self._warned_at[event] = now
            log.warning(event, **fields)
