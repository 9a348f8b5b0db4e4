"""The driver: one connection to one network. What it says is in wire.py and login.py, what it hears in inbound.py.

The connection belongs to the opener, not to ``listen``: when gatewayd stops, it cancels ``listen`` first and goes on sending.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import anyio
from anyio.abc import TaskGroup
from anyio.streams.memory import MemoryObjectSendStream

from gatewayd.kit.network.lines import LineReader, LineTooLong
from gatewayd.kit.text.visible import visible
from gatewayd.model.errors import GatewayError, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt
from gatewayd.ports.channel import AccountConfig, Channel, ChannelServices, Deliver, TextLimit

from . import PLUGIN
from .history import CURSOR, History
from .inbound import Inbound, from_written, written
from .link import GONE, Link, Pace, connect
from .login import Login, error_of
from .presence import Delivery, Presence
from .settings import IrcSettings
from .text import SHORTEST_ROOM, lines_of
from .wire import Malformed, Message, parse, render

LONGEST_LINE = 8191 + 512
"""In bytes: the tags and the rest (IRCv3 message-tags)."""
WAITING = 1000
"""How many messages may wait for ``deliver``. More are not read, and the server waits."""


class IrcChannel:
    """One open account, and the one connection of its life."""

    def __init__(self, account: AccountConfig, settings: IrcSettings, services: ChannelServices, tasks: TaskGroup) -> None:
        self._account = account
        self._settings = settings
        self._services = services
        self._tasks = tasks
        self._login = Login(settings)
        self._pace = Pace(settings.burst_lines, settings.seconds_per_line)
        self._link: Link | None = None
        self._presence: Presence | None = None
        self._end = GatewayError("bug: the connection ended without a reason")

    async def listen(self, deliver: Deliver) -> None:
        """See ``ports.channel.Channel``. What was heard before the connection ended is delivered, too."""
        heard, hearing = anyio.create_memory_object_stream[Delivery](WAITING)
        self._tasks.start_soon(self._live, heard)
        with hearing:
            async for envelope, state in hearing:
                await deliver([envelope], state=state)
        raise self._end

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """See ``ports.channel.Channel``. A text is one line, or several where our name has become longer since it was split."""
        if isinstance(payload, EditText):
            raise SendRejected("IRC cannot change what was said")
        link, presence, peer = self._link, self._presence, payload.peer
        if link is None or presence is None or link.is_over:
            raise TryAgain("not connected")
        if not peer.id or set(peer.id) & set(" ,:!@*?$\r\n\0") or self._login.support.is_channel(peer.id) == (peer.kind == "dm"):
            raise SendRejected(f"{visible(peer.id)} is no {'nick' if peer.kind == 'dm' else 'channel'}")
        tags = {"+reply": payload.reply_to} if payload.reply_to and "message-tags" in self._login.caps else {}
        message_id: str | None = None
        if not (lines := lines_of(payload.body, self._room_for(peer))):
            raise SendRejected("the text has nothing that IRC can show")
        for number, line in enumerate(lines):
            with _part(number, len(lines)), presence.rooms.waiting_for(peer.id):
                await anyio.sleep(self._pace.reserve())
                message_id = await link.say(peer.id, line, key, tags)
        return Receipt(message_id)

    def limit_of(self, peer: Peer) -> TextLimit:
        """See ``ports.channel.LimitsText``."""
        assert PLUGIN.text_limit is not None
        return TextLimit(min(self._room_for(peer), PLUGIN.text_limit.size), "bytes", lines=1)

    def _room_for(self, peer: Peer) -> int:
        """In bytes, in a line as others get it: our whole name is before it. While that is not known, the longest that can be."""
        support, login = self._login.support, self._login
        longest = support.number("USERLEN", 10) + len("~@") + support.number("HOSTLEN", 64)
        user_at_host = len(login.user_at_host.encode()) or longest
        before = len(f":{login.nick}! PRIVMSG {peer.id} :\r\n".encode()) + user_at_host
        return max(support.number("LINELEN", 512) - before, SHORTEST_ROOM)

    async def _live(self, heard: MemoryObjectSendStream[Delivery]) -> None:
        """From the connection to its end, whose reason ``listen`` raises."""
        with heard:
            try:
                async with await connect(self._settings) as stream:
                    link = self._link = Link(stream, self._login.support.fold)
                    try:
                        await self._converse(LineReader(stream, at_most_bytes=LONGEST_LINE, drops_cr=True), link, heard)
                    finally:
                        link.end()
                        with anyio.move_on_after(1, shield=True):
                            await link.write(render("QUIT"))
            except GatewayError as error:
                self._end = error

    async def _converse(self, lines: LineReader, link: Link, heard: MemoryObjectSendStream[Delivery]) -> None:
        """:raises GatewayError: what ended the connection."""
        try:
            await self._log_in(lines, link)
            history = History(self._login, await self._cursor())
            presence = self._presence = Presence(
                self._settings, self._services, self._login, link, Inbound(self._account, self._login), history, heard
            )
            await presence.begin()
            async with anyio.create_task_group() as chores:
                for chore in (presence.stay_awake, presence.keep_nick, presence.keep_joining, presence.watch_history):
                    chores.start_soon(chore)
                try:
                    while True:
                        await presence.take(await self._next(lines))
                except GatewayError as error:
                    ended: GatewayError = error
                except GONE as error:
                    ended = _lost(error)
                chores.cancel_scope.cancel()
        except GONE as error:
            ended = _lost(error)
        raise ended

    async def _log_in(self, lines: LineReader, link: Link) -> None:
        await link.write(*self._login.begin())
        while not self._login.is_done:
            message = await self._next(lines)
            if message.command == "PING":
                await link.write(render("PONG", message.text))
            elif message.command == "ERROR":
                raise error_of(message.text)
            await link.write(*self._login.answer(message))
        link.has_labels = "labeled-response" in self._login.caps

    async def _next(self, lines: LineReader) -> Message:
        """An empty line is left out (RFC 2812, section 2.3.1), and so is one that is too long."""
        while True:
            with suppress(Malformed, LineTooLong):
                line = await lines.receive()
                self._services.connection.heard()
                return parse(line)

    async def _cursor(self) -> float:
        """Up to when everything is journaled: in the first life, up to now."""
        state, now = self._services.state, self._services.now()
        if (found := from_written(await state.load(CURSOR) or "")) is not None:
            return found
        await state.save(CURSOR, written(now))
        return now


def _lost(error: Exception) -> TryAgain:
    return TryAgain(f"the connection was lost: {str(error) or type(error).__name__}")


@contextmanager
def _part(number: int, count: int) -> Iterator[None]:
    """When some lines are out, the others are not tried again."""
    try:
        yield
    except GatewayError as error:
        if number == 0:
            raise
        raise OutcomeUnknown(f"sent in part: {number} of {count} lines; {error.reason}") from error


@asynccontextmanager
async def open_irc(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
    assert isinstance(account.settings, IrcSettings)
    async with anyio.create_task_group() as tasks:
        yield IrcChannel(account, account.settings, services, tasks)
        tasks.cancel_scope.cancel()
