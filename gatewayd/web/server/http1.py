"""hypercorn's HTTP/1.1 protocol on one connection, between our bounded stream and the Quart app.

This module replaces ``hypercorn.trio.TCPServer`` (0.18). That class writes under a shield without a deadline, so a client that
never reads makes a stop impossible, and it turns a connection into HTTP/2 or WebSocket when the client asks for it. Neither can
be configured away. Only its ``H11Protocol`` is used here; the stream, the time-outs and the errors are ours."""

from collections.abc import Callable
from math import inf
from typing import Any, Final

import h11
import structlog
import trio
from hypercorn.config import Config
from hypercorn.events import Closed, Event, RawData, Updated
from hypercorn.protocol.h11 import H11Protocol
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ConnectionState, Scope

from gatewayd.actor.border import leaves
from gatewayd.web.http.connection_slots import ConnectionSlots
from gatewayd.web.http.errors import AnswerCut, HttpError, error_of_status
from gatewayd.web.http.paths import PROBE_PATHS
from gatewayd.web.http.request_id import FIELD, HEADER, STATE, new_request_id, request_id_of
from gatewayd.web.http.response import SECURITY_HEADERS, render_error
from gatewayd.web.http.waits import CLIENT, Waits
from gatewayd.web.server.head import MAX_HEAD_BYTES, require_http11
from gatewayd.web.server.stream import ClientStream

KEEP_ALIVE_SECONDS: Final = 30.0
"""How long a connection may be idle between requests."""
AFTER_DISCONNECT_SECONDS: Final = 5.0
"""How long a handler may run after its client has gone."""

log = structlog.get_logger("gatewayd.web")


class Http1Site:
    """The parts that all connections share: the app, hypercorn's configuration, and whether the server stops."""

    def __init__(self, app: ASGIFramework, answered: Callable[[int], None], connection_slots: ConnectionSlots) -> None:
        """``answered`` is called with the status of each response that the app does not see."""
        self._app = app
        self.answered = answered
        self.connection_slots = connection_slots
        self.config = Config()
        self.config.accesslog = None
        self.config.errorlog = None  # errors are logged below, or by Connection.serve
        self.config.include_server_header = False
        self.config.h11_max_incomplete_size = MAX_HEAD_BYTES
        self.context = WorkerContext(None)

    async def run_app(
        self,
        scope: Scope,
        receive: ASGIReceiveCallable,
        send: ASGISendCallable,
        sync_spawn: Callable[..., Any],
        call_soon: Callable[..., Any],
    ) -> None:
        """hypercorn's ``AppWrapper``. The app answers the errors of its handlers. An error in the middle of a response is logged
        here, and hypercorn closes the connection."""
        with structlog.contextvars.bound_contextvars(**{FIELD: scope["state"][STATE]}):
            try:
                await self._run_in_place(scope, receive, send)
            except* AnswerCut as cut:
                log.warning("response_truncated", reason=str(leaves(cut)[0]))
            except* Exception:
                log.exception("response_failed")

    async def _run_in_place(self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable) -> None:
        assert scope["type"] == "http", "see _Http11"
        client = scope["client"]
        try:
            probes = scope["path"] in PROBE_PATHS  # a load balancer's: it counts for no client
            release = None if probes else self.connection_slots.request(client[0] if client else None, scope["headers"])
        except HttpError as error:
            self.answered(error.status)
            await _send_error(error, send)
            return
        try:
            await self._app(scope, receive, send)
        finally:
            if release is not None:
                release()

    async def stop(self) -> None:
        """From now on each connection closes after its running request."""
        await self.context.terminated.set()


class _Http11(H11Protocol):
    """Refuses other protocols by an HttpError. The last response of a connection, which comes before the whole request or while
    the server closes, announces the close (RFC 9112, section 9.6): otherwise a client would send its next request there.
    ``streams``: the running response has no length."""

    streams = False
    request_id = ""

    async def _check_protocol(self, event: h11.Request) -> None:
        self.request_id = self.connection_state[STATE] = request_id_of(event.headers)
        if event.http_version not in (b"1.0", b"1.1"):
            raise HttpError("http_version_not_supported", "this HTTP version is not served: send HTTP/1.1")
        require_http11(event.method, event.target, event.headers)

    async def _send_h11_event(self, event: h11.Data | h11.EndOfMessage | h11.InformationalResponse | h11.Response) -> None:
        last = self.connection.their_state is h11.SEND_BODY or self.context.terminated.is_set()
        if isinstance(event, h11.Response):
            self.streams = all(name.lower() != b"content-length" for name, _ in event.headers)
            headers = [*event.headers, (HEADER.encode(), self.request_id.encode())]
            event = h11.Response(status_code=event.status_code, headers=headers + [(b"connection", b"close")] * last)
        await super()._send_h11_event(event)

    async def _send_error_response(self, status_code: int) -> None:
        raise error_of_status(status_code)


class Http1Connection:
    """Serves requests with the app until the client closes or the keep-alive time is over. Does not close ``stream``. ``first``
    holds the bytes that were read before: at least one whole request head."""

    def __init__(self, site: Http1Site, stream: ClientStream, first: bytes) -> None:
        self._site = site
        self._stream = stream
        self._first = first
        self._sending = trio.Lock()
        self._reader = trio.CancelScope()
        self._receiving = trio.CancelScope()
        self._idle_deadline = inf
        self._ended = False
        self._heard_all = False
        self._client_waits = Waits()
        self._protocol: _Http11

    @property
    def unread(self) -> bool:
        """Whether the client may still be sending a request that was answered."""
        return self._protocol.connection.their_state in (h11.SEND_BODY, h11.ERROR)

    async def run(self) -> None:
        """:raises ExceptionGroup: any error; hypercorn catches none."""
        with trio.CancelScope() as scope:
            async with TaskGroup() as tasks:
                self._protocol = _Http11(
                    self._site.run_app,
                    self._site.config,
                    self._site.context,
                    tasks,
                    ConnectionState({CLIENT: self._client_waits}),
                    False,
                    self._stream.client,
                    self._stream.server,
                    self._on_event,
                )
                await self._read()
                scope.deadline = trio.current_time() + AFTER_DISCONNECT_SECONDS

    def stop(self) -> None:
        """End now, or after the running request (hypercorn does that)."""
        if self._idle_deadline < inf:
            self._end()

    def end_idle_within(self, seconds: float) -> None:
        """End after ``seconds`` without a request, or after the running request (hypercorn does that)."""
        if self._idle_deadline < inf:
            self._idle_deadline = min(self._idle_deadline, trio.current_time() + seconds)
            self._receiving.deadline = self._idle_deadline

    async def _read(self) -> None:
        try:
            with self._reader:
                data, self._first = self._first, b""
                while data:
                    await self._protocol.handle(RawData(data))
                    del data
                    data = await self._receive()
                # h11 reports a request that was cut.
                await self._protocol.handle(RawData(b""))
                self._heard_all = True
                self._client_waits.end_all()
                if self._has_unanswered_request:
                    await trio.sleep_forever()
        except HttpError as error:
            self._ended = True
            if self._protocol.connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                self._site.answered(error.status)
                await self._write(render_error(error, self._protocol.request_id or new_request_id()))
        self._ended = True
        # Outside the scope above: if this call were cancelled, the app would not hear of the disconnect.
        await self._protocol.handle(Closed())

    @property
    def _has_unanswered_request(self) -> bool:
        """Whether a whole request has come. It is carried out and answered even when the client has closed its side, unless the
        response is a stream."""
        answering = self._protocol.connection.our_state in (h11.SEND_RESPONSE, h11.SEND_BODY)
        return answering and not self._protocol.streams

    async def _receive(self) -> bytes:
        with trio.CancelScope(deadline=self._idle_deadline) as self._receiving:
            return await self._stream.receive()
        return b""

    async def _on_event(self, event: Event) -> None:
        if isinstance(event, RawData):
            if self._ended:
                await trio.lowlevel.checkpoint()
            else:
                await self._write(event.data)
            if self._heard_all and not self._has_unanswered_request:
                self._end()
        elif isinstance(event, Closed):
            self._end()
        elif isinstance(event, Updated):
            self._idle_deadline = trio.current_time() + KEEP_ALIVE_SECONDS if event.idle else inf
            if event.idle:
                self._stream.memory.clear()
            self._receiving.deadline = self._idle_deadline

    async def _write(self, data: bytes) -> None:
        async with self._sending:
            try:
                # Shielded, because half a write cannot be undone. The stream limits its time.
                with trio.CancelScope(shield=True):
                    await self._stream.send(data)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                self._end()

    def _end(self) -> None:
        """Stop reading and writing. The reader tells the app."""
        self._ended = True
        self._reader.cancel()


async def _send_error(error: HttpError, send: ASGISendCallable) -> None:
    fields = error.headers | {"Content-Type": "application/json", "Content-Length": str(len(error.body))}
    headers = [(name.lower().encode(), value.encode()) for name, value in {**SECURITY_HEADERS, **fields}.items()]
    await send({"type": "http.response.start", "status": error.status, "headers": headers, "trailers": False})
    await send({"type": "http.response.body", "body": error.body, "more_body": False})
