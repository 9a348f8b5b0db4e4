"""Slack passes the contract, by Socket Mode and by the Events API. Its other side is the fake Slack, over real sockets."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import ClassVar

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.channels.slack import PLUGIN
from gatewayd.channels.slack.receiving.threads import CLOCK_SECONDS
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import AccountConfig, WebhookRequest
from gatewayd.testing.channel_contract import Account, Button, ChannelContract, Harness, Place, Rig, SendFailure, Shown
from tests.channels.slack.rig import account_of, now, plain_of
from tests.fakes.bot_api.http_server import Request, Response, listen, port_of, serve_http
from tests.fakes.slack_platform import FakeSlack, Json
from tests.fakes.slack_platform.delivery.deliveries import Delivery

SENDS = ("chat.postMessage", "chat.update")
JSON = "application/json"
BEFORE_SECONDS = 2 * CLOCK_SECONDS
"""What was said so long before the first start of an account was surely said before it."""


async def settle() -> None:
    """Slack tells one event after the other; what it sends at once, may come in any order."""
    await trio.testing.wait_all_tasks_blocked(0.002)


class SlackHarness:
    unknown_message = "C0UNKNOWN:1700000000.000100"

    def __init__(self, slack: FakeSlack, mode: str = "socket") -> None:
        self.slack = slack
        self.account: AccountConfig = account_of(slack, mode=mode)
        self._alice, self._bob = slack.add_user("alice"), slack.add_user("bob")
        self.people = (self._alice, self._bob)
        self.peer = Peer("dm", self._alice)
        general = slack.add_channel("general", self.people)
        slack.drop_events()
        root = slack.say(self._bob, general, "the topic")
        slack.drop_events(dropping=False)
        self.places: Mapping[Place, Peer] = {
            "other": Peer("dm", self._bob),
            "group": Peer("group", general),
            "thread": Peer("group", general, root),
        }
        self._written: list[list[Delivery]] = []
        self._latest = ""

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        # A server may repeat what it was asked for, and what it was asked with.
        told: Json = {"response_metadata": {"messages": [f"[ERROR] {self.slack.bot_token}"]}}
        return {
            "outage": self._arrange(lambda method: self.slack.break_with(method, 403, body=self.slack.bot_token.encode())),
            "rate limit": self._arrange(lambda method: self.slack.rate_limit(method, 7)),
            "rejected": self._arrange(lambda method: self.slack.refuse(method, "is_archived", fields=told)),
            "revoked": self._arrange(lambda method: self.slack.set_token_state("token_revoked")),
            "cut": self._arrange(lambda method: self.slack.fault("drop_after", method)),
        }

    def _arrange(self, fail: Callable[[str], None]) -> Callable[[], Awaitable[None]]:
        async def arrange() -> None:
            for method in SENDS:
                fail(method)

        return arrange

    def _channel(self, peer: Peer) -> str:
        return self.slack.dm(peer.id) if peer.kind == "dm" else peer.id

    async def produce(self, text: str) -> None:
        await self.write(text, peer=self.peer, sender=self._alice)

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        text = f"<@{self.slack.bot_user}> {text}" if mentions else text
        with self._noting():
            self._latest = self.slack.say(sender, self._channel(peer), text, thread=peer.thread)
        await settle()

    async def correct(self, text: str) -> None:
        with self._noting():
            self.slack.edit(self._channel(self.peer), self._latest, text)

    async def produce_file(self, name: str, content: bytes) -> None:
        file = self.slack.file(self._alice, name, content)
        with self._noting():
            self._latest = self.slack.say(self._alice, self._channel(self.peer), "", files=[file])

    async def redeliver(self) -> None:
        for delivery in self._written[-1]:
            with self._noting():
                self.slack.deliveries.add(Delivery(delivery.kind, delivery.payload))

    async def press(self, message_id: str, data: str) -> None:
        channel, _, ts = message_id.partition(":")
        self.slack.press(self._alice, channel, ts, value=data)
        await settle()

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """What happens inside is one event, however many payloads Slack makes of it."""
        before = len(self.slack.deliveries.all)
        yield
        self._written.append(self.slack.deliveries.all[before:])

    async def acknowledged(self) -> int:
        return self._acknowledged()

    def _acknowledged(self) -> int:
        return sum(all(delivery.outcome == "delivered" for delivery in deliveries) for deliveries in self._written)

    async def wait_acknowledged(self, count: int) -> None:
        await self.slack.wait_until(lambda: self._acknowledged() >= count)

    async def received(self) -> Sequence[str]:
        return await self.received_in(self.peer)

    async def received_in(self, peer: Peer) -> Sequence[str]:
        return [plain_of(message) for message in self._ours(peer)]

    async def received_files(self) -> Sequence[tuple[str, bytes, str]]:
        return [
            (file["name"], self.slack.workspace.contents[file["id"]], plain_of(message))
            for message in self._ours(self.peer)
            for file in message.get("files", ())
        ]

    async def shown(self) -> Sequence[Shown]:
        channel = self._channel(self.peer)
        return [
            Shown(
                f"{channel}:{message['ts']}",
                plain_of(message),
                tuple(
                    Button(element["text"]["text"], element["value"])
                    for block in message.get("blocks", ())
                    if block["type"] == "actions"
                    for element in block["elements"]
                ),
            )
            for message in self._ours(self.peer)
        ]

    def _ours(self, peer: Peer) -> list[Json]:
        there = self.slack.messages(self._channel(peer))
        mine = [message for message in there if message.get("bot_id") == self.slack.bot_id]
        return [message for message in mine if message.get("thread_ts") == peer.thread]

    async def wait_answers(self, count: int) -> Sequence[str]:
        channel = self._channel(self.peer)
        await self.slack.wait_until(lambda: len(self.slack.ephemeral(channel)) >= count)
        return [plain_of(message) for message in self.slack.ephemeral(channel)]

    async def stall(self) -> None:
        channel = self._channel(self.peer)
        self.slack.fault("hang", "chat.postMessage", times=None, when=lambda values: values["channel"] == channel)


class SocketHarness(SlackHarness):
    async def cut(self) -> None:
        self.slack.fault("drop_before", "apps.connections.open", times=None)
        for connection in tuple(self.slack.connections):
            await connection.socket.cut()

    async def heal(self) -> None:
        self.slack.clear_faults()

    async def go_silent(self) -> None:
        self.slack.fault("hang", "*", times=None)
        for connection in self.slack.connections:
            connection.socket.silent = True

    async def ping(self) -> None:
        for connection in tuple(self.slack.connections):
            before = connection.socket.pongs
            await connection.socket.ping(b"there?")
            while connection.socket.pongs == before:
                await trio.testing.wait_all_tasks_blocked(0.01)


EXCUSES = {
    "half": "a text is one message",
    "pace": "Slack names no limit of the whole app; the driver infers one from two channels (test_limits.py)",
    "replies": "in Slack a reply is a message of a thread",
    "reports": "an app is not told what became of its messages",
}


class SlackContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.slack"

    async def send(self, rig: Rig, account: Account, payload: OutboundPayload, *, key: str | None = None) -> Receipt:
        """Slack tells an app what its own bot has said. That is acknowledged here, or Slack would try it for minutes."""
        receipt = await super().send(rig, account, payload, key=key)
        await settle()
        return receipt

    async def test_what_was_journaled_does_not_come_again(self) -> None:
        """The ten minutes before a gap are read back, because Slack may still be sending what was not stored. The hub knows the
        others by their keys."""
        async with self.rig() as rig:
            acks = self.acks(rig)
            async with rig.account() as account:
                for text in ("one", "two"):
                    await rig.harness.produce(text)
                await account.journal.wait_texts("one", "two")
                await acks.wait_acknowledged(2)
            async with rig.account() as again:
                await rig.harness.produce("three")
                await again.journal.wait_text("three")
                await settle()
        assert set(again.journal.texts) <= {"one", "two", "three"}
        assert len({envelope.event_key for each in (account, again) for envelope in each.journal.envelopes}) == 3


class TestSlackContract(SlackContract):
    excuses: ClassVar[Mapping[str, str]] = {**EXCUSES, "webhooks": "it is connected"}

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        async with FakeSlack.serve(now=now) as slack:
            harness = SocketHarness(slack)
            await trio.sleep(BEFORE_SECONDS)
            yield harness


class EventsHarness(SlackHarness):
    """Slack posts to us."""

    def __init__(self, slack: FakeSlack) -> None:
        super().__init__(slack, mode="events")
        self._reached: Account | None = None

    def reach(self, account: Account | None) -> None:
        self._reached = account

    async def genuine(self, text: str) -> WebhookRequest:
        self.slack.drop_events()
        await self.produce(text)
        self.slack.drop_events(dropping=False)
        body = json.dumps(self._written[-1][0].payload).encode()
        headers = {name.lower(): value for name, value in self.slack.sender.signed(body, JSON).items()}
        return WebhookRequest("POST", headers, "", body)

    def forged(self, genuine: WebhookRequest) -> Sequence[WebhookRequest]:
        signature = "x-slack-signature"
        without = {name: value for name, value in genuine.headers.items() if name != signature}
        return [
            replace(genuine, headers=without),
            replace(genuine, headers={**without, signature: "v0=" + "0" * 64}),
            replace(genuine, headers={**genuine.headers, "x-slack-request-timestamp": "1799990000"}),
            replace(genuine, body=genuine.body.replace(b"hello", b"other")),
        ]

    async def answer(self, request: Request) -> Response | None:
        """The daemon's HTTP server."""
        if self._reached is None:
            return Response(503, b"")
        reply = await self._reached.webhook(WebhookRequest(request.method, request.headers, request.query, request.body))
        return Response(reply.status, reply.body, reply.content_type)


@pytest.mark.slow
class TestSlackEventsContract(SlackContract):
    excuses: ClassVar[Mapping[str, str]] = {
        **EXCUSES,
        "test_messages_of_a_conversation_are_delivered_one_after_the_other": "Slack makes several requests at once",
        "pings": "Slack calls us",
        "breaks": "Slack calls us",
        "silence": "Slack calls us, and is silent while nobody writes",
    }

    async def test_nothing_is_dropped_while_the_inbox_is_full(self) -> None:
        """Slack gives up a request after three seconds, and makes it again later: the order is lost, and no message."""
        texts = [f"number {number}" for number in range(40)]
        async with self.rig(900) as rig, rig.account(full=True) as account:
            for text in texts:
                await rig.harness.produce(text)
            await settle()
            account.journal.gate.set()
            await self.acks(rig).wait_acknowledged(len(texts))
        assert set(account.journal.texts) == set(texts)

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        listener = await listen(0)
        async with trio.open_nursery() as nursery, FakeSlack.serve(mode="events", now=now) as slack:
            harness = EventsHarness(slack)
            await trio.sleep(BEFORE_SECONDS)
            slack.set_request_urls(f"http://127.0.0.1:{port_of(listener)}/")
            nursery.start_soon(serve_http, listener, harness.answer)
            yield harness
            nursery.cancel_scope.cancel()
