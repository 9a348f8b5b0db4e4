"""The contract that every channel passes. How to use it: docs/how-to/write-a-channel.md.

A channel's test module subclasses ``ChannelContract`` with a name that begins with ``Test`` and gives it a harness: the
driver's other side, speaking the platform's own bytes. The suite opens the driver by its manifest, as the hub does.

    class TestTelegramContract(ChannelContract):
        plugin = PLUGIN
        manifest_module = "gatewayd.channels.telegram"

        def harness(self) -> AbstractAsyncContextManager[Harness]: ...
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import ClassVar, Literal, cast

import httpx2
import pytest
import trio

from gatewayd.actor.border import leaves
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import Choice, EditText, PressAnswer, RichText, SendText
from gatewayd.ports.channel import Channel, ChannelOpener, ChannelPlugin, Deliver, ShowsSignals
from gatewayd.testing.channel_contract.harness import (
    Button,
    ButtonsHarness,
    EditsHarness,
    Harness,
    Journal,
    SendFailure,
    Services,
    Shown,
)
from gatewayd.testing.manifest import PATIENCE, ManifestContract, count_sockets, resolve

__all__ = [
    "Button",
    "ButtonsHarness",
    "ChannelContract",
    "EditsHarness",
    "Harness",
    "Journal",
    "SendFailure",
    "Services",
    "Shown",
]

NAMED: Mapping[SendFailure, type[GatewayError]] = {
    "outage": TryAgain,
    "rate limit": TryAgain,
    "pace": TryAgain,
    "rejected": SendRejected,
    "revoked": NeedsOperator,
    "cut": OutcomeUnknown,
}


Choices = tuple[tuple[Choice, ...], ...]

LONGEST_DATA = "d" * 60
CHOICES: Choices = (
    (Choice("Yes", "answer:1:yes"), Choice("No, never", "answer:1:no")),
    (Choice("Später 😀", LONGEST_DATA),),
)
"""Two rows; one label that is not ASCII, and data as long as data may be."""


class ChannelContract(ManifestContract):
    """Inherit, name the manifest, give a harness."""

    group = "gatewayd.channels"
    plugin: ClassVar[ChannelPlugin]

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        """The platform, up and running. Leaving it closes everything it opened."""
        raise NotImplementedError

    # How the tests use it.

    @asynccontextmanager
    async def opened(self, harness: Harness) -> AsyncIterator[tuple[Channel, Services]]:
        opener = cast(ChannelOpener, resolve(self.plugin.open))
        async with httpx2.AsyncClient() as http:
            services = Services(http)
            async with opener(harness.account, services) as channel:
                yield channel, services

    @asynccontextmanager
    async def listening(self, channel: Channel, services: Services, deliver: Deliver) -> AsyncIterator[None]:
        """Listens inside, and holds that ``listen`` does not return by itself."""

        async def listen() -> None:
            await channel.listen(deliver)
            raise AssertionError("listen returned")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(listen)
            await services.is_connected.wait()
            yield
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def talking(self, harness: Harness) -> AsyncIterator[Channel]:
        """Open and listening, for tests of the other direction."""
        async with self.opened(harness) as (channel, services), self.listening(channel, services, Journal(services)):
            yield channel

    def text(self, harness: Harness, text: str, choices: Choices = ()) -> SendText:
        return SendText(peer=harness.peer, body=RichText(text), choices=choices)

    def edit(self, harness: Harness, message_id: str | None, text: str, choices: Choices = ()) -> EditText:
        """An edit of the first message that was sent."""
        return EditText(peer=harness.peer, body=RichText(text), of=1, message_id=message_id, choices=choices)

    async def ask(self, harness: Harness, channel: Channel) -> str:
        """Send a question with two rows of buttons; its id."""
        receipt = await channel.send(self.text(harness, "really?", CHOICES), key="k")
        assert receipt.message_id is not None, "what has buttons can be named by who presses one"
        return receipt.message_id

    def with_buttons(self, harness: Harness) -> ButtonsHarness:
        self._needs("buttons")
        assert isinstance(harness, ButtonsHarness), "the harness of a channel with buttons is a ButtonsHarness"
        return harness

    def with_edits(self, harness: Harness) -> EditsHarness:
        self._needs("edits")
        assert isinstance(harness, EditsHarness), "the harness of a channel with edits is an EditsHarness"
        return harness

    def _needs(self, flag: Literal["buttons", "edits"]) -> None:
        if not getattr(self.plugin, flag):
            pytest.skip(f"{self.plugin.id} has no {flag}")

    # Opening and closing.

    async def test_opening_and_closing_leaves_nothing_behind(self) -> None:
        """A channel is opened again after each outage and each reload. What one life leaves would pile up for weeks."""
        with trio.fail_after(PATIENCE):
            async with self.harness():
                # The first use may load what stays for good (resolvers, caches).
                pass
            before = trio.lowlevel.current_statistics().tasks_living, count_sockets()
            async with self.harness() as harness:
                for _ in range(3):
                    async with self.talking(harness) as channel:
                        await harness.produce("hello")
                        await channel.send(self.text(harness, "hello yourself"), key="k")
            assert (trio.lowlevel.current_statistics().tasks_living, count_sockets()) == before

    async def test_closing_is_quick_in_the_middle_of_everything(self) -> None:
        """A restart closes all accounts within seconds, also while one waits for a commit."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.opened(harness) as (channel, services):
                journal = Journal(services)
                journal.gate = trio.Event()
                async with self.listening(channel, services, journal):
                    await harness.produce("hello")
                    await journal.wait_called()
                closing_at = trio.current_time()
            assert trio.current_time() - closing_at < 5

    # Receiving.

    async def test_messages_are_delivered_in_order(self) -> None:
        """The agent reads a conversation in the order of ``deliver``; equal event keys would be stored as one message."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.opened(harness) as (channel, services):
                journal = Journal(services)
                async with self.listening(channel, services, journal):
                    for text in ("one", "two", "three"):
                        await harness.produce(text)
                    await journal.wait_texts("one", "two", "three")
                    await harness.wait_acknowledged(3)
                for envelope in journal.envelopes:
                    assert (envelope.channel, envelope.account) == (harness.account.channel, harness.account.account)
                    assert envelope.peer == harness.peer
                assert len({envelope.event_key for envelope in journal.envelopes}) == len(journal.envelopes)

    async def test_the_platform_is_told_after_the_commit_and_not_before(self) -> None:
        """A message that is acknowledged before its commit is lost in a crash. Sending goes on meanwhile."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.opened(harness) as (channel, services):
                journal = Journal(services)
                journal.gate = trio.Event()
                async with self.listening(channel, services, journal):
                    await harness.produce("hello")
                    await journal.wait_called()
                    await channel.send(self.text(harness, "meanwhile, on another wire"), key="k")
                    assert await harness.acknowledged() == 0
                    journal.gate.set()
                    await harness.wait_acknowledged(1)
                assert journal.texts == ["hello"]

    async def test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again(self) -> None:
        """A full disk must cost no message: the platform keeps it until it is stored."""
        refused = RuntimeError("the disk is full")
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness:
                async with self.opened(harness) as (channel, services):
                    await harness.produce("hello")
                    with pytest.raises(Exception) as caught:
                        await channel.listen(Journal(services, refused))
                    assert leaves(caught.value) == [refused]
                assert await harness.acknowledged() == 0
                async with self.opened(harness) as (channel, services):
                    journal = Journal(services)
                    async with self.listening(channel, services, journal):
                        await journal.wait_texts("hello")

    # Sending.

    async def test_a_send_gives_a_receipt_and_arrives(self) -> None:
        """A send that returns counts as done and is never repeated."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.talking(harness) as channel:
                for text in ("one", "two"):
                    await channel.send(self.text(harness, text), key="k")
                assert list(await harness.received()) == ["one", "two"]

    async def test_the_longest_text_arrives_whole(self) -> None:
        """The hub splits replies by ``text_limit``. A limit that is too large would cut a reply short."""
        limit = self.plugin.text_limit
        if limit is None:
            longest = "😀" * 20_000
        elif limit.unit == "chars":
            longest = "😀" * limit.size
        elif limit.unit == "utf16":
            longest = "😀" * (limit.size // 2) + "x" * (limit.size % 2)
        else:
            longest = "é" * (limit.size // 2) + "x" * (limit.size % 2)
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness, self.talking(harness) as channel:
                await channel.send(self.text(harness, longest), key="k")
                assert list(await harness.received()) == [longest]
                if limit is not None:
                    await self._send_too_much(harness, channel, longest + "x")

    async def _send_too_much(self, harness: Harness, channel: Channel, text: str) -> None:
        """Refused or sent in pieces: but never cut short."""
        before = list(await harness.received())
        try:
            await channel.send(self.text(harness, text), key="k")
        except SendRejected:
            assert list(await harness.received()) == before
        else:
            assert "".join(list(await harness.received())[len(before) :]) == text

    # Buttons and edits.

    async def test_buttons_are_shown_in_order_and_send_their_data(self) -> None:
        """The data of a press says what was answered, the message id says which question."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as plain, self.opened(plain) as (channel, services):
                harness, journal = self.with_buttons(plain), Journal(services)
                async with self.listening(channel, services, journal):
                    message_id = await self.ask(plain, channel)
                    [shown] = await harness.shown()
                    expected = tuple(Button(choice.label, choice.data) for row in CHOICES for choice in row)
                    assert (shown.id, shown.text, shown.buttons) == (message_id, "really?", expected)
                    for button in shown.buttons:
                        await harness.press(message_id, button.data)
                    presses = await journal.wait_presses(len(expected))
        assert [press.text for press in presses] == [button.data for button in expected]
        for press in presses:
            assert (press.channel, press.account, press.peer) == (plain.account.channel, plain.account.account, plain.peer)
            assert press.message_id == message_id
            assert press.sender.id
            assert press.press is not None

    async def test_every_press_is_an_event_of_its_own_and_is_answered(self) -> None:
        """Two presses of one button are two answers, and whoever presses sees that it has arrived."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as plain, self.opened(plain) as (channel, services):
                harness, journal = self.with_buttons(plain), Journal(services)
                async with self.listening(channel, services, journal):
                    assert isinstance(channel, ShowsSignals)
                    message_id = await self.ask(plain, channel)
                    for number in range(2):
                        await harness.press(message_id, LONGEST_DATA)
                        press = (await journal.wait_presses(number + 1))[number]
                        assert press.press is not None
                        await channel.signal(PressAnswer(plain.peer, press.press, f"noted {number}"))
                    assert list(await harness.wait_answers(2)) == ["noted 0", "noted 1"]
                    await channel.signal(PressAnswer(plain.peer, "never pressed", "nobody asked"))
        assert len({press.event_key for press in journal.presses}) == 2
        assert len({press.press for press in journal.presses}) == 2

    async def test_a_message_without_buttons_has_none(self) -> None:
        """An empty row is no button."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as plain, self.talking(plain) as channel:
                harness = self.with_buttons(plain)
                await channel.send(self.text(plain, "just so", ((),)), key="k")
                [shown] = await harness.shown()
                assert shown.buttons == ()

    async def test_an_edit_replaces_the_text_and_the_buttons(self) -> None:
        """Answered requests lose their buttons by an edit, which may have to be repeated."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as plain, self.talking(plain) as channel:
                harness = self.with_edits(plain)
                message_id = (await channel.send(self.text(plain, "really?", CHOICES), key="k")).message_id
                await channel.send(self.text(plain, "another"), key="k")
                choices = CHOICES[:1] if self.plugin.buttons else ()
                for text, kept in (("still?", choices), ("done", ()), ("done", ())):
                    # The same once more is a success, too: an edit may have to be repeated.
                    await channel.send(self.edit(plain, message_id, text, kept), key="k")
                    [edited, other] = await harness.shown()
                    assert (edited.id, edited.text, other.text) == (message_id, text, "another")
                    assert [button.data for button in edited.buttons] == [choice.data for row in kept for choice in row]

    async def test_an_edit_of_what_is_not_there_is_rejected(self) -> None:
        """The hub then sends a new message instead of waiting."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as plain, self.talking(plain) as channel:
                harness = self.with_edits(plain)
                if harness.unknown_message is None:
                    pytest.skip(f"{self.plugin.id} shows what the journal has, and no other message")
                await channel.send(self.text(plain, "here"), key="k")
                for message_id in (harness.unknown_message, None):
                    with pytest.raises(SendRejected) as caught:
                        await channel.send(self.edit(plain, message_id, "changed"), key="k")
                    assert caught.value.reason
                assert list(await harness.received()) == ["here"]

    async def test_a_failure_is_named_by_what_to_do(self) -> None:
        """The kind of error decides whether a reply is sent again, waits, or becomes a dead letter."""
        with trio.fail_after(PATIENCE):
            async with self.harness() as harness:
                known = list(harness.failures)
            # A platform of its own for each: some slow down who comes back again and again.
            for failure in known:
                async with self.harness() as harness, self.talking(harness) as channel:
                    await harness.failures[failure]()
                    with pytest.raises(NAMED[failure]) as caught:
                        await channel.send(self.text(harness, f"into the {failure}"), key="k")
                    assert caught.value.reason
                    if failure in ("rate limit", "pace"):
                        assert cast(TryAgain, caught.value).after_seconds is not None
                    if failure == "pace":
                        # The account is too fast, and nothing else: its connection is as good as before.
                        assert cast(TryAgain, caught.value).scope == "sends"
