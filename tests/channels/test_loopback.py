"""The loopback passes the contract, and does on demand what drivers should not."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import httpx2
import pytest
import trio
import trio.testing

from gatewayd.actor.supervisor import leaves
from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.channel import open_loopback
from gatewayd.channels.loopback.platform import (
    LoopbackPlatform,
    crashing_in_a_task,
    ending_quietly,
    failing,
    hanging,
    platform_of,
    taking,
)
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.model.envelope import Peer
from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, Overloaded, SendRejected, TryAgain
from gatewayd.model.payload import RichText, SendText, Typing
from gatewayd.ports.channel import AccountConfig, ShowsSignals
from gatewayd.testing.channel_contract import ChannelContract, Harness, Journal, Kit, SendFailure

ACCOUNT = AccountConfig(channel="loopback", account="main", settings=LoopbackSettings())
ALICE = Peer("dm", "alice")


class LoopbackHarness:
    account = ACCOUNT
    peer = ALICE

    def __init__(self) -> None:
        self.platform = platform_of("main")
        self.platform.sent.clear()

    @property
    def failures(self) -> Mapping[SendFailure, Callable[[], Awaitable[None]]]:
        errors: dict[SendFailure, Exception] = {
            "outage": TryAgain("no route"),
            "rate limit": TryAgain("slow down", after_seconds=149),
            "rejected": SendRejected("blocked"),
            "revoked": NeedsOperator("who are you?"),
            "cut": OutcomeUnknown("cut"),
        }

        def arrange(error: Exception) -> Callable[[], Awaitable[None]]:
            async def prepare() -> None:
                self.platform.before_send.next(failing(error))

            return prepare

        return {name: arrange(error) for name, error in errors.items()}

    async def produce(self, text: str) -> None:
        self.platform.inject(self.platform.message(text))

    async def acknowledged(self) -> int:
        return len(self.platform.acknowledged)

    async def wait_acknowledged(self, count: int) -> None:
        while len(self.platform.acknowledged) < count:
            await trio.lowlevel.checkpoint()

    async def received(self) -> list[str]:
        return self.platform.texts


@asynccontextmanager
async def loopback_harness() -> AsyncIterator[Harness]:
    yield LoopbackHarness()


class TestLoopbackContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.loopback"

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return loopback_harness()


@asynccontextmanager
async def kit() -> AsyncIterator[Kit]:
    async with httpx2.AsyncClient() as http:
        yield Kit(http)


async def test_saying_returns_after_the_commit(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    async with kit() as hub, open_loopback(ACCOUNT, hub) as channel, trio.open_nursery() as nursery:
        journal = Journal(hub)
        journal.gate = trio.Event()
        nursery.start_soon(channel.listen, journal)
        with trio.move_on_after(60) as scope:
            await platform.say("hello")
        assert scope.cancelled_caught
        assert not platform.acknowledged
        journal.gate.set()
        await platform.say("again")
        assert journal.texts == ["hello", "again"]
        assert hub.connected_as == ["loopback"]
        nursery.cancel_scope.cancel()


async def test_a_full_platform_refuses(autojump_clock: trio.testing.MockClock) -> None:
    platform = LoopbackPlatform()
    for n in range(10_000):
        platform.inject(platform.message(str(n)))
    with pytest.raises(Overloaded):
        platform.inject(platform.message("one more"))


async def test_scripts_are_played_call_by_call(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    payload = SendText(peer=ALICE, body=RichText("hi"))
    async with kit() as hub, open_loopback(ACCOUNT, hub) as channel:
        platform.before_send.next(failing(TryAgain("first")), taking(30))
        with pytest.raises(TryAgain, match="first"):
            await channel.send(payload)
        assert not platform.sent
        assert (await channel.send(payload)).message_id == "1"
        assert trio.current_time() == 30
        platform.after_send.always(failing(OutcomeUnknown("cut")))
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await channel.send(payload)
        assert platform.texts == ["hi"] * 3, "an outcome is unknown after the fact"
        platform.after_send.always(None)
        await channel.send(payload)


async def test_listen_fails_in_every_way(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    async with kit() as hub, open_loopback(ACCOUNT, hub) as channel:
        journal = Journal(hub)
        platform.on_listen.next(ending_quietly, hanging, crashing_in_a_task(KeyError("chat")))
        await channel.listen(journal)
        with trio.move_on_after(86_400) as scope:
            await channel.listen(journal)
        assert scope.cancelled_caught
        with pytest.raises(ExceptionGroup) as caught:
            await channel.listen(journal)
        assert [type(leaf) for leaf in leaves(caught.value)] == [KeyError]
        assert hub.connected_as == []


async def test_opening_and_closing_can_hang(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    platform.on_open.next(hanging)
    platform.on_close.next(hanging)
    async with kit() as hub:
        for _ in range(2):
            with trio.move_on_after(10) as scope:
                async with open_loopback(ACCOUNT, hub):
                    pass
            assert scope.cancelled_caught
        async with open_loopback(ACCOUNT, hub):
            assert platform.open_now == 1
        assert (platform.opened, platform.open_now) == (3, 0)


async def test_signals_are_kept_apart(autojump_clock: trio.testing.MockClock) -> None:
    async with kit() as hub, open_loopback(ACCOUNT, hub) as channel:
        assert isinstance(channel, ShowsSignals)
        await channel.signal(Typing(ALICE))
        assert list(platform_of().signals) == [Typing(ALICE)]
        assert not platform_of().sent


async def test_accounts_have_platforms_of_their_own() -> None:
    assert platform_of("a") is not platform_of("b")
    assert platform_of("a") is platform_of("a")
