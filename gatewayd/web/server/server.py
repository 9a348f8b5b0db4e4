"""The HTTP server: the accept loops and the stop. It speaks HTTP/1.1 only.

An error of one connection ends no other. No connection delays a stop: every write has a limit, and at the end sockets are closed
by force. At ``gateway.max_connections`` the server stops accepting, and further clients wait in the kernel's listen queue. A
client that holds its share of connections is refused (web/http/connection_slots.py). The operators' socket has slots of its own,
so that a flood on the port does not lock the operators out."""

import errno
from collections.abc import Callable, Sequence
from math import inf
from typing import Final
from urllib.parse import urlsplit

import anyio
import structlog
import trio
from anyio.abc import TaskGroup
from msgspec import Struct

from gatewayd.web.app import GatewayApp
from gatewayd.web.http.connection_slots import OPERATORS, Release, nothing
from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.request_id import new_request_id
from gatewayd.web.http.response import render_error
from gatewayd.web.server.accelerator import Accelerator
from gatewayd.web.server.connection import Connection
from gatewayd.web.server.http1 import Http1Site
from gatewayd.web.server.listen import url_of
from gatewayd.web.server.request_memory import RequestMemory
from gatewayd.web.server.stream import ClientStream

GRACE_SECONDS: Final = 3.0
"""How long running requests may go on when the server stops."""
_ACCEPT_PAUSE_SECONDS: Final = 0.1
_LOG_PAUSE_SECONDS: Final = 60.0
# No descriptors or memory left: the same errors as in trio.serve_listeners.
_NO_DESCRIPTORS: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOBUFS})
_REJECTED_NOTE: Final = "see gateway.max_connections_per_address; a reverse proxy is named in gateway.trusted_proxies"

log = structlog.get_logger("gatewayd.web")


class ServerStatistics(Struct, frozen=True):
    """``open`` of at most ``limit`` connections; ``accepted`` since the start."""

    open: int
    limit: int
    accepted: int


class GatewayServer:
    """Serves ``app`` until :meth:`stop`. One use only. ``accelerates``: webhooks are answered in front of the app.
    ``no_descriptors_since``: the Unix time since when accepting fails for lack of descriptors or memory; None: it works."""

    def __init__(
        self,
        app: GatewayApp,
        *,
        max_body_bytes: int,
        accelerates: bool = True,
        grace_seconds: float = GRACE_SECONDS,
    ) -> None:
        self._app = app
        self._connection_slots = app.connection_slots
        self._site = Http1Site(app, app.traffic.note, self._connection_slots)
        self._accelerator = Accelerator(app.webhooks, max_body_bytes=max_body_bytes, enabled=accelerates)
        self._request_memory = RequestMemory(max_body_bytes=max_body_bytes)
        self._grace = grace_seconds
        self._slots = trio.Semaphore(app.connection_slots.limit, max_value=app.connection_slots.limit)
        self._operators = trio.Semaphore(OPERATORS, max_value=OPERATORS)
        self._connections: set[Connection] = set()
        self._closing = trio.Event()
        self._stopping = trio.Event()
        self._stopped = trio.Event()
        self._accepted = 0
        self._warned_at: dict[str, float] = {}
        self.no_descriptors_since: float | None = None
        self.urls: tuple[str, ...] = ()

    async def serve(
        self,
        listeners: Sequence[trio.SocketListener],
        *,
        operators: trio.SocketListener | None = None,
        task_status: trio.TaskStatus[tuple[str, ...]] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        """Accept and serve; closes the listeners. ``task_status`` gets the URLs of ``listeners``; the first is that of a TCP one.
        Returns after :meth:`stop`, when every connection is closed: after the grace time at the latest. A cancellation closes
        them at once."""
        self.urls = tuple(map(url_of, listeners))
        try:
            async with anyio.create_task_group() as background:
                await background.start(self._app.webhooks.run)
                async with anyio.create_task_group() as connections:
                    background.start_soon(self._cut_off_in_time, connections)
                    async with anyio.create_task_group() as accepting:
                        for listener in listeners:
                            accepting.start_soon(self._accept, listener, self._slots, self._admit, connections)
                        if operators is not None:
                            accepting.start_soon(self._accept, operators, self._operators, self._admit_operator, connections)
                        task_status.started(self.urls)
                        await self._closing.wait()
                        accepting.cancel_scope.cancel()
                    await self._wind_up()
                background.cancel_scope.cancel()
        finally:
            self._stopped.set()

    def stop_accepting(self) -> None:
        """Close the listeners and idle connections; each running request is the last of its connection. For listeners that the
        service manager keeps: the next process answers new connections. :meth:`stop` must follow."""
        self._closing.set()

    def stop(self) -> None:
        """Close the listeners and idle connections, end streams and long polls, and let running requests finish."""
        self._stopping.set()
        self._closing.set()

    async def wait_stopped(self) -> None:
        """Returns when :meth:`serve` has returned: every connection is closed."""
        await self._stopped.wait()

    def statistics(self) -> ServerStatistics:
        return ServerStatistics(open=self._connection_slots.taken, limit=self._connection_slots.limit, accepted=self._accepted)

    async def _wind_up(self) -> None:
        await self._site.stop()
        if not self._stopping.is_set():
            for connection in tuple(self._connections):
                connection.close_soon()
            await self._stopping.wait()
        self._app.waits.end_all()
        for connection in tuple(self._connections):
            connection.stop()

    async def _cut_off_in_time(self, connections: TaskGroup) -> None:
        """Close the connections by force after the grace time, or at once when the server is cancelled. Writes are shielded, so
        a cancellation does not end them, but closing the socket does."""
        try:
            await self._stopping.wait()
            await trio.sleep(self._grace)
        finally:
            for connection in tuple(self._connections):
                connection.abort()
            connections.cancel_scope.cancel()

    async def _accept(
        self,
        listener: trio.SocketListener,
        slots: trio.Semaphore,
        admit: Callable[[ClientStream], Release],
        connections: TaskGroup,
    ) -> None:
        async with listener:
            while True:
                if slots.value == 0:
                    self._warn("connection_limit_reached", limit=slots.max_value)
                await slots.acquire()
                client = self._admitted(await self._accept_one(listener), slots, admit)
                if client is None:
                    slots.release()
                else:
                    connections.start_soon(self._serve_one, *client)

    def _admitted(
        self, stream: trio.SocketStream, slots: trio.Semaphore, admit: Callable[[ClientStream], Release]
    ) -> tuple[ClientStream, Callable[[], None]] | None:
        """The client, and what gives its slot back; None: it has gone, or there is no slot for it."""
        self._accepted += 1
        try:
            client = ClientStream(stream, self._request_memory.open())
        except OSError:
            stream.socket.close()
            return None
        try:
            release = admit(client)
        except HttpError as error:
            self._warn("connection_rejected", client=client.client, reason=str(error), note=_REJECTED_NOTE)
            self._site.answered(error.status)
            client.reject(render_error(error, new_request_id()))
            return None

        def leave_slot() -> None:
            release()
            slots.release()

        return client, leave_slot

    def _admit(self, client: ClientStream) -> Release:
        return self._connection_slots.connect(client.client and client.client[0])

    def _admit_operator(self, client: ClientStream) -> Release:
        """The mode of the file has decided who may connect. Requests name the Host of the port."""
        port = urlsplit(self.urls[0])
        client.stands_for(port.hostname or "", port.port or 0)
        return nothing

    async def _serve_one(self, client: ClientStream, release: Callable[[], None]) -> None:
        connection = Connection(client, self._site, self._app.webhooks, self._accelerator)
        self._connections.add(connection)
        if self._stopping.is_set():
            connection.stop()
        elif self._closing.is_set():
            connection.close_soon()
        try:
            await connection.serve()
        finally:
            self._connections.discard(connection)
            release()

    async def _accept_one(self, listener: trio.SocketListener) -> trio.SocketStream:
        while True:
            try:
                with trio.move_on_after(inf if self.no_descriptors_since is None else _ACCEPT_PAUSE_SECONDS):
                    stream = await listener.accept()
                    self._note_descriptors(since=None)
                    return stream
                self._note_descriptors(since=None)  # accept() blocks again, as it should
            except OSError as error:
                if error.errno not in _NO_DESCRIPTORS:
                    raise
                if self.no_descriptors_since is None:
                    self._note_descriptors(since=self._app.gateway.now())
                self._warn("accept_failed", reason=error.strerror)
                await trio.sleep(_ACCEPT_PAUSE_SECONDS)

    def _note_descriptors(self, *, since: float | None) -> None:
        if since != self.no_descriptors_since:
            self.no_descriptors_since = since
            self._app.gateway.note_no_descriptors(since)

    def _warn(self, event: str, **fields: object) -> None:
        """Log an event, but at most once a minute."""
        now = trio.current_time()
        if now - self._warned_at.get(event, -inf) >= _LOG_PAUSE_SECONDS:
            self._warned_at[event] = now
            log.warning(event, **fields)
