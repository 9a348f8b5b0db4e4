"""Calls into a driver that others wait for. Whatever the driver does, nobody waits longer than the limit, or than he wants to."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.platform import platform_of
from gatewayd.hub.accounts.account import AccountActor
from gatewayd.hub.accounts.calls import FETCH_SECONDS, GROW_SECONDS, OBEY_SECONDS, SIGNAL_SECONDS
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer
from gatewayd.model.message.payload import OutboundPayload, Receipt, RichText, Signal, Typing
from gatewayd.ports.channel import AccountConfig, Channel, ChannelServices, Deliver
from tests.hub.street import ALICE, Street, configuration, open_street

PHOTO = Attachment("photo", ref="photo")


class Obstinate:
    """A channel whose calls take an hour, also when they are cancelled, unless it ``obeys``. ``listen`` ends with ``ended``."""

    def __init__(self, account: str, services: ChannelServices) -> None:
        self.ended = trio.Event()
        self.obeys = False
        self.called = 0
        self._account = account
        self._services = services

    async def listen(self, deliver: Deliver) -> None:
        self._services.connection.connected()
        await self.ended.wait()
        raise TryAgain("the connection is gone")

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await trio.lowlevel.checkpoint()
        return platform_of(self._account).accept(payload)

    async def _hang(self) -> None:
        self.called += 1
        with trio.CancelScope(shield=not self.obeys):
            await trio.sleep(3600)

    async def signal(self, signal: Signal) -> None:
        await self._hang()

    def grows_every(self, peer: Peer) -> float | None:
        return 1.0

    async def grow(self, peer: Peer, message_id: str, text: RichText, *, key: str) -> None:
        await self._hang()

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        await self._hang()
        return b"late"

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        await self._hang()
        return ()


@asynccontextmanager
async def obstinate(folder: Path) -> AsyncIterator[tuple[Street, Obstinate]]:
    drivers: list[Obstinate] = []

    @asynccontextmanager
    async def opener(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
        drivers.append(Obstinate(account.account, services))
        yield drivers[-1]

    async with open_street(folder, opener=lambda plugin: opener, plugin=replace(PLUGIN, grows=True)) as street:
        await trio.sleep(1)
        yield street, drivers[0]


async def show_typing(actor: AccountActor) -> None:
    await actor.signal(Typing(ALICE))


async def grow(actor: AccountActor) -> None:
    with pytest.raises(OutcomeUnknown, match="cut after 5 s"):
        await actor.grow(ALICE, "1", RichText("so far"), key="k")


async def fetch(actor: AccountActor) -> None:
    with pytest.raises(TryAgain, match="cut after 120 s"):
        await actor.fetch(PHOTO, 1000)


async def earlier(actor: AccountActor) -> None:
    with pytest.raises(TryAgain, match="cut after 120 s"):
        await actor.earlier(platform_of("main").message("hello"), 5)


Ask = Callable[[AccountActor], Awaitable[None]]
CALLS: Final[Sequence[tuple[Ask, float]]] = (
    (show_typing, SIGNAL_SECONDS),
    (grow, GROW_SECONDS),
    (fetch, FETCH_SECONDS),
    (earlier, FETCH_SECONDS),
)
each_call = pytest.mark.parametrize(("ask", "seconds"), CALLS, ids=["signal", "grow", "fetch", "earlier"])


@each_call
async def test_a_call_that_ignores_its_cancellation_holds_nobody(
    ask: Ask, seconds: float, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with obstinate(tmp_path) as (street, driver):
        began = trio.current_time()
        await ask(street.actor())
        assert (driver.called, trio.current_time() - began) == (1, seconds)
        # The driver answers for it, with its own life.
        await trio.sleep(OBEY_SECONDS - 1)
        assert street.status().state == "connected"
        await trio.sleep(20)
        assert (street.status().state, "work that was cancelled did not end" in (street.status().reason or "")) == (
            "parked",
            True,
        )


@each_call
async def test_who_does_not_want_a_call_any_more_leaves_at_once(
    ask: Ask, seconds: float, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with obstinate(tmp_path) as (street, driver):
        began = trio.current_time()
        with trio.move_on_after(1):
            await ask(street.actor())
        assert (driver.called, trio.current_time() - began) == (1, 1)


async def test_a_call_ends_with_the_life_of_the_account(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with obstinate(tmp_path) as (street, driver), trio.open_nursery() as nursery:
        driver.obeys = True
        nursery.start_soon(end_soon, driver)
        with pytest.raises(TryAgain, match="because the account was closed"):
            await street.actor().fetch(PHOTO, 1000)
        assert trio.current_time() == 2


async def end_soon(driver: Obstinate) -> None:
    await trio.sleep(1)
    driver.ended.set()


async def test_nothing_is_called_while_the_account_closes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with obstinate(tmp_path) as (street, driver), trio.open_nursery() as nursery:
        nursery.start_soon(street.actor().signal, Typing(ALICE))
        await trio.sleep(1)
        driver.ended.set()
        await trio.sleep(1)
        with pytest.raises(TryAgain, match="not connected"):
            await street.actor().fetch(PHOTO, 1000)
        assert driver.called == 1


async def test_a_channel_without_files_says_so(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration()) as street:
        await trio.sleep(1)
        with pytest.raises(SendRejected, match="cannot read its threads"):
            await street.actor().earlier(street.platform().message("hello"), 5)
