"""What the account does in the network after the welcome: it hears, keeps its channels and its nick, and stays awake."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Final

import anyio
from anyio.streams.memory import MemoryObjectSendStream

from gatewayd.kit.text.visible import visible
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import ChannelServices

from .history import PATIENCE_SECONDS, History
from .inbound import Inbound
from .link import Link
from .login import Login, error_of
from .rooms import REFUSED, Room, Rooms
from .settings import IrcSettings
from .wire import Message, render

PING_SECONDS: Final = 60.0
SILENCE_SECONDS: Final = 150.0
"""After so long without a line the connection is dead: each PING is answered."""
NICK_SECONDS: Final = 60.0

Delivery = tuple[InboundEnvelope, dict[str, str]]


class Presence:
    """Of one connection, after its welcome. ``heard`` takes what is to be delivered."""

    def __init__(
        self,
        settings: IrcSettings,
        services: ChannelServices,
        login: Login,
        link: Link,
        inbound: Inbound,
        history: History,
        heard: MemoryObjectSendStream[Delivery],
    ) -> None:
        self.rooms = Rooms(settings, login.support.fold, services.rng, anyio.current_time)
        self._wanted_nick = settings.nick
        self._services = services
        self._login = login
        self._link = link
        self._inbound = inbound
        self._history = history
        self._heard = heard
        self._handlers: dict[str, Callable[[Message], Awaitable[None]]] = {
            "ACCOUNT": self._on_account,
            "CHATHISTORY": self._on_target_of_history,
            "CHGHOST": self._on_new_host,
            "FAIL": self._on_fail,
            "JOIN": self._on_join,
            "KICK": self._on_kick,
            "NICK": self._on_nick,
            "PART": self._on_part,
            "PRIVMSG": self._on_message,
            "QUIT": self._on_quit,
            "396": self._on_new_host,
            "731": self._on_offline,
            **dict.fromkeys(REFUSED, self._on_refused),
        }
        self._held: dict[str, InboundEnvelope] = {}
        self._to_join: dict[str, float] = {}
        self._joins_changed = anyio.Event()

    async def begin(self) -> None:
        """Go where we are to be."""
        support, nick = self._login.support, self._login.nick
        lines = [render("MODE", nick, f"+{support.get('BOT')}")] if support.get("BOT") else []
        if not self._has_nick and "MONITOR" in support:
            lines.append(render("MONITOR", "+", self._wanted_nick))
        await self._link.write(*lines, *self.rooms.join_all(), *self._history.ask_for_people(self._services.now()))
        connection = self._services.connection
        connection.expect_silence(SILENCE_SECONDS)
        connection.connected(nick)

    async def take(self, message: Message) -> None:
        """One message of the server. :raises GatewayError: it has ended the connection."""
        match message.command:
            case "PING":
                await self._link.write(render("PONG", message.text))
            case "ERROR":
                raise error_of(message.text)
            case "BATCH" if message.target.startswith("+"):
                self._history.begin(message)
            case "BATCH":
                await self._on_batch_end(message)
            case "CAP" | "005":
                self._login.answer(message)
            case _:
                self._settle(message)
                if (handler := self._handlers.get(message.command)) is not None:
                    await handler(message)

    # The chores.

    async def stay_awake(self) -> None:
        while True:
            await anyio.sleep(PING_SECONDS)
            await self._link.write(render("PING", "awake"))

    async def keep_nick(self) -> None:
        """Its holder's going is not always seen."""
        while True:
            await anyio.sleep(NICK_SECONDS)
            await self._regain_nick()

    async def watch_history(self) -> None:
        await anyio.sleep(PATIENCE_SECONDS)
        if self._history.is_owed:
            await self._without_history(f"no answer within {PATIENCE_SECONDS:g} s")

    async def _without_history(self, reason: str) -> None:
        self._services.log.warning("irc_history_missing", reason=reason)
        self._history.give_up()
        await self._release_held()

    async def keep_joining(self) -> None:
        while True:
            changed = self._joins_changed
            due = min(self._to_join.values(), default=float("inf"))
            with anyio.CancelScope(deadline=due):
                await changed.wait()
            now = anyio.current_time()
            for name in [name for name, at in self._to_join.items() if at <= now]:
                del self._to_join[name]
                if (room := self.rooms.find(name)) is not None and room.why is not None:
                    await self._link.write(self.rooms.join(room))

    # What is heard.

    def _is_us(self, nick: str) -> bool:
        return self._login.support.fold(nick) == self._login.support.fold(self._login.nick)

    def _settle(self, message: Message) -> None:
        label = message.tags.get("label")
        batch = self._history.batch_of(message)
        inherited = None if batch is None else batch.label
        is_own = self._is_us(message.nick)
        self._link.settle(message, label or inherited, is_own=is_own, is_last=label is not None)
        if is_own and "@" in message.source and message.command != "CHGHOST":
            self._login.user_at_host = message.source.partition("!")[2]

    async def _on_batch_end(self, message: Message) -> None:
        batch, lines = self._history.end(message)
        if batch is not None and batch.label is not None:
            self._link.settle(message, batch.label, is_own=False, is_last=True)
        await self._link.write(*lines)
        await self._release_held()

    async def _on_message(self, message: Message) -> None:
        if self._is_us(message.nick):
            return  # the echo of our own
        missed = self._history.is_missed(message, self._history.batch_of(message))
        if missed is None:
            return
        reply_to = message.tags.get("+reply") or message.tags.get("+draft/reply")
        envelope = self._inbound.message(
            message, received_at=self._services.now(), missed=missed, is_reply_to_us=reply_to in self._link.said
        )
        if envelope is not None:
            await self._deliver(envelope)

    async def _deliver(self, envelope: InboundEnvelope) -> None:
        """After what is older. What the history has, too, comes once, in its place there, and was not missed."""
        if not self._history.is_owed:
            await self._release(envelope)
        elif envelope.missed:
            await self._release(self._held.pop(envelope.event_key, envelope))
        else:
            self._held[envelope.event_key] = envelope

    async def _release(self, envelope: InboundEnvelope) -> None:
        with suppress(anyio.BrokenResourceError, anyio.ClosedResourceError):  # nobody listens any more: gatewayd stops
            await self._heard.send((envelope, self._history.state_with(envelope.sent_at)))

    async def _release_held(self) -> None:
        while self._held and not self._history.is_owed:
            await self._release(self._held.pop(next(iter(self._held))))

    async def _membership(self, message: Message, channel: str, text: str) -> None:
        await self._deliver(self._inbound.membership(message, channel, text, received_at=self._services.now()))

    async def _on_target_of_history(self, message: Message) -> None:
        """CHATHISTORY TARGETS name time: somebody wrote to us while we were away."""
        if len(message.params) > 1 and not self._login.support.is_channel(message.params[1]):
            await self._link.write(*self._history.ask(message.params[1]))

    async def _on_fail(self, message: Message) -> None:
        if message.target == "CHATHISTORY":
            await self._without_history(visible(message.text))

    # Who is who.

    async def _on_account(self, message: Message) -> None:
        self._inbound.accounts.note(self._login.support.fold(message.nick), message.target)

    async def _on_new_host(self, message: Message) -> None:
        """CHGHOST user host (IRCv3 chghost), or 396: our host is another one now."""
        if message.command == "CHGHOST" and self._is_us(message.nick) and len(message.params) > 1:
            self._login.user_at_host = f"{message.params[0]}@{message.params[1]}"
        elif message.command == "396":
            self._login.user_at_host = ""  # it is heard with the next line of our own

    async def _on_nick(self, message: Message) -> None:
        fold = self._login.support.fold
        old, new = fold(message.nick), message.target
        self._inbound.accounts.renamed(old, fold(new))
        if self._is_us(old):
            self._login.nick = new
            self._services.connection.connected(new)
        elif old == fold(self._wanted_nick):
            await self._regain_nick()

    async def _on_quit(self, message: Message) -> None:
        fold = self._login.support.fold
        self._inbound.accounts.forget(fold(message.nick))
        if fold(message.nick) == fold(self._wanted_nick):
            await self._regain_nick()

    async def _on_offline(self, message: Message) -> None:
        """RPL_MONOFFLINE (IRCv3 monitor): somebody else's use of our nick is over."""
        await self._regain_nick()

    @property
    def _has_nick(self) -> bool:
        return self._is_us(self._wanted_nick)

    async def _regain_nick(self) -> None:
        if not self._has_nick:
            await self._link.write(render("NICK", self._wanted_nick))

    # Channels.

    async def _on_join(self, message: Message) -> None:
        """JOIN channel account :real name (IRCv3 extended-join), or JOIN channel."""
        if len(message.params) > 1:
            self._inbound.accounts.note(self._login.support.fold(message.nick), message.params[1])
        if not self._is_us(message.nick):
            return
        if (room := self.rooms.find(message.target)) is not None:
            self.rooms.entered(room)
            self._services.connection.lacks(room.name, None)
        await self._link.write(*self._history.ask(message.target))
        await self._membership(message, message.target, "joined")

    async def _on_part(self, message: Message) -> None:
        if self._is_us(message.nick):
            await self._out_of(message, message.target, "left")
        else:
            self._inbound.accounts.forget(self._login.support.fold(message.nick))

    async def _on_kick(self, message: Message) -> None:
        channel, who, *_ = (*message.params, "", "")
        if self._is_us(who):
            await self._out_of(message, channel, f"kicked by {visible(message.nick)}: {visible(message.text)}")
        else:
            self._inbound.accounts.forget(self._login.support.fold(who))

    async def _out_of(self, message: Message, channel: str, why: str) -> None:
        self._inbound.accounts.forget()
        if (room := self.rooms.find(channel)) is not None:
            self._join_later(room, why)
        await self._membership(message, channel, why)

    async def _on_refused(self, message: Message) -> None:
        """We are not let into a channel. The account stays, and the channel is tried again."""
        named = message.params[1] if len(message.params) > 1 else ""
        room = self.rooms.find(named)
        if room is not None and room.why is not None:
            self._join_later(room, f"{visible(message.text)} ({message.command})")

    def _join_later(self, room: Room, why: str) -> None:
        seconds = self.rooms.left(room, why)
        self._services.connection.lacks(room.name, why)
        self._to_join[room.name] = anyio.current_time() + seconds
        self._joins_changed.set()
        self._joins_changed = anyio.Event()
