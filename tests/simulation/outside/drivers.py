"""The simulated channels as plugins: what the daemon sees of ``platforms``. One polls with an offset, one is called."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import msgspec
import trio
from msgspec import Struct
from msgspec.structs import replace

from gatewayd.actor.border import leaves
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, PressAnswer, Receipt, RichText, Signal
from gatewayd.ports.channel import (
    AccountConfig,
    ChannelPlugin,
    ChannelServices,
    Deliver,
    TextLimit,
    WebhookReply,
    WebhookRequest,
)
from tests.simulation.outside.platforms import OPEN_FAULTS, POLL_SECONDS, Account, Knows, Update
from tests.simulation.trace import Violation
from tests.third_party.kinds import any_bug

if TYPE_CHECKING:
    from tests.simulation.life import Life

_DRIVERS = "tests.simulation.outside.drivers"
POLLED = ChannelPlugin(
    id="polled",
    label="Polled",
    settings=f"{_DRIVERS}:Wire",
    open=f"{_DRIVERS}:open_polled",
    text_limit=TextLimit(400, "utf16"),
    buttons=True,
    edits=True,
    grows=True,
)
PUSHED = ChannelPlugin(
    id="pushed",
    label="Pushed",
    settings=f"{_DRIVERS}:Wire",
    open=f"{_DRIVERS}:open_pushed",
    text_format="plain",
    text_limit=TextLimit(500, "chars"),
    webhook=True,
)
_OFFSET = "offset"


def knowing(plugin: ChannelPlugin, knows: Knows) -> ChannelPlugin:
    """The manifest of a channel whose platform knows so much of the sends of before."""
    return replace(plugin, resend_safe_seconds=knows.keys_for_seconds or None, reconciles=knows.can_be_asked)


class Wire(Struct, frozen=True):
    """The settings of an account: the platform at the other end, and the life of the daemon at this one."""

    account: Account
    life: "Life"


MISSED_SECONDS = 10.0
"""What a poll fetches later than this was missed at first."""


class _Sends:
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        return await self._wire.account.send(self._wire.life, payload, key)

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        return await self._wire.account.find(self._wire.life, payload, key)

    def grows_every(self, peer: Peer) -> float | None:
        return 0.0

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        await self._wire.account.grow(self._wire.life, EditText(peer, text, of=0, message_id=message_id))

    async def signal(self, signal: Signal) -> None:
        await trio.lowlevel.checkpoint()
        if isinstance(signal, PressAnswer):
            self._wire.life.note_told(signal)


class PolledChannel(_Sends):
    """Keeps its offset in its state, committed with what it stands for."""

    def __init__(self, account: AccountConfig, wire: Wire, services: ChannelServices) -> None:
        super().__init__(wire)
        self._account = account
        self._services = services

    async def listen(self, deliver: Deliver) -> None:
        try:
            await self._poll(deliver)
        finally:
            self._wire.account.note_away(self._wire.life)

    async def _poll(self, deliver: Deliver) -> None:
        platform, life, connection = self._wire.account, self._wire.life, self._services.connection
        offset = int(await self._services.state.load(_OFFSET) or 1)
        connection.expect_silence(POLL_SECONDS * 3)
        while True:
            updates = await platform.get_updates(life, offset)
            platform.note_listening(life)
            connection.connected(str(platform))
            connection.heard()
            if updates:
                offset = max(offset, updates[-1].number + 1)
                now, said = self._services.now(), [u for u in updates if u.report is None]
                reports = [u.report for u in updates if u.report is not None]
                envelopes = [to_inbound(u, self._account, missed=now - u.at > MISSED_SECONDS) for u in said]
                for envelope in envelopes:
                    if envelope.missed:
                        platform.count("messages missed at first")
                await deliver(envelopes, state={_OFFSET: str(offset)}, reports=reports)
            match platform.weather.draw({"ends": 1, "interrupted": 4, "lacks": 2, "goes_on": 35}):
                case "ends":
                    return
                case "interrupted":
                    platform.count("connections interrupted")
                    connection.interrupted("the session has to be resumed")
                    platform.note_away(life)
                    await trio.sleep(platform.weather.rng.choice((0.1, 5.0, 50.0, 100.0)))
                case "lacks":
                    platform.count("connections that lack a part")
                    connection.lacks("a part", "it is away")


class PushedChannel(_Sends):
    """Is called by the platform."""

    def __init__(self, account: AccountConfig, wire: Wire, services: ChannelServices) -> None:
        super().__init__(wire)
        self._account = account
        self._services = services

    async def listen(self, deliver: Deliver) -> None:
        await trio.sleep(self._wire.account.weather.latency("fine"))
        self._wire.life.check_alive()
        self._services.connection.connected(str(self._wire.account))
        await trio.sleep_forever()

    def receive(self, request: WebhookRequest) -> WebhookReply:
        update = msgspec.json.decode(request.body, type=Update)
        if update.report is not None:
            return WebhookReply(reports=(update.report,))
        return WebhookReply(envelopes=(to_inbound(update, self._account),))

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        self._services.connection.heard()
        await trio.lowlevel.checkpoint()


def to_inbound(update: Update, account: AccountConfig, *, missed: bool = False) -> InboundEnvelope:
    return InboundEnvelope(
        channel=account.channel,
        account=account.account,
        event_key=str(update.number),
        kind=update.kind,
        peer=update.peer,
        sender=update.sender,
        text=update.text,
        message_id=update.message_id,
        addressed=True,
        sent_at=update.at,
        press=update.press,
        forwarded=update.mark.forwarded,
        via_bot=update.mark.via_bot,
        caption=update.mark.caption,
        missed=missed,
    )


@asynccontextmanager
async def _opened(wire: Wire) -> AsyncIterator[None]:
    """Opening fails at times, and closing takes its time, whoever cancels it: longer than any account is given, too."""
    weather = wire.account.weather
    fate = weather.draw(OPEN_FAULTS)
    if fate == "bug":
        raise any_bug(weather.rng)
    if fate == "dropped":
        raise TryAgain("no connection")
    try:
        yield
    except* TryAgain as group:
        if any(isinstance(leaf, TryAgain) and leaf.scope == "sends" for leaf in leaves(group)):
            wire.account.fail(Violation("pauses are kept", f"{wire.account} was closed because its sends were too fast"))
        raise
    finally:
        if fate == "closes_slowly" and not wire.life.dead:
            with trio.CancelScope(shield=True):
                await trio.sleep(weather.rng.choice((1.0, 8.0, 15.0)))


@asynccontextmanager
async def open_polled(account: AccountConfig, services: ChannelServices) -> AsyncIterator[PolledChannel]:
    assert isinstance(account.settings, Wire)
    async with _opened(account.settings):
        yield PolledChannel(account, account.settings, services)


@asynccontextmanager
async def open_pushed(account: AccountConfig, services: ChannelServices) -> AsyncIterator[PushedChannel]:
    assert isinstance(account.settings, Wire)
    async with _opened(account.settings):
        yield PushedChannel(account, account.settings, services)
