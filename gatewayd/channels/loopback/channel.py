"""The driver. Its other side is in the same process: ``platform.platform_of(account)``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from math import inf

import trio

from gatewayd.channels.loopback.inbound import Broken, Connection
from gatewayd.channels.loopback.platform import ListenReturns, LoopbackPlatform, platform_of
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt, RichText, SendFile, Signal
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver, DeliveryReport


class LoopbackChannel:
    """One open account."""

    def __init__(self, platform: LoopbackPlatform, settings: LoopbackSettings, services: ChannelServices) -> None:
        self._platform = platform
        self._settings = settings
        self._services = services

    async def listen(self, deliver: Deliver) -> None:
        try:
            connection = await self._connect()
            await self._platform.on_connected.play()
            while True:
                await self._receive(connection, deliver)
        except ListenReturns:
            return
        except Broken:
            raise TryAgain("the connection to the loopback was cut") from None

    async def _connect(self) -> Connection:
        await self._platform.on_listen.play()
        connection = await self._platform.inbound.connect(self._answer_ping)
        self._services.connection.connected(self._settings.identity)
        if self._settings.beat_seconds is not None:
            self._services.connection.expect_silence(2 * self._settings.beat_seconds)
        return connection

    async def _receive(self, connection: Connection, deliver: Deliver) -> None:
        """One event, or a sign of life."""
        event = await connection.next_event(beat_seconds=self._settings.beat_seconds or inf)
        self._services.connection.heard()
        if isinstance(event, DeliveryReport):
            await deliver((), reports=[event])
            connection.acknowledge(event)
        elif event is not None:
            await self._deliver(connection, event, deliver)

    async def _deliver(self, connection: Connection, envelope: InboundEnvelope, deliver: Deliver) -> None:
        await deliver([envelope])
        connection.acknowledge(envelope)

    def _answer_ping(self, connection: Connection) -> None:
        """At once, also while a delivery waits."""
        self._services.connection.heard()
        connection.pong()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await trio.lowlevel.checkpoint()
        self._platform.keep_pace()
        await self._platform.before_send.play()
        if isinstance(payload, SendFile):
            async with self._services.open_file(payload) as file:
                content = b"".join([chunk async for chunk in file])
            receipt = self._platform.accept_file(payload, content, key=key)
        else:
            receipt = self._platform.accept(payload, key=key)
        await self._platform.wait_for_answer(payload.peer)
        await self._platform.after_send.play()
        return receipt

    def grows_every(self, peer: Peer) -> float | None:
        return 0.0

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        await trio.lowlevel.checkpoint()
        await self._platform.before_grow.play()
        self._platform.grow(message_id, text)
        await self._platform.after_grow.play()

    async def signal(self, signal: Signal) -> None:
        await trio.lowlevel.checkpoint()
        self._platform.show(signal)

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        await trio.lowlevel.checkpoint()
        content = self._platform.files.get(attachment.ref)
        if content is None or len(content) > at_most_bytes:
            raise SendRejected("gone: the loopback has no such file" if content is None else "the file is too large")
        return content


@asynccontextmanager
async def open_loopback(account: AccountConfig, services: ChannelServices) -> AsyncIterator[LoopbackChannel]:
    """The ``ChannelOpener`` of the manifest. Opens nothing outside this process."""
    assert isinstance(account.settings, LoopbackSettings)
    platform = platform_of(account.account)
    platform.note_opening()
    await platform.on_open.play()
    platform.note_open()
    try:
        yield LoopbackChannel(platform, account.settings, services)
    finally:
        platform.note_closed()
        await platform.on_close.play()
