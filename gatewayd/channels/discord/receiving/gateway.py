"""Receiving by the gateway ("Gateway"). One connection at a time; its session outlives it, and this process.

What was said while nobody listened comes again when the session is resumed. When it cannot be, a new one begins, and what was
missed is read back from the histories (receiving/backfill.py).
"""

import math
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Final, NoReturn
from urllib.parse import urlsplit

import anyio
import httpx2

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.receiving.connection import Connection, Ended
from gatewayd.channels.discord.receiving.deliveries import SESSION, Deliveries, Received
from gatewayd.channels.discord.receiving.starts import Starts
from gatewayd.channels.discord.wire import frames
from gatewayd.channels.discord.wire.answers import GatewayBot
from gatewayd.channels.discord.wire.frames import Frame, Ready, Session, identify, resume
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.network.websocket import WebSocketClosed, connect
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import ChannelServices, Deliver

LEAVE_WITH: Final = 4000
"""Our close code: 1000 and 1001 would end the session ("Gateway", "Initiating a Disconnect")."""
READY_SECONDS: Final = 180.0
"""From IDENTIFY to READY, and from each event that a resume brings to the next one, or RESUMED. In an outage a session comes
late, while heartbeats are acknowledged ("Gateway", "Sending Heartbeats"), and to ask for another one costs a start."""
ANSWER_SECONDS: Final = 30.0
"""From RESUME to the first answer."""
CONNECT_SECONDS: Final = 600.0
"""To connect may take so long, with pauses: then the account is opened anew."""
SILENCE_SECONDS: Final = 120.0
"""A longer silence, acknowledged heartbeats included, means that our own reading hangs."""
LONGEST_PAUSE_SECONDS: Final = 60.0
RESUME_ATTEMPTS: Final = 5
"""After so many that ended before they were resumed, the session is resumed at the address of GET /gateway/bot. After twice as
many RESUMEs that were sent, a new session begins: something in this one may end each connection."""
LONGEST_WAIT_SECONDS: Final = 60.0
"""To begin a session may have to wait so long here. When it is longer, the account waits as a whole, and says so."""

_PORTAL: Final = "https://discord.com/developers/applications"
FINAL: Final = {
    4004: f'Discord does not accept the token (4004): copy a new one from the page "Bot" of the app ({_PORTAL})',
    4010: "the shard is wrong (4010): please report it",
    4011: "the bot is in so many servers that it needs several shards (4011), which gatewayd does not do",
    4012: "Discord does not speak version 10 of the gateway any more (4012): a newer release of gatewayd is needed",
    4013: "the intents are wrong (4013): please report it",
    4014: (
        f'the intent "Message Content" is not switched on (4014): switch it on under "Bot", "Privileged Gateway Intents" of '
        f"the app ({_PORTAL}), or set message_content = false"
    ),
}
"""Close codes after which Discord takes no new connection ("Gateway Close Event Codes")."""
_OF_SESSION: Final = {4003, 4007, 4009}
"""Close codes after which the session is over: not authenticated, a wrong number, timed out."""
_HOST: Final = re.compile(r"[a-z0-9.:\[\]-]{1,253}", re.IGNORECASE)


class Gateway:
    """The connection of one account, which is connected as ``identity`` while there is a session on it."""

    def __init__(
        self,
        api: DiscordApi,
        http: httpx2.AsyncClient,
        services: ChannelServices,
        deliveries: Deliveries,
        *,
        token: Secret,
        intents: int,
        identity: str,
    ) -> None:
        self._api = api
        self._http = http
        self._services = services
        self._deliveries = deliveries
        self._token = token
        self._intents = intents
        self._identity = identity
        self._starts = Starts(services.state)
        self._schemes = ("wss",) if api.is_encrypted else ("ws", "wss")
        self._session: Session | None = None
        self._failures = 0
        self._resumes = 0
        self._was_connected = False
        self._is_connected = False

    async def run(self, deliver: Deliver) -> NoReturn:
        """:raises TryAgain: no connection came about. :raises NeedsOperator: Discord refuses the bot."""
        self._services.connection.connect_within(CONNECT_SECONDS)
        await self._restore()
        async with anyio.create_task_group() as group:
            group.start_soon(self._deliveries.run, deliver)
            while True:
                try:
                    await self._connect()
                except Ended as ended:
                    await self._note_end(ended)
        raise AssertionError("it ends by an error only")

    async def _restore(self) -> None:
        """The session of an earlier life."""
        if stored := await self._services.state.load(SESSION):
            try:
                self._session = decode(stored, Session)
            except Malformed:
                self._services.log.warning("discord_session_unreadable")
            else:
                self._deliveries.restore(self._session)

    async def _connect(self) -> NoReturn:
        """One connection. :raises Ended: it is over."""
        session = self._session
        url = session.url if session is not None and self._failures < RESUME_ATTEMPTS else ""
        if session is None or not self._is_address(url):
            url = await self._address(is_new=session is None)
        try:
            async with connect(
                self._http,
                f"{url.rstrip('/')}/?v=10&encoding=json&compress=zlib-stream",
                leaves_with=LEAVE_WITH,
                ping_seconds=600.0,
            ) as websocket:
                connection = Connection(websocket, self._services, self._place)
                await connection.greet()
                if session is None:
                    await self._starts.note(self._services.now())
                    await connection.send(identify(self._token.reveal(), self._intents))
                else:
                    self._resumes += 1
                    await connection.send(resume(self._token.reveal(), session))
                answer_seconds = READY_SECONDS if session is None else ANSWER_SECONDS
                await _both(connection.beat, lambda: self._receive(connection, answer_seconds))
        except WebSocketClosed as closed:
            raise Ended(f"Discord's gateway: {closed.reason}", after_seconds=closed.retry_after_seconds) from None
        raise Ended("Discord's gateway: the connection is over")

    async def _address(self, *, is_new: bool) -> str:
        """Where to connect; for a new session when one may begin.

        :raises TryAgain: an outage, or it would take long. :raises NeedsOperator: the token is refused.
        """
        while True:
            try:
                bot = await self._api.ask(route("GET /gateway/bot"), GatewayBot, purpose="own")
            except TryAgain as error:
                raise self._outage(error) from None
            if not self._is_address(bot.url):
                raise self._outage(TryAgain("Discord GET /gateway/bot: the answer has no address of a WebSocket"))
            limit = bot.session_start_limit
            seconds = await self._starts.seconds_until(limit, self._services.now()) if is_new else 0.0
            if not seconds:
                return bot.url
            if seconds > LONGEST_WAIT_SECONDS:
                reason = (
                    f"Discord lets the bot begin only {limit.remaining} more sessions in {limit.reset_after / 3.6e6:.1f} hours: "
                    f"the next one begins in {seconds:.0f} s. Is the token used elsewhere?"
                )
                raise TryAgain(reason, after_seconds=seconds)
            await anyio.sleep(seconds)

    def _is_address(self, url: str) -> bool:
        """Whether the token may go there."""
        return _is_address(url, self._schemes)

    def _outage(self, error: TryAgain) -> Exception:
        """Before the first connection the account tries again as a whole, so that it can be seen."""
        if self._was_connected:
            return Ended(error.reason, after_seconds=error.after_seconds)
        return TryAgain(error.reason, after_seconds=error.after_seconds)

    async def _receive(self, connection: Connection, answer_seconds: float) -> NoReturn:
        patience = anyio.current_time() + answer_seconds
        while True:
            if self._deliveries.is_full:
                raise Ended("the store is slower than Discord: what waits is stored first, and the session is resumed then")
            with anyio.CancelScope(deadline=patience) as scope:
                frame, size = await connection.receive()
            if scope.cancelled_caught:
                raise Ended(f"Discord's gateway did not answer within {answer_seconds:g} s")
            match frame.op:
                case frames.DISPATCH if frame.s is not None and frame.t is not None:
                    await self._take(frame, size)
                    answer_seconds = READY_SECONDS
                    patience = math.inf if self._is_connected else anyio.current_time() + answer_seconds
                case frames.HEARTBEAT:
                    await connection.answer_beat()
                case frames.RECONNECT:
                    raise Ended("Discord's gateway wants the connection to be made anew")
                case frames.INVALID_SESSION:
                    raise Ended("Discord's gateway takes the session for invalid", is_new=bytes(frame.d) != b"true")

    async def _take(self, frame: Frame, size: int) -> None:
        """One dispatch. :raises StoreRefused: a new session cannot be stored."""
        number, name = frame.s or 0, frame.t or ""
        if name == "READY":
            try:
                ready = decode(frame.d, Ready)
            except Malformed:
                raise Ended("Discord's gateway began a session without an id", is_new=True) from None
            url = ready.resume_gateway_url
            self._session = Session(ready.session_id, number, url if self._is_address(url) else "")
            self._note_connected(is_resumed=False)
            await self._deliveries.begin(Received(name, frame.d, self._session, size))
            return
        if self._session is None:
            raise Ended("Discord's gateway sent an event without a session", is_new=True)
        self._session = Session(self._session.id, number, self._session.url)
        if name == "RESUMED":
            self._note_connected(is_resumed=True)
        self._deliveries.add(Received(name, frame.d, self._session, size))

    def _place(self) -> int | None:
        """The number of the last dispatch of this session that is stored."""
        return None if self._session is None else self._deliveries.place(self._session.id)

    def _note_connected(self, *, is_resumed: bool) -> None:
        self._was_connected = self._is_connected = True
        self._failures = self._resumes = 0
        self._services.connection.connected(self._identity, resumed=is_resumed)
        self._services.connection.expect_silence(SILENCE_SECONDS)
        self._services.log.info("discord_session_resumed" if is_resumed else "discord_session_begun")

    async def _note_end(self, ended: Ended) -> None:
        """Wait until the next connection may be tried. :raises NeedsOperator, TryAgain:"""
        if ended.code in FINAL:
            raise NeedsOperator(FINAL[ended.code], retries_slowly=True)
        if ended.is_new or ended.code in _OF_SESSION or self._resumes >= 2 * RESUME_ATTEMPTS:
            self._session = None
            self._resumes = 0
        self._failures += 1
        self._services.log.warning(
            "discord_connection_ended", reason=ended.reason, code=ended.code, resumes=self._session is not None
        )
        if not self._was_connected and self._failures > 2 * RESUME_ATTEMPTS:
            raise TryAgain(ended.reason, after_seconds=ended.after_seconds)
        if self._is_connected:
            self._is_connected = False
            self._services.connection.interrupted(ended.reason)
        ceiling = min(2.0 ** (self._failures - 1), LONGEST_PAUSE_SECONDS)
        pause = ceiling * self._services.rng.random()
        if ended.is_new:
            pause = max(pause, 1.0 + 4.0 * self._services.rng.random())  # "Gateway", "Resuming": one to five seconds
        await anyio.sleep(max(pause, ended.after_seconds or 0.0))
        await self._deliveries.drained()


async def _both(one: Callable[[], Awaitable[None]], other: Callable[[], Awaitable[None]]) -> None:
    """Run both until one of them ends by an error, and raise that, in no group."""
    failure: Exception | None = None

    async def until_error(call: Callable[[], Awaitable[None]]) -> None:
        nonlocal failure
        try:
            await call()
        except Exception as error:
            failure = failure or error
            group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(until_error, one)
        group.start_soon(until_error, other)
    if failure is not None:
        raise failure


def _is_address(url: str, schemes: Collection[str]) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme in schemes and bool(parts.hostname) and not parts.username and _HOST.fullmatch(parts.netloc) is not None
