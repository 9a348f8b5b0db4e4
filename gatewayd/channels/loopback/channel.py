"""The driver. Its other side is in the same process: ``platform.platform_of(account)``."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gatewayd.channels.loopback.platform import ListenReturns, LoopbackPlatform, platform_of
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt, RichText, Signal
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver


class LoopbackChannel:
    """One open account."""

    def __init__(self, platform: LoopbackPlatform, settings: LoopbackSettings, services: ChannelServices) -> None:
        self._platform = platform
        self._settings = settings
        self._services = services

    async def listen(self, deliver: Deliver) -> None:
        try:
            await self._platform.on_listen.play()
            self._services.connection.connected(self._settings.identity)
            await self._platform.on_connected.play()
            await self._platform.deliver_waiting(deliver)
        except ListenReturns:
            return

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await trio.lowlevel.checkpoint()
        self._platform.keep_pace()
        await self._platform.before_send.play()
        receipt = self._platform.accept(payload)
        await self._platform.after_send.play()
        return receipt

    def grows_in(self, peer: Peer) -> bool:
        return True

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        await trio.lowlevel.checkpoint()
        await self._platform.before_grow.play()
        self._platform.grow(message_id, text)
        await self._platform.after_grow.play()

    async def signal(self, signal: Signal) -> None:
        await trio.lowlevel.checkpoint()
        self._platform.show(signal)


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
