"""What a test holds: one workspace with one app, driven from the platform's side."""

import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Literal, Self

import httpx2
import trio

from tests.fakes.bot_api.bot import Signal
from tests.fakes.bot_api.http_server import Handler, listen, port_of, serve_http
from tests.fakes.slack_platform.delivery.deliveries import Deliveries, Delivery
from tests.fakes.slack_platform.delivery.events import Events
from tests.fakes.slack_platform.delivery.socket_mode import CLOSE_SECONDS, Connection, DisconnectReason, SocketMode
from tests.fakes.slack_platform.delivery.webhook_sender import RequestUrls, WebhookSender
from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.faults import Fault, FaultKind, Rate, When, ratelimited
from tests.fakes.slack_platform.methods.chat import Chat
from tests.fakes.slack_platform.methods.conversations import Conversations
from tests.fakes.slack_platform.methods.files import Files
from tests.fakes.slack_platform.methods.people import People as PeopleMethods
from tests.fakes.slack_platform.methods.streams import Streams
from tests.fakes.slack_platform.people import People
from tests.fakes.slack_platform.responses import Responses
from tests.fakes.slack_platform.server import Call, Server, Tokens
from tests.fakes.slack_platform.workspace import APP, BOT, BOT_USER, TEAM, Workspace

BOT_TOKEN = "xoxb-100000000001-100000000002-fakeBotTokenForTests0000"
APP_TOKEN = "xapp-1-A0GATEWAY0-100000000003-fakeAppTokenForTests0000"
SIGNING_SECRET = "8f742231b10e8888abcd99yyyzzz85a5"
PING_SECONDS = 10.0
Mode = Literal["socket", "events"]


class Parts:
    """What the fake is made of."""

    def __init__(self, nursery: trio.Nursery, client: httpx2.AsyncClient, now: Callable[[], float], url: str, mode: Mode) -> None:
        self.url = url
        self.changed = Signal()
        self.socket_mode = SocketMode(APP, lambda: url.replace("http://", "ws://"), PING_SECONDS, self.changed)
        self.sender = WebhookSender(client, SIGNING_SECRET, now)
        self.deliveries = Deliveries(nursery, self.socket_mode.attempt if mode == "socket" else self.sender.attempt, self.changed)
        self.events = Events(self.deliveries, now)
        self.workspace = Workspace(now, self.events.publish)
        self.chat = Chat(self.workspace)
        self.streams = Streams(self.workspace, self.chat)
        self.conversations = Conversations(self.workspace)
        self.files = Files(self.workspace, self.chat, lambda: url)
        self.people = PeopleMethods(self.workspace, self.chat)
        self.responses = Responses(self.workspace, self.chat, lambda: url)
        self.tokens = Tokens(BOT_TOKEN, APP_TOKEN)
        methods = {
            **self.chat.methods(),
            **self.streams.methods(),
            **self.conversations.methods(),
            **self.files.methods(),
            **self.people.methods(),
        }
        self.server = Server(self.tokens, self.workspace, methods, self.files, self.responses, self.socket_mode, self.changed)


class FakeSlack(People):
    """Slack as people, operators and outages see it. Ids and ts are strings, as on the wire."""

    bot_token = BOT_TOKEN
    app_token = APP_TOKEN
    signing_secret = SIGNING_SECRET
    team = TEAM
    bot_user = BOT_USER
    bot_id = BOT
    app_id = APP

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.workspace, parts.events, parts.files, parts.chat, parts.responses, parts.deliveries)
        self._parts = parts
        self._server = parts.server

    @classmethod
    @asynccontextmanager
    async def serve(cls, *, mode: Mode = "socket", port: int = 0, now: Callable[[], float] | None = None) -> AsyncIterator[Self]:
        """Serve on 127.0.0.1 in the caller's Trio loop. ``now`` (Unix seconds) follows Trio's clock by default.

        :raises AssertionError: at the end, when a client did what no correct client does (see ``violations``).
        """
        listener = await listen(port)
        started = time.time() - trio.current_time()
        url = f"http://127.0.0.1:{port_of(listener)}"
        async with trio.open_nursery() as nursery, httpx2.AsyncClient(timeout=None, trust_env=False, verify=False) as client:
            slack = cls(Parts(nursery, client, now or (lambda: started + trio.current_time()), url, mode))
            nursery.start_soon(serve_http, listener, slack._server.handle, slack._parts.socket_mode.serve)
            yield slack
            nursery.cancel_scope.cancel()
        assert not slack.violations, "\n".join(slack.violations)

    @property
    def url(self) -> str:
        """Scheme, host and port: of the Web API, of files, of response_urls, and (ws://) of Socket Mode."""
        return self._parts.url

    @property
    def api_base(self) -> str:
        """What stands for ``https://slack.com/api``."""
        return self._parts.url + "/api"

    @property
    def violations(self) -> list[str]:
        """What clients did that no correct client does. Clear it where a test provokes some."""
        return self._server.violations

    @property
    def workspace(self) -> Workspace:
        return self._parts.workspace

    @property
    def deliveries(self) -> Deliveries:
        return self._parts.deliveries

    def serve_control(self, control: Handler) -> None:
        """Answer ``/control/…`` with this handler."""
        self._server.control = control

    # What came of it

    def messages(self, channel: str, *, thread: str | None = None) -> list[Json]:
        """The messages of a channel, replies too, oldest first; or the replies of one thread."""
        there = self.workspace.channel(channel)
        return self.workspace.replies(there, thread) if thread else list(there.messages.values())

    def texts(self, channel: str, *, thread: str | None = None) -> list[str]:
        """The texts of the bot's own messages there."""
        return [one["text"] for one in self.messages(channel, thread=thread) if one.get("bot_id") == BOT]

    def ephemeral(self, channel: str) -> list[Json]:
        """What only one user was shown."""
        return [message for there, _, message in self._parts.chat.ephemeral if there == channel]

    def answers(self, channel: str) -> list[Json]:
        """What was posted to response_urls of this channel."""
        return [body for there, body in self._parts.responses.answers if there == channel]

    def status(self, channel: str, thread: str) -> str | None:
        """The assistant status of a thread."""
        return self._parts.people.statuses.get((channel, thread))

    @property
    def log(self) -> list[Call]:
        """Every request that named a method, in order of receipt."""
        return self._server.calls

    def calls(self, method: str) -> list[Json]:
        """The arguments of every request for ``method``, in order of receipt, whatever became of it."""
        return [call.params for call in self._server.calls if call.method == method]

    def clear_calls(self) -> None:
        self._server.calls.clear()

    async def wait_until(self, holds: Callable[[], bool]) -> None:
        """Wait for something to be true after a call, an answer, a delivery or a connection."""
        while not holds():
            await self._parts.changed.wait()

    async def wait_call(self, method: str, *, count: int = 1, when: When | None = None) -> Json:
        """The ``count``-th request for ``method`` (that ``when`` accepts); waits for it."""

        def found() -> list[Json]:
            return [params for params in self.calls(method) if when is None or when(params)]

        await self.wait_until(lambda: len(found()) >= count)
        return found()[count - 1]

    async def wait_texts(self, channel: str, count: int, *, thread: str | None = None) -> list[str]:
        """The bot's texts there, once there are ``count`` of them."""
        await self.wait_until(lambda: len(self.texts(channel, thread=thread)) >= count)
        return self.texts(channel, thread=thread)

    async def wait_text(self, channel: str, text: str) -> None:
        """Wait until the bot has said exactly this."""
        await self.wait_until(lambda: text in self.texts(channel))

    async def wait_answers(self, channel: str, count: int = 1) -> list[Json]:
        """The posts to response_urls of this channel, once there are ``count``."""
        await self.wait_until(lambda: len(self.answers(channel)) >= count)
        return self.answers(channel)

    async def wait_delivered(self) -> None:
        """Wait until every payload was acknowledged or given up."""
        await self.wait_until(lambda: all(one.outcome != "waiting" for one in self.deliveries.all))

    # The app's settings

    def set_request_urls(self, url: str, *, interactivity: str | None = None, commands: str | None = None) -> None:
        """Where events go (mode "events"), and the rest unless it is told."""
        self._parts.sender.urls = RequestUrls(url, interactivity or url, commands or url)

    async def verify_request_url(self, url: str) -> bool:
        """``url_verification``, as the app's settings page does it."""
        return await self._parts.sender.verify(url)

    @property
    def sender(self) -> WebhookSender:
        """What signs and posts webhooks."""
        return self._parts.sender

    def sign_with(self, *, signing_secret: str | None = None, skew_seconds: float = 0.0) -> None:
        """Sign webhooks with another secret, or with a time stamp that is off, from now on."""
        self._parts.sender.sign_with(signing_secret=signing_secret, skew_seconds=skew_seconds)

    def set_scopes(self, scopes: Sequence[str]) -> None:
        """The scopes of the bot token from now on."""
        self._parts.tokens.scopes = frozenset(scopes)

    def remove_scope(self, scope: str) -> None:
        self._parts.tokens.scopes -= {scope}

    def renew_tokens(self, ending: str) -> None:
        """From now on the app has other tokens, which end so; nobody accepts the old ones."""
        tokens = self._parts.tokens
        tokens.bot, tokens.app = f"{tokens.bot}{ending}", f"{tokens.app}{ending}"
        self.bot_token, self.app_token = tokens.bot, tokens.app

    def set_token_state(self, state: Literal["active", "account_inactive", "token_revoked", "token_expired"]) -> None:
        """From now on each call answers with that error; "active" ends it."""
        self._parts.tokens.state = state

    def small_pages(self) -> None:
        """From now on history and replies give at most 15 messages a call, as to apps outside the Marketplace."""
        self._parts.conversations.small_pages = True

    def end_stream(self, channel: str, ts: str) -> None:
        """Slack ends a stream by itself: message_not_in_streaming_state from now on."""
        self._parts.streams.end(self.workspace.channel(channel), ts)

    def stop_stream(self, channel: str, ts: str) -> None:
        """A reader stops a stream: stopped_by_user from now on."""
        self._parts.streams.stop_by_user(self.workspace.channel(channel), ts)

    # Faults of the Web API. ``method`` is its name, "*" any, "upload", "files-pri" or "actions" the other paths

    def fault(self, kind: FaultKind, method: str, *, times: int | None = 1, when: When | None = None) -> None:
        """A fault without further details: "drop_before", "drop_after", "hang", "hang_after"."""
        self._server.faults.add(Fault(kind, method, times, when))

    def refuse(
        self,
        method: str,
        error: str,
        *,
        after: bool = False,
        times: int | None = 1,
        when: When | None = None,
        fields: Json | None = None,
    ) -> None:
        """Answer with this error; ``after``: although it was done (``fatal_error``, ``internal_error``)."""
        kind: FaultKind = "error_after" if after else "error"
        self._server.faults.add(Fault(kind, method, times, when, error=SlackError(error, fields=fields)))

    def rate_limit(self, method: str, seconds: int, *, times: int | None = None, when: When | None = None) -> None:
        """429 with Retry-After until ``seconds`` are over (or, with ``times``, for so many calls, each with ``seconds``).

        ``rate_limited``, "too many messages", has status 200: :meth:`refuse`.
        """
        until = trio.current_time() + seconds if times is None else float("inf")
        self._server.faults.add(Fault("error", method, times, when, until=until, error=ratelimited(seconds)))

    def allow(self, method: str, calls: int, seconds: float, *, per: str | None = None) -> None:
        """From now on 429 for more than ``calls`` in ``seconds``; ``per`` is the argument to count by, such as "channel"."""
        self._server.rates.append(Rate(method, calls, seconds, per))

    def break_with(
        self, method: str, status: int, *, body: bytes = b"<html>", times: int | None = 1, when: When | None = None
    ) -> None:
        """An HTTP status with something that is not JSON."""
        self._server.faults.add(Fault("status", method, times, when, status=status, body=body))

    def delay(self, method: str, seconds: float, *, times: int | None = 1, when: When | None = None) -> None:
        """The effect and the answer come later."""
        self._server.faults.add(Fault("delay", method, times, when, seconds=seconds))

    def hold(self, method: str, *, times: int | None = 1, when: When | None = None) -> trio.Event:
        """The effect and the answer come when the returned event is set."""
        released = trio.Event()
        self._server.faults.add(Fault("hold", method, times, when, released=released))
        return released

    def redirect(self, method: str, location: str, *, times: int | None = 1, when: When | None = None) -> None:
        """302 to another place."""
        self._server.faults.add(Fault("redirect", method, times, when, location=location))

    def clear_faults(self) -> None:
        self._server.faults.clear()

    # Socket Mode

    @property
    def socket_mode(self) -> SocketMode:
        return self._parts.socket_mode

    @property
    def connections(self) -> list[Connection]:
        """The open connections, oldest first."""
        return self._parts.socket_mode.connections

    async def wait_connections(self, count: int = 1) -> list[Connection]:
        """Wait until ``count`` connections (or more) take payloads."""

        def ready() -> list[Connection]:
            return [one for one in self.connections if not one.leaving]

        await self.wait_until(lambda: len(ready()) >= count)
        return ready()

    def foreign_connections(self, count: int) -> None:
        """So many connections of this app belong to somebody else: they count in ``num_connections`` and for the limit of 10."""
        self._parts.socket_mode.foreign = count

    async def disconnect(self, reason: DisconnectReason = "refresh_requested", index: int = 0, *, closes: bool = True) -> None:
        """Send ``disconnect`` on one connection; it is closed 10 seconds later unless its client goes before."""
        await self._parts.socket_mode.disconnect(reason, self.connections[index], closes=closes)

    async def refresh(self, index: int = 0) -> None:
        """As Slack renews a connection: a warning, 10 seconds later refresh_requested, and the close."""
        connection = self.connections[index]
        await self._parts.socket_mode.disconnect("warning", connection)
        with trio.move_on_after(CLOSE_SECONDS):
            await connection.socket.closed.wait()
            return
        await self._parts.socket_mode.disconnect("refresh_requested", connection)

    async def cut(self, index: int = 0, *, in_a_frame: bool = False) -> None:
        """Break one connection: with a reset, or after half a frame."""
        await self.connections[index].socket.cut(in_the_middle_of='{"type": "events_api"}' if in_a_frame else None)

    def silence(self, index: int = 0) -> None:
        """One connection sends nothing more, neither payloads nor pings nor pongs; TCP stays open."""
        self.connections[index].socket.silent = True

    def deafen(self, index: int = 0) -> None:
        """One connection reads nothing more; it still sends."""
        self.connections[index].socket.deaf = True

    def linger(self, index: int = 0) -> None:
        """One connection stays open in TCP after the close handshake, as Slack's do."""
        self.connections[index].socket.lingers = True

    async def send_garbage(self, index: int = 0, text: str = "\x00 not JSON", *, raw: bool = False) -> None:
        """A text frame that is no envelope; ``raw``: bytes that are no frame."""
        socket = self.connections[index].socket
        await (socket.send_raw(text.encode() * 8) if raw else socket.send(text))

    def refuse_sockets(self, times: int = 1, status: int = 408) -> None:
        """Answer the next WebSocket handshakes with this HTTP status."""
        self._parts.socket_mode.refusals += [status] * times

    def link(self, *, enabled: bool) -> None:
        """Switch Socket Mode on or off in the app's settings: while it is off, a new connection is told link_disabled."""
        self._parts.socket_mode.enabled = enabled

    # Gaps

    def drop_events(self, dropping: bool = True) -> None:
        """Events vanish from now on, as in an outage of Slack: only history tells of them."""
        self.deliveries.dropping = dropping

    def outcomes(self) -> list[str]:
        """What became of each payload, in order: "waiting", "delivered", "lost"."""
        return [one.outcome for one in self.deliveries.all]

    def redeliver(self, delivery: Delivery) -> Delivery:
        """The same payload once more, with a new envelope: Slack delivers at least once."""
        return self.deliveries.add(Delivery(delivery.kind, delivery.payload, delivery.accepts_response_payload))

    def retry_events(self, retrying: bool) -> None:
        """Whether an event that nobody acknowledged is sent again."""
        self.deliveries.retrying = retrying
