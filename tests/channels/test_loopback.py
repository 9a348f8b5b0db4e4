"""The loopback passes the contract, and does on demand what drivers should not."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar

import httpx2
import pytest
import trio
import trio.testing

from gatewayd.actor.border import leaves
from gatewayd.channels.loopback import PLUGIN
from gatewayd.channels.loopback.channel import open_loopback
from gatewayd.channels.loopback.platform import (
    LoopbackPlatform,
    crashing_in_a_task,
    failing,
    hanging,
    platform_of,
    returning_from_listen,
    taking,
)
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.model.errors import OutcomeUnknown, Overloaded, SendRejected, TryAgain
from gatewayd.model.message.envelope import Peer, Sender
from gatewayd.model.message.payload import Choice, EditText, PressAnswer, RichText, SendText, Typing
from gatewayd.ports.channel import AccountConfig, ShowsSignals
from gatewayd.testing.channel_contract import ChannelContract, Harness, Journal, Services
from tests.channels.contract.loopback import loopback_harness

ACCOUNT = AccountConfig(channel="loopback", account="main", settings=LoopbackSettings())
ALICE = Peer("dm", "alice")


class TestLoopbackContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.loopback"
    excuses: ClassVar[Mapping[str, str]] = {"half": "a payload is one message"}

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return loopback_harness()


@asynccontextmanager
async def services() -> AsyncIterator[Services]:
    async with httpx2.AsyncClient() as http:
        yield Services(http)


async def test_saying_returns_after_the_commit(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    async with services() as hub, open_loopback(ACCOUNT, hub) as channel, trio.open_nursery() as nursery:
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
    async with services() as hub, open_loopback(ACCOUNT, hub) as channel:
        platform.before_send.next(failing(TryAgain("first")), taking(30))
        with pytest.raises(TryAgain, match="first"):
            await channel.send(payload, key="k")
        assert not platform.sent
        assert (await channel.send(payload, key="k")).message_id == "1"
        assert trio.current_time() == 30
        platform.after_send.always(failing(OutcomeUnknown("cut")))
        for _ in range(2):
            with pytest.raises(OutcomeUnknown):
                await channel.send(payload, key="k")
        assert platform.texts == ["hi"] * 3, "an outcome is unknown after the fact"
        platform.after_send.always(None)
        await channel.send(payload, key="k")


async def test_listen_fails_in_every_way(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    async with services() as hub, open_loopback(ACCOUNT, hub) as channel:
        journal = Journal(hub)
        platform.on_listen.next(returning_from_listen, hanging, crashing_in_a_task(KeyError("chat")))
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
    async with services() as hub:
        for _ in range(2):
            with trio.move_on_after(10) as scope:
                async with open_loopback(ACCOUNT, hub):
                    pass
            assert scope.cancelled_caught
        async with open_loopback(ACCOUNT, hub):
            assert platform.open_now == 1
        assert (platform.opened, platform.open_now) == (3, 0)


async def test_signals_are_kept_apart(autojump_clock: trio.testing.MockClock) -> None:
    async with services() as hub, open_loopback(ACCOUNT, hub) as channel:
        assert isinstance(channel, ShowsSignals)
        await channel.signal(Typing(ALICE))
        assert list(platform_of().signals) == [Typing(ALICE)]
        assert not platform_of().sent


CHOICES = ((Choice("Yes", "1:yes"), Choice("No", "1:no")),)


async def test_buttons_are_pressed_by_their_label(autojump_clock: trio.testing.MockClock) -> None:
    platform = platform_of()
    async with services() as hub, open_loopback(ACCOUNT, hub) as channel, trio.open_nursery() as nursery:
        journal = Journal(hub)
        nursery.start_soon(channel.listen, journal)
        old = (await channel.send(SendText(ALICE, RichText("old?"), choices=CHOICES), key="k")).message_id
        new = (await channel.send(SendText(Peer("group", "ops", "7"), RichText("new?"), choices=CHOICES), key="k")).message_id
        await channel.send(SendText(ALICE, RichText("no buttons")), key="k")
        first = await platform.press("Yes")
        second = await platform.press("No", message_id=old, sender=Sender("bob"))
        assert journal.presses == [first, second]
        assert (first.text, first.message_id, first.peer, first.sender.id) == ("1:yes", new, Peer("group", "ops", "7"), "alice")
        assert (second.text, second.message_id, second.peer, second.sender.id) == ("1:no", old, ALICE, "bob")
        await channel.send(EditText(ALICE, RichText("old: no"), of=1, message_id=old), key="k")
        with pytest.raises(KeyError):
            await platform.press("No", message_id=old)
        with pytest.raises(KeyError):
            await platform.press("Maybe")
        await channel.signal(PressAnswer(ALICE, second.press or "", "Noted."))
        assert (platform.answers_to(first), platform.answers_to(second)) == ([], ["Noted."])
        nursery.cancel_scope.cancel()


async def test_what_is_shown_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    platform = LoopbackPlatform()
    for n in range(10_001):
        platform.accept(SendText(ALICE, RichText(str(n))))
    assert len(platform.shown) == 10_000
    with pytest.raises(SendRejected, match="message gone"):
        platform.accept(EditText(ALICE, RichText("too late"), of=1, message_id="1"))


async def test_waiting_for_what_is_shown(autojump_clock: trio.testing.MockClock) -> None:
    platform = LoopbackPlatform()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(platform.wait_until, lambda: bool(platform.shown and platform.signals))
        await trio.testing.wait_all_tasks_blocked()
        platform.accept(SendText(ALICE, RichText("hi")))
        await trio.testing.wait_all_tasks_blocked()
        assert nursery.child_tasks
        platform.show(Typing(ALICE))


async def test_accounts_have_platforms_of_their_own() -> None:
    assert platform_of("a") is not platform_of("b")
    assert platform_of("a") is platform_of("a")
