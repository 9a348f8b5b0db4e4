"""Right drivers of several kinds of networks, each as small as a difference from the loopback. Faults are differences from these.

``Loopback`` has a connection, and acknowledges. ``Polled`` keeps a cursor of its own. ``Called`` is called by webhook.
``InPieces`` sends a long text in several messages. ``Wordy`` is on a network where marks take several places on the wire.
``Remembering`` is on one that knows a send again by its key.
"""

import hmac
import html
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import ClassVar, NoReturn

import trio
from msgspec.structs import replace

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.channel import LoopbackChannel
from gatewayd.channels.loopback.inbound import Broken, Connection
from gatewayd.channels.loopback.platform import failing, platform_of, taking
from gatewayd.model.errors import GatewayError, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import OutboundPayload, Receipt, RichText, SendText
from gatewayd.ports.channel import (
    AccountConfig,
    ChannelOpener,
    ChannelPlugin,
    ChannelServices,
    Deliver,
    WebhookReply,
    WebhookRequest,
)
from gatewayd.testing.channel_contract import Account, ChannelContract, Harness, SendFailure
from tests.channels.contract.loopback import LockedSettings, LoopbackHarness

PLATFORM_LIMIT = 4096
PIECE = 1000
BEAT_SECONDS = 30.0


class Loopback(LoopbackChannel):
    """The loopback itself, with places where a fault can be put. ``side`` is its other side."""

    def __init__(self, account: AccountConfig, services: ChannelServices, side: LoopbackHarness) -> None:
        assert isinstance(account.settings, LockedSettings)
        super().__init__(platform_of(account.account), account.settings, services)
        self.password = account.settings.password
        self.side = side

    async def open(self) -> None:
        """Before anything else."""
        await trio.lowlevel.checkpoint()

    async def close(self) -> None:
        """At the end."""

    def read(self, envelope: InboundEnvelope) -> InboundEnvelope:
        """What is delivered of an event."""
        return envelope

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        await deliver([self.read(envelope)])
        connection.acknowledge(envelope)

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        if self.size_of(payload.body.text) > PLATFORM_LIMIT:
            raise SendRejected("the platform takes no text of this length")
        return await super().send(payload, key=key)

    def size_of(self, text: str) -> int:
        """As the platform counts."""
        return len(text)


@asynccontextmanager
async def open_driver(
    account: AccountConfig, services: ChannelServices, driver: Callable[[AccountConfig, ChannelServices], Loopback]
) -> AsyncIterator[Loopback]:
    channel = driver(account, services)
    await channel.open()
    try:
        yield channel
    finally:
        await channel.close()


class LoopbackContract(ChannelContract):
    """The contract with any driver in the place of the loopback's."""

    plugin: ClassVar[ChannelPlugin] = PLUGIN
    manifest_module = "gatewayd.channels.loopback"
    excuses: ClassVar[Mapping[str, str]] = {"half": "a payload is one message"}
    right: ClassVar[type[Loopback]] = Loopback
    other_side: ClassVar[type[LoopbackHarness]] = LoopbackHarness

    def __init__(self, driver: type[Loopback] | None = None) -> None:
        self._driver = driver or self.right

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._serve()

    @asynccontextmanager
    async def _serve(self) -> AsyncIterator[Harness]:
        self._side = self.other_side()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._side.run)
            yield self._side
            nursery.cancel_scope.cancel()

    def opener(self) -> ChannelOpener:
        return partial(open_driver, driver=lambda account, services: self._driver(account, services, self._side))


# A network that keeps its history, of which a driver reads on from its cursor.


class History(LoopbackHarness):
    """The platform keeps all events, and knows of no acknowledgement: what the driver has committed is behind its cursor."""

    ping = report = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.events: list[InboundEnvelope] = []
        self.said: list[tuple[Peer, str | None, Earlier]] = []
        self.more = Wakeup()
        self.taken = 0
        self.is_down = False
        self.is_silent = False

    def happen(self, envelope: InboundEnvelope) -> None:
        self._latest = envelope
        self.events.append(envelope)
        self.said.append((envelope.peer, envelope.message_id, Earlier(envelope.sender, envelope.text, envelope.sent_at)))
        self.more.notify()

    async def events_after(self, cursor: int, *, at_most_seconds: float) -> list[InboundEnvelope]:
        """:raises Broken: there is no connection."""
        await trio.lowlevel.checkpoint()
        with trio.move_on_after(at_most_seconds):
            while not self.is_down and not self.events[cursor:]:
                await self.more.wait()
        if self.is_silent:
            await trio.sleep_forever()
        if self.is_down:
            raise Broken
        return self.events[cursor:]

    async def acknowledged(self) -> int:
        return self.taken

    async def wait_acknowledged(self, count: int) -> None:
        while self.taken < count:
            await self.more.wait()

    def note_taken(self, cursor: int) -> None:
        self.taken = cursor
        self.more.notify()

    async def cut(self) -> None:
        self.is_down = True
        self.more.notify()

    async def heal(self) -> None:
        self.is_down = False
        self.more.notify()

    async def go_silent(self) -> None:
        self.is_silent = True


class Polled(Loopback):
    """Asks for what comes behind its cursor. The cursor is committed with the messages."""

    side: History

    async def listen(self, deliver: Deliver) -> NoReturn:
        cursor = await self.first_cursor()
        self._services.connection.expect_silence(2 * BEAT_SECONDS)
        is_connected = False
        while True:
            try:
                events = await self.side.events_after(cursor, at_most_seconds=BEAT_SECONDS if is_connected else 0.0)
            except Broken:
                cursor = await self.after_cut(cursor)
                continue
            self._services.connection.heard()
            if not is_connected:
                is_connected = True
                self._services.connection.connected()
            if events:
                cursor += len(events)
                await self.take(events, cursor, deliver)
                self.side.note_taken(cursor)

    async def first_cursor(self) -> int:
        return int(await self._services.state.load("cursor") or 0)

    async def after_cut(self, cursor: int) -> int:
        """Where to go on. :raises TryAgain: the account connects anew."""
        await trio.lowlevel.checkpoint()
        raise TryAgain("the poll was cut")

    async def take(self, events: Sequence[InboundEnvelope], cursor: int, deliver: Deliver) -> None:
        await deliver(events, state={"cursor": str(cursor)})

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        receipt = await super().send(payload, key=key)
        self.side.said.append((payload.peer, receipt.message_id, Earlier(Sender("us"), payload.body.text, ours=True)))
        return receipt

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        """See ``ports.channel.RecallsThreads``."""
        await trio.lowlevel.checkpoint()
        until = [message_id for _, message_id, _ in self.side.said].index(envelope.message_id)
        return self.of_thread(self.side.said[:until], envelope.peer)[-at_most:]

    def of_thread(self, said: Sequence[tuple[Peer, str | None, Earlier]], thread: Peer) -> Sequence[Earlier]:
        return [item for peer, _, item in said if peer == thread]


class PolledContract(LoopbackContract):
    plugin = replace(PLUGIN, recalls=True)
    right = Polled
    other_side = History
    excuses: ClassVar[Mapping[str, str]] = {
        **LoopbackContract.excuses,
        "pings": "it is polled",
        "reports": "its history has none",
    }


# A network that calls us.


class Caller(History):
    """The platform posts each event until it is taken, one at a time."""

    cut = heal = go_silent = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self._account: Account | None = None

    def reach(self, account: Account | None) -> None:
        self._account = account
        self.more.notify()

    async def run(self) -> None:
        while True:
            while self._account is None or not self.events[self.taken :]:
                await self.more.wait()
            request = WebhookRequest("POST", {"x-secret": "right"}, "", str(self.taken).encode())
            reply = await self._account.webhook(request)
            if reply.status == 200:
                self.note_taken(self.taken + 1)
            else:
                await trio.sleep(1.0)

    async def genuine(self, text: str) -> WebhookRequest:
        self.events.append(self.platform.message(text, peer=self.peer, sender=Sender("alice")))
        return WebhookRequest("POST", {"x-secret": "right"}, "", str(len(self.events) - 1).encode())

    def forged(self, genuine: WebhookRequest) -> Sequence[WebhookRequest]:
        return [replace(genuine, headers={}), replace(genuine, headers={"x-secret": "wrong"})]


class Called(Loopback):
    """The platform's requests bring the messages."""

    side: Caller

    async def listen(self, deliver: Deliver) -> NoReturn:
        self._services.connection.connected()
        await trio.sleep_forever()
        raise AssertionError

    def receive(self, request: WebhookRequest) -> WebhookReply:
        if not hmac.compare_digest(request.headers.get("x-secret", ""), "right"):
            return WebhookReply(status=401)
        if not request.body.isdigit():
            return WebhookReply(status=400)
        return WebhookReply(envelopes=(self.read(self.side.events[int(request.body)]),))

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        self._services.connection.heard()


class CalledContract(LoopbackContract):
    plugin = replace(PLUGIN, webhook=True)
    right = Called
    other_side = Caller
    excuses: ClassVar[Mapping[str, str]] = {
        **LoopbackContract.excuses,
        "pings": "it calls us",
        "reports": "its history has none",
        "breaks": "it calls us",
        "silence": "it calls us",
    }


# A network of short messages.


class Short(LoopbackHarness):
    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        async def half() -> None:
            self.platform.before_send.next(taking(0), failing(SendRejected("no more")))

        return {**super().failures, "half": half}


class InPieces(Loopback):
    """The platform takes a thousand characters, so a text may be several messages."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        text, receipt = payload.body.text, Receipt()
        if not isinstance(payload, SendText):
            return await super().send(payload, key=key)
        for start in range(0, len(text), PIECE):
            piece = replace(payload, body=RichText(text[start : start + PIECE]))
            try:
                receipt = await super().send(piece, key=key)
            except GatewayError as error:
                raise self.outcome_of(error, start // PIECE) from error
        return receipt

    def outcome_of(self, error: GatewayError, sent: int) -> GatewayError:
        """What a failure after so many pieces means."""
        return OutcomeUnknown(f"{sent} pieces are out: {error.reason}") if sent else error


class InPiecesContract(LoopbackContract):
    right = InPieces
    other_side = Short
    excuses: ClassVar[Mapping[str, str]] = {}


# A network whose limit is in its own markup.


def wire_size(rich: RichText) -> int:
    return len(html.escape(rich.text))


class Wordy(Loopback):
    """The platform counts what is escaped."""

    def size_of(self, text: str) -> int:
        return wire_size(RichText(text))


class WordyContract(LoopbackContract):
    plugin = replace(PLUGIN, wire_size="tests.channels.contract.variants:wire_size")
    right = Wordy


# A network that knows a send again.


class Remembering(Loopback):
    """The platform drops a second send with the same key, and can be asked what became of one."""

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        known = self._platform.receipts.get(key)
        return await super().send(payload, key=key) if known is None else known

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        await trio.lowlevel.checkpoint()
        return self._platform.receipts.get(key)


class RememberingContract(LoopbackContract):
    plugin = replace(PLUGIN, resend_safe_seconds=600.0, reconciles=True)
    right = Remembering


VARIANTS: Sequence[type[LoopbackContract]] = (
    LoopbackContract,
    PolledContract,
    CalledContract,
    InPiecesContract,
    WordyContract,
    RememberingContract,
)
