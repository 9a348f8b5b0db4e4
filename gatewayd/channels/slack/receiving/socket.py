"""Receiving by Socket Mode (Slack, "Using Socket Mode").

An app may have ten connections at once, and Slack gives each envelope to any one of them. It ends each of them after some hours,
in most cases with a warning. So the next one is open before the old one goes, and the old one is read to its end.

The address of a connection holds a ticket. It is in no text.
"""

import math
import re
from collections.abc import Awaitable, Callable
from typing import Final, NoReturn
from urllib.parse import urlsplit

import anyio
import anyio.abc
import httpx2

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.errors import SlackError, gateway_error
from gatewayd.channels.slack.receiving.connection import Connection
from gatewayd.channels.slack.receiving.deliveries import Deliveries, Received
from gatewayd.channels.slack.receiving.gaps import Gaps
from gatewayd.channels.slack.receiving.inbound import Receiver
from gatewayd.channels.slack.receiving.openings import LONGEST_PAUSE_SECONDS, Crew, Pauses
from gatewayd.channels.slack.wire.answers import ConnectionOpened
from gatewayd.channels.slack.wire.frames import Frame
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.network.websocket import WebSocketClosed, connect
from gatewayd.model.errors import GatewayError, NeedsOperator, TryAgain
from gatewayd.ports.channel import ChannelServices, Deliver

OPEN_SECONDS: Final = 8.0
"""For apps.connections.open: a warning comes about ten seconds before the end of a connection."""
HELLO_SECONDS: Final = 10.0
"""From an open WebSocket to its hello."""
LINGER_SECONDS: Final = 20.0
"""So long a connection that will go is read on after the hello of the next one."""
PING_SECONDS: Final = 10.0
PONG_SECONDS: Final = 10.0
SILENCE_SECONDS: Final = 120.0
"""A longer silence of all connections, pongs included, means that our own reading hangs."""
FRAME_BYTES: Final = 4 * 1024 * 1024
RECHECK_SECONDS: Final = 60.0
LONGEST_RECHECK_SECONDS: Final = 600.0
"""While another program uses the app token, a connection is renewed after such pauses, because only a hello has the number. The
shortest is longer than the connection that was renewed last is counted: LINGER_SECONDS and LEFT_SECONDS."""

_SHOWN: Final = 40
_HEARD_SECONDS: Final = 20.0
_CONNECTIONS: Final = "connections"
_STRANGERS: Final = "all events"
_REASON: Final = re.compile(r"[a-z_]{1,40}")

OpenUrl = Callable[[], Awaitable[str]]
"""Returns the address of one connection, see ``connection_url``. Raises GatewayErrors only."""


async def connection_url(api: SlackApi) -> str:
    """apps.connections.open, once: the address of a connection, which can be used once.

    :raises TryAgain: an outage. :raises NeedsOperator: Slack refuses the app token.
    """
    error: GatewayError
    try:
        answer = await api.call(
            "apps.connections.open",
            {},
            repeatable=True,
            token="app",  # noqa: S106  # which of the tokens
            timeout_seconds=OPEN_SECONDS,
        )
        return decode(answer, ConnectionOpened).url
    except SlackError as refused:
        error = gateway_error(refused, "own")
    except Malformed as malformed:
        error = TryAgain(f"Slack apps.connections.open: the answer is not what the Web API promises: {malformed}")
    raise error


class SocketMode:
    """The connections of one account, which is connected as ``identity`` while there is any. Everything that Slack hands over is
    delivered, and acknowledged after its commit."""

    def __init__(
        self,
        open_url: OpenUrl,
        http: httpx2.AsyncClient,
        services: ChannelServices,
        receiver: Receiver,
        *,
        connections: int,
        identity: str,
    ) -> None:
        self._open_url = open_url
        self._http = http
        self._services = services
        self._wanted = connections
        self._identity = identity
        self._app_id = receiver.bot.app_id
        self._gaps = Gaps(services, receiver.note_gap)
        self._deliveries = Deliveries(receiver, services, self._gaps)
        self._pauses = Pauses(services.rng)
        self._crew: Crew[Connection] = Crew(connections)
        self._changed = Wakeup()
        self._strangers = 0
        self._was_connected = False
        self._lacking: str | None = None

    async def run(self, deliver: Deliver, fetch: Callable[[], Awaitable[None]]) -> NoReturn:
        """``fetch`` is called, in a task of its own, after each hello before which there was no connection, and when events were
        lost otherwise. It fetches what was missed.

        :raises TryAgain: no connection came about. :raises NeedsOperator: Slack refuses the token, or Socket Mode is off.
        """
        async with anyio.create_task_group() as group:
            group.start_soon(self._deliveries.run, deliver)
            group.start_soon(self._gaps.run, fetch)
            group.start_soon(self._tell_that_it_is_alive)
            group.start_soon(self._look_for_strangers)
            await self._keep_open(group)
        raise AssertionError("it ends by an error only")

    async def _keep_open(self, group: anyio.abc.TaskGroup) -> None:
        """One after the other: so each hello has a number to compare with ours, and one refusal counts for all."""
        while True:
            while not self._crew.is_short:
                await self._changed.wait()
            while anyio.current_time() < self._pauses.ready_at:  # noqa: ASYNC110  # it may move meanwhile
                await anyio.sleep_until(self._pauses.ready_at)
            failure = await self._open(group)
            self._pauses.note_attempt(anyio.current_time())
            if failure is not None:
                self._note_failure(failure)

    async def _open(self, group: anyio.abc.TaskGroup) -> GatewayError | None:
        """What went wrong; None: there is one more."""
        try:
            url = await self._open_url()
        except GatewayError as error:
            return error
        if urlsplit(url).scheme not in ("ws", "wss"):
            return TryAgain("Slack apps.connections.open: the answer has no address of a WebSocket")
        failure: GatewayError | None = await group.start(self._serve, group, url)
        return failure

    def _note_failure(self, failure: GatewayError) -> None:
        """:raises GatewayError: there is no connection, and to begin anew is as good."""
        is_final = isinstance(failure, NeedsOperator)
        if self._crew.is_empty and (is_final or not self._was_connected):
            raise failure
        after = LONGEST_PAUSE_SECONDS if is_final else failure.after_seconds if isinstance(failure, TryAgain) else None
        self._pauses.note_failure(anyio.current_time(), at_least=after)
        self._services.log.warning("slack_connection_failed", open=self._crew.fresh, reason=failure.reason)
        if self._crew.is_empty:
            self._services.connection.interrupted(failure.reason)
        self._tell_lack(failure.reason)

    def _tell_lack(self, reason: str | None) -> None:
        """``reason`` is why connections are missing. Call it again when their number changes."""
        self._lacking = reason
        shown = None if reason is None else f"{self._crew.fresh} of {self._wanted} are open: {reason}"
        self._services.connection.lacks(_CONNECTIONS, shown)

    async def _serve(
        self, group: anyio.abc.TaskGroup, url: str, *, task_status: anyio.abc.TaskStatus[GatewayError | None]
    ) -> None:
        """One connection, from its handshake to its end. It has started with its hello, or with what went wrong.

        :raises NeedsOperator: what Slack said holds for all connections.
        """
        connection: Connection | None = None
        failure = TryAgain(f"Slack, Socket Mode: no hello came within {HELLO_SECONDS:g} s")
        try:
            async with connect(
                self._http, url, max_message_bytes=FRAME_BYTES, ping_seconds=PING_SECONDS, pong_seconds=PONG_SECONDS
            ) as websocket:
                connection = Connection(websocket, self._services, hello_by=anyio.current_time() + HELLO_SECONDS)
                group.start_soon(connection.send_acknowledgements)
                with connection.scope:
                    await self._receive(connection, task_status)
        except WebSocketClosed as closed:
            failure = TryAgain(f"Slack, Socket Mode: {closed.reason}", after_seconds=closed.retry_after_seconds)
        except TryAgain as error:
            failure = error
        finally:
            if connection is not None:
                connection.end()
        if connection is not None and connection.is_joined:
            self._note_end(connection, failure.reason)
        else:
            task_status.started(failure)

    async def _receive(self, connection: Connection, task_status: anyio.abc.TaskStatus[None]) -> NoReturn:
        while True:
            frame, size = await connection.receive()
            match frame.type:
                case "hello" if not connection.is_joined:
                    self._take_hello(connection, frame)
                    task_status.started()
                case "hello":
                    pass
                case "disconnect":
                    self._take_disconnect(connection, frame.reason or "")
                case _ if frame.envelope_id is None:
                    self._services.log.warning("slack_unknown_frame", type=frame.type[:_SHOWN])
                case _:
                    self._deliveries.add(Received(frame, size, anyio.current_time(), connection.acknowledge))

    def _take_hello(self, connection: Connection, hello: Frame) -> None:
        app_id = hello.connection_info.app_id if hello.connection_info is not None else None
        if self._app_id is not None and app_id is not None and app_id != self._app_id:
            raise NeedsOperator(
                f"the app token is of the app {app_id[:_SHOWN]}, and the bot token of the app {self._app_id}: "
                "both must be of one app"
            )
        now, was_empty = anyio.current_time(), self._crew.is_empty
        connection.join()
        strangers = self._crew.join(connection, now, told=hello.num_connections)
        for other in self._crew.leaving():
            other.end_by(now + LINGER_SECONDS)
        if was_empty:
            self._was_connected = True
            self._services.connection.connected(self._identity)
            self._services.connection.expect_silence(SILENCE_SECONDS)
            self._gaps.note()
        self._tell_lack(self._lacking if self._crew.is_short else None)
        self._note_strangers(strangers)

    def _take_disconnect(self, connection: Connection, reason: str) -> None:
        """:raises TryAgain: in place of a hello. :raises NeedsOperator: it is for all connections."""
        shown = reason if _REASON.fullmatch(reason) else "?"
        error: GatewayError = TryAgain(f"Slack, Socket Mode: disconnected with the reason {shown}")
        if reason in ("link_disabled", "too_many_websockets"):
            error = gateway_error(SlackError("Socket Mode", reason), "own")
        if isinstance(error, NeedsOperator) or not connection.is_joined:
            raise error
        self._services.log.info("slack_connection_will_end", reason=shown)
        lasted = self._crew.will_leave(connection, anyio.current_time())
        self._replace(lasted, error.reason)

    def _note_end(self, connection: Connection, reason: str) -> None:
        lasted = self._crew.leave(connection, anyio.current_time())
        if self._crew.is_empty:
            self._services.connection.interrupted(reason)
        self._services.log.info("slack_connection_ended", open=self._crew.fresh, reason=reason)
        self._replace(lasted, reason)

    def _replace(self, lasted: float | None, reason: str) -> None:
        """A connection that was fresh for ``lasted`` seconds is to be replaced."""
        if lasted is None:
            return
        self._tell_lack(reason if self._pauses.note_end(anyio.current_time(), lasted=lasted) else self._lacking)
        self._changed.notify()

    def _note_strangers(self, number: int) -> None:
        if number:
            reason = (
                f"another program uses this app token (connections that are not ours: {number}), and Slack gives each event to "
                "one connection only. Stop it, or give it an app of its own"
            )
            self._services.connection.lacks(_STRANGERS, reason)
            if not self._strangers:
                self._services.log.warning("slack_app_token_shared", connections=number)
        elif self._strangers:
            self._services.connection.lacks(_STRANGERS, None)
        self._strangers = number
        self._changed.notify()

    async def _look_for_strangers(self) -> NoReturn:
        """Renew a connection from time to time while there are some."""
        pause = RECHECK_SECONDS
        while True:
            while not self._strangers:
                pause = RECHECK_SECONDS
                await self._changed.wait()
            await anyio.sleep(pause)
            pause = min(2 * pause, LONGEST_RECHECK_SECONDS)
            oldest = self._crew.oldest()
            # While one is missing anyway, the next hello tells.
            if self._strangers and oldest is not None and not self._crew.is_short:
                self._crew.will_leave(oldest, anyio.current_time())
                self._changed.notify()

    async def _tell_that_it_is_alive(self) -> NoReturn:
        """Pongs are heard, too: in a quiet workspace nothing else comes."""
        heard_at = -math.inf
        while True:
            await anyio.sleep(_HEARD_SECONDS)
            newest = max((connection.heard_at for connection in self._crew.members()), default=-math.inf)
            if newest > heard_at:
                heard_at = newest
                self._services.connection.heard()
