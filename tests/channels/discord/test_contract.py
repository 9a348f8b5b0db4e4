"""Discord passes the contract, with interactions by the gateway and over HTTP. Its other side is the fake Discord, over real
sockets."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.channels.discord import PLUGIN
from gatewayd.model.message.envelope import Peer
from gatewayd.ports.channel import AccountConfig, ReceivesWebhooks, WebhookRequest
from gatewayd.testing.channel_contract import Account, Button, ChannelContract, Harness, Place, SendFailure, Shown
from tests.channels.discord.reader import plain_of
from tests.channels.discord.rig import account_of, now
from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.discord_platform import CREATE_MESSAGE, FakeDiscord, Json

EDIT_MESSAGE = "PATCH /channels/{channel_id}/messages/{message_id}"
SENDS = (CREATE_MESSAGE, EDIT_MESSAGE)


async def settle() -> None:
    """The gateway tells one event after the other."""
    await trio.testing.wait_all_tasks_blocked(0.002)


class DiscordHarness:
    def __init__(self, discord: FakeDiscord) -> None:
        self.discord = discord
        self.account: AccountConfig = account_of(discord)
        self._alice, self._bob = discord.add_user("alice"), discord.add_user("bob")
        self.people = (self._alice, self._bob)
        self.peer = Peer("dm", self._alice)
        guild = discord.add_guild("Home", members=self.people)
        general = discord.add_channel(guild, "general")
        thread = discord.open_thread(self._bob, general, "the topic")
        self.places: Mapping[Place, Peer] = {
            "other": Peer("dm", self._bob),
            "group": Peer("group", general),
            "thread": Peer("group", general, thread),
        }
        self.unknown_message = f"{discord.dm(self._alice)}:123456789012345678"
        self._latest = ""
        self._written: list[int] = []

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        discord = self.discord
        return {
            "outage": self._arrange(lambda route: discord.fail_with_page(route, 403, body=discord.token)),
            "rate limit": self._arrange(lambda route: discord.limit_next(route, 70.0)),
            "pace": self._arrange(lambda route: discord.limit_next(route, 70.0, scope="global")),
            "rejected": self._arrange(lambda route: discord.fail_next(route, 403, 50013, discord.token)),
            "revoked": self._revoke,
            "cut": self._arrange(lambda route: discord.cut_next(route, after_effect=True)),
        }

    async def _revoke(self) -> None:
        self.discord.reset_token()

    def _arrange(self, fail: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        async def arrange() -> None:
            for route in SENDS:
                fail(route)

        return arrange

    def _channel(self, peer: Peer) -> str:
        return self.discord.dm(peer.id) if peer.kind == "dm" else peer.thread or peer.id

    async def produce(self, text: str) -> None:
        await self.write(text, peer=self.peer, sender=self._alice)

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        text = f"<@{self.discord.bot_id}> {text}" if mentions else text
        self._latest = self.discord.say(sender, self._channel(peer), text)
        self._note()
        await settle()

    async def correct(self, text: str) -> None:
        self.discord.edit(self._latest, text)
        self._note()

    async def produce_file(self, name: str, content: bytes) -> None:
        self._latest = self.discord.say(self._alice, self._channel(self.peer), "", files=[(name, content)])
        self._note()

    async def redeliver(self) -> None:
        self.discord.gateway.repeat_last()

    async def press(self, message_id: str, data: str) -> None:
        message = message_id.partition(":")[2]
        buttons = self.discord.buttons(message)
        custom_id = next(str(it["custom_id"]) for it in buttons if str(it["custom_id"]).endswith(f"/{data}"))
        self.discord.press(self._alice, message, custom_id)
        self._note()
        await settle()

    def _note(self) -> None:
        """What has happened has this number in the newest session."""
        self._written.append(self.discord.gateway.newest_seq)

    async def acknowledged(self) -> int:
        return self._acknowledged()

    def _acknowledged(self) -> int:
        acknowledged = self.discord.gateway.acknowledged_seq
        return sum(number <= acknowledged for number in self._written)

    async def wait_acknowledged(self, count: int) -> None:
        await self.discord.wait_until(lambda: self._acknowledged() >= count)

    async def received(self) -> Sequence[str]:
        return await self.received_in(self.peer)

    async def received_in(self, peer: Peer) -> Sequence[str]:
        return [plain_of(message["content"]) for message in self._ours(peer)]

    async def received_files(self) -> Sequence[tuple[str, bytes, str]]:
        return [
            (file["filename"], self._content(file["url"]), plain_of(message["content"]))
            for message in self._ours(self.peer)
            for file in message["attachments"]
        ]

    def _content(self, url: str) -> bytes:
        parts = urlsplit(url)
        return self.discord.cdn.read(parts.path, parts.query)[1]

    async def shown(self) -> Sequence[Shown]:
        return [
            Shown(
                f"{message['channel_id']}:{message['id']}",
                plain_of(message["content"]),
                tuple(
                    Button(it["label"], it["custom_id"].partition("/")[2])
                    for row in message["components"]
                    for it in row["components"]
                ),
            )
            for message in self._ours(self.peer)
        ]

    def _ours(self, peer: Peer) -> list[Json]:
        return [it for it in self.discord.messages(self._channel(peer)) if it["author"]["id"] == self.discord.bot_id]

    async def wait_answers(self, count: int) -> Sequence[str]:
        await self.discord.wait_until(lambda: len(self._answers()) >= count)
        return [plain_of(text) for text in self._answers()]

    def _answers(self) -> list[str]:
        return [str(body["content"]) for body in self.discord.calls("POST /webhooks/{webhook_id}/{webhook_token}")]

    async def stall(self) -> None:
        channel = self._channel(self.peer)
        self.discord._fault("hang", CREATE_MESSAGE, times=None, when=lambda call: call.ids["channel_id"] == channel)

    async def cut(self) -> None:
        self.discord.gateway.behave(refuses=True)
        self.discord.gateway.reset_all()

    async def heal(self) -> None:
        self.discord.gateway.behave(refuses=False)

    async def go_silent(self) -> None:
        self.discord.gateway.behave(acknowledges=False, dispatches=False)


EXCUSES = {
    "half": "a text is one message",
    "pings": "a driver beats, and Discord's pings are those beats",
    "replies": "a direct message is answered without a reply: there is nobody else",
    "reports": "a bot is not told what became of its messages",
}


class TestDiscordContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.discord"
    excuses: ClassVar[Mapping[str, str]] = {**EXCUSES, "webhooks": "it is connected"}

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        async with FakeDiscord.serve(now=now) as discord:
            discord.gateway.behave(heartbeat_seconds=5.0)
            harness = DiscordHarness(discord)
            await trio.sleep(5)
            yield harness


class HttpHarness(DiscordHarness):
    """Discord posts interactions to us, and everything else comes by the gateway."""

    def __init__(self, discord: FakeDiscord) -> None:
        super().__init__(discord)
        self.account = account_of(discord, interactions="http")
        self._reached: Account | None = None

    def reach(self, account: Account | None) -> None:
        self._reached = account

    async def genuine(self, text: str) -> WebhookRequest:
        """A slash command with this text."""
        self.discord.register("ask", options=[{"type": 3, "name": "text", "description": "text"}])
        interaction = self.discord.command(self._alice, self._channel(self.peer), "ask", {"text": text})
        body = json.dumps(self.discord.interaction(interaction).data).encode()
        timestamp = str(int(now()))
        signature = self.discord._world.application.sign(timestamp, body)
        headers = {"x-signature-ed25519": signature, "x-signature-timestamp": timestamp, "content-type": "application/json"}
        return WebhookRequest("POST", headers, "", body)

    def forged(self, genuine: WebhookRequest) -> Sequence[WebhookRequest]:
        signature = "x-signature-ed25519"
        without = {name: value for name, value in genuine.headers.items() if name != signature}
        return [
            replace(genuine, headers=without),
            replace(genuine, headers={**without, signature: "0" * 128}),
            replace(genuine, headers={**genuine.headers, "x-signature-timestamp": "1799990000"}),
            replace(genuine, body=genuine.body.replace(b"hello", b"other")),
        ]

    async def answer(self, request: Request) -> Response | None:
        """The daemon's HTTP server."""
        if self._reached is None:
            return Response(503, b"")
        reply = await self._reached.webhook(WebhookRequest(request.method, request.headers, request.query, request.body))
        return Response(reply.status, reply.body, reply.content_type)


@pytest.mark.slow
class TestDiscordHttpContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.discord"
    excuses: ClassVar[Mapping[str, str]] = EXCUSES

    async def test_a_request_is_the_same_event_each_time(self) -> None:
        """What comes by HTTP is a command, whose text begins with its name."""
        async with self.rig() as rig, rig.account() as account:
            assert isinstance(rig.harness, HttpHarness)
            assert isinstance(account.channel, ReceivesWebhooks)
            request = await rig.harness.genuine("hello")
            first, again = [account.channel.receive(request) for _ in range(2)]
        assert first.status == 200
        assert json.loads(first.body) == {"type": 5}
        assert [envelope.text for envelope in first.envelopes] == ["/ask hello"]
        assert [envelope.event_key for envelope in first.envelopes] == [envelope.event_key for envelope in again.envelopes]

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        listener = await listen(0)
        async with trio.open_nursery() as nursery, FakeDiscord.serve(now=now) as discord:
            discord.gateway.behave(heartbeat_seconds=5.0)
            harness = HttpHarness(discord)
            await trio.sleep(5)
            discord.set_endpoint(f"http://127.0.0.1:{port_of(listener)}/")
            nursery.start_soon(serve_http, listener, harness.answer)
            yield harness
            nursery.cancel_scope.cancel()
