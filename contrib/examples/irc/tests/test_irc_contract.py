"""The driver passes the contract of gatewayd, with a server that tells everything, and with those that tell less."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import ClassVar

import trio.testing
from fake_irc import EVERYTHING, HOST, Client, FakeIrc, fake_irc, labels
from gatewayd_irc import PLUGIN
from gatewayd_irc.settings import IrcSettings
from gatewayd_irc.wire import Message

from gatewayd.model.message.envelope import Peer
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import ChannelContract, Harness, Place, SendFailure, Shown

NAMES = {"alice": "Alice!a@Home.example", "bob": "Bob!b@Home.example"}


class IrcHarness:
    """Alice and Bob write to the bot, and in a channel."""

    peer = Peer("dm", "alice")
    places: Mapping[Place, Peer] = {"other": Peer("dm", "bob"), "group": Peer("group", "#room")}
    people = ("nick:alice@home.example", "nick:bob@home.example")

    def __init__(self, server: FakeIrc) -> None:
        settings = IrcSettings(
            "127.0.0.1",
            "bot",
            port=server.port,
            tls=False,
            password=Secret("canary-of-the-server"),
            channels=("#room",),
            seconds_per_line=0.0,
        )
        self.account = AccountConfig("irc", "main", settings)
        self.failures: Mapping[SendFailure, Callable[[], Awaitable[None]]] = {
            "outage": self._overload,
            "pace": self._pace,
            "rejected": self._reject,
            "cut": self._cut_after,
        }
        self._server = server

    async def produce(self, text: str) -> None:
        await self._server.from_user(text)

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        who = NAMES[sender.removeprefix("nick:").partition("@")[0]]
        target = peer.id if peer.kind == "group" else "bot"
        await self._server.from_user(f"bot: {text}" if mentions else text, target, who=who)

    async def redeliver(self) -> None:
        await self._server.again()

    async def received(self) -> Sequence[str]:
        return await self.received_in(self.peer)

    async def received_in(self, peer: Peer) -> Sequence[str]:
        return [text for target, text in self._server.said if target == peer.id]

    async def shown(self) -> Sequence[Shown]:
        found = [one for one in self._server.shown if one[0] == "alice"]
        return [Shown(message_id, text, reply_to=reply_to) for _, message_id, text, reply_to in found]

    async def cut(self) -> None:
        self._server.is_cut = True
        if self._server.client is not None:
            await self._server.hang_up()
        await trio.testing.wait_all_tasks_blocked(0.01)

    async def heal(self) -> None:
        self._server.is_cut = False

    async def go_silent(self) -> None:
        await self._server.silence()

    async def ping(self) -> None:
        count = len(self._server.heard("PONG"))
        await self._server.line("PING :still there?")
        await self._server.until(lambda: len(self._server.heard("PONG")) > count)

    async def stall(self) -> None:
        self._server.stalls.add("alice")

    async def _overload(self) -> None:
        self._server.instead = self._drop

    async def _pace(self) -> None:
        self._server.instead = self._too_fast

    async def _reject(self) -> None:
        self._server.instead = self._unknown

    async def _cut_after(self) -> None:
        self._server.instead = self._take_and_hang_up

    async def _drop(self, client: Client, message: Message) -> None:
        """RFC 2812: a server that drops a command without processing it says RPL_TRYAGAIN."""
        await client.write(f":{HOST} 263 bot PRIVMSG :Please wait a while and try again.", **labels(message))

    async def _too_fast(self, client: Client, message: Message) -> None:
        await client.write(f":{HOST} 439 bot alice :Target change too fast. Please wait 20 seconds.", **labels(message))

    async def _unknown(self, client: Client, message: Message) -> None:
        await client.write(f":{HOST} 401 bot alice :No such nick/channel", **labels(message))

    async def _take_and_hang_up(self, client: Client, message: Message) -> None:
        self._server.said.append((message.target, message.text))
        await client.stream.aclose()


class TestIrcContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd_irc"
    offers = EVERYTHING
    excuses: ClassVar[Mapping[str, str]] = {
        "rate limit": "a server limits the account, not a conversation",
        "revoked": "an account that is logged in stays so",
        "half": "with the limit of its peer, a text is one line",
        "thread": "IRC has none",
        **dict.fromkeys(("edits in", "files in", "reports"), "IRC has lines, and nothing else"),
    }

    @asynccontextmanager
    async def harness(self) -> AsyncIterator[Harness]:
        async with fake_irc() as server:
            server.offers = self.offers
            yield IrcHarness(server)


class TestIrcContractWithoutLabels(TestIrcContract):
    offers = "batch server-time echo-message message-tags"


class TestIrcContractOnAnOldServer(TestIrcContract):
    """It gives its messages neither a time nor an id."""

    offers = ""
    excuses: ClassVar[Mapping[str, str]] = {
        **TestIrcContract.excuses,
        "replies": "without message-tags no line names another",
        "test_an_event_that_comes_twice_has_one_key": "a server without a history repeats nothing",
    }
