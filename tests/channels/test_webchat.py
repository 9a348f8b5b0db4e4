"""The web chat's driver: pages are told, messages are journaled once, and a page that reads slowly costs nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import cast

import httpx2
import msgspec
import pytest
import trio
import trio.testing

from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.channel import ANSWERS_KEPT, PAGES_PER_NAME, Page, PageUpdate, WebchatChannel, open_webchat
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.errors import Overloaded
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, Draft, EditText, PressAnswer, RichText, SendText, Typing
from gatewayd.ports.channel import AccountConfig, Channel, Deliver, ShowsSignals
from gatewayd.testing.channel_contract import (
    Button,
    ChannelContract,
    Choices,
    Harness,
    Journal,
    SendFailure,
    Services,
    Shown,
)
from gatewayd.testing.manifest import PATIENCE

ALICE = Peer("dm", "alice")


class PageHarness:
    """A page of Alice's, as the platform: it posts again until it is answered, and shows the journal when it is told to look."""

    account = AccountConfig("webchat", "main", WebchatSettings())
    peer = ALICE
    failures: Mapping[SendFailure, Callable[[], Awaitable[None]]] = {}  # telling a page cannot fail
    unknown_message = None

    def __init__(self) -> None:
        self.outbox: list[Shown] = []
        self.refusals: list[Exception] = []
        self._shown: list[Shown] = []
        self._answers: list[str] = []
        self._pressed = 0
        self._page: Page | None = None
        self._channel: WebchatChannel | None = None
        self._acknowledged = 0
        self._changed = trio.Event()
        self._typed, self._to_post = trio.open_memory_channel[str](100)

    def reach(self, channel: WebchatChannel | None) -> None:
        """The server is there again, or (None) it is not."""
        self._channel = channel
        self._tell()

    def look_through(self, page: Page) -> None:
        self._page = page

    async def run(self) -> None:
        number = 0
        async for text in self._to_post:
            number += 1
            while not await self._post(text, f"message-{number}"):
                await self._changed.wait()

    async def _post(self, text: str, message_id: str) -> bool:
        if self._channel is None:
            return False
        try:
            await self._channel.receive(self.peer.id, text, message_id)
        except Exception as error:
            self.refusals.append(error)
            self._tell()
            return False
        self._acknowledged += 1
        self._tell()
        return True

    async def produce(self, text: str) -> None:
        await self._typed.send(text)

    async def acknowledged(self) -> int:
        return self._acknowledged

    async def wait_acknowledged(self, count: int) -> None:
        while self._acknowledged < count:
            await self._changed.wait()

    async def wait_refused(self) -> None:
        while not self.refusals:
            await self._changed.wait()

    async def received(self) -> Sequence[str]:
        return [message.text for message in await self.shown()]

    async def shown(self) -> Sequence[Shown]:
        assert self._page is not None
        if self._shown != self.outbox:
            assert await self._page.wait_update() == PageUpdate(lines=True)
            self._shown = list(self.outbox)
        return self._shown

    async def press(self, message_id: str, data: str) -> None:
        assert self._channel is not None
        self._pressed += 1
        await self._channel.press(self.peer.id, message_id, data, f"press-{self._pressed}")

    async def wait_answers(self, count: int) -> Sequence[str]:
        assert self._page is not None
        while len(self._answers) < count:
            update = await self._page.wait_update()
            assert update is not None
            self._answers += [answer.text for answer in update.answers]
        return self._answers

    def _tell(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


def _buttons(choices: Choices) -> tuple[Button, ...]:
    return tuple(Button(choice.label, choice.data) for row in choices for choice in row)


class TestWebchatContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.webchat"

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._harness()

    @asynccontextmanager
    async def _harness(self) -> AsyncIterator[PageHarness]:
        harness = PageHarness()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.run)
            yield harness
            nursery.cancel_scope.cancel()

    @asynccontextmanager
    async def opened(self, harness: Harness) -> AsyncIterator[tuple[Channel, Services]]:
        async with super().opened(harness) as (channel, services):
            assert isinstance(channel, WebchatChannel)
            assert isinstance(harness, PageHarness)
            self.current = harness
            with channel.subscribe(harness.peer.id) as page:
                harness.look_through(page)
                yield channel, services

    @asynccontextmanager
    async def listening(self, channel: Channel, services: Services, deliver: Deliver) -> AsyncIterator[None]:
        async with super().listening(channel, services, deliver):
            assert isinstance(channel, WebchatChannel)
            self.current.reach(channel)
            yield
            self.current.reach(None)

    def text(self, harness: Harness, text: str, choices: Choices = ()) -> SendText:
        """The hub has written the row before it calls ``send``."""
        cast(PageHarness, harness).outbox.append(Shown("", text, _buttons(choices)))
        return super().text(harness, text, choices)

    def edit(self, harness: Harness, message_id: str | None, text: str, choices: Choices = ()) -> EditText:
        """As ``text``: a row that changes the first one."""
        cast(PageHarness, harness).outbox[0] = Shown(message_id or "", text, _buttons(choices))
        return super().edit(harness, message_id, text, choices)

    async def ask(self, harness: Harness, channel: Channel) -> str:
        """The hub writes the receipt into the row."""
        message_id = await super().ask(harness, channel)
        outbox = cast(PageHarness, harness).outbox
        outbox[-1] = msgspec.structs.replace(outbox[-1], id=message_id)
        return message_id

    async def test_what_could_not_be_journaled_is_not_acknowledged_and_comes_again(self) -> None:
        """The page gets the error, not ``listen``: nobody else is waiting for the commit."""
        refused = RuntimeError("the disk is full")
        with trio.fail_after(PATIENCE):
            async with self._harness() as harness:
                async with (
                    self.opened(harness) as (channel, services),
                    self.listening(channel, services, Journal(services, refused)),
                ):
                    await harness.produce("hello")
                    await harness.wait_refused()
                assert harness.refusals == [refused]
                assert await harness.acknowledged() == 0
                async with self.opened(harness) as (channel, services):
                    journal = Journal(services)
                    async with self.listening(channel, services, journal):
                        await journal.wait_texts("hello")


@pytest.fixture
async def services() -> AsyncIterator[Services]:
    async with httpx2.AsyncClient() as http:
        yield Services(http)


@pytest.fixture
def journal(services: Services) -> Journal:
    return Journal(services)


@asynccontextmanager
async def listening(journal: Journal, services: Services, max_pages: int = 200) -> AsyncIterator[WebchatChannel]:
    account = AccountConfig("webchat", "main", WebchatSettings(max_pages=max_pages))
    with trio.fail_after(PATIENCE):
        async with open_webchat(account, services) as channel, trio.open_nursery() as nursery:
            nursery.start_soon(channel.listen, journal)
            await services.is_connected.wait()
            yield channel
            nursery.cancel_scope.cancel()


def reply(text: str = "hi", peer: Peer = ALICE) -> SendText:
    return SendText(peer=peer, body=RichText(text))


def test_the_manifest_promises_what_the_driver_holds() -> None:
    assert PLUGIN.id == "webchat"
    assert PLUGIN.text_limit is None
    assert PLUGIN.authenticates_peers
    assert PLUGIN.one_account


def test_settings_are_strict() -> None:
    with pytest.raises(msgspec.ValidationError, match="max_page"):
        msgspec.convert({"max_page": 1}, WebchatSettings)


async def test_it_is_connected_at_once_and_silence_means_nothing(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        assert services.connected_as == [None]
        assert services.silence is None
        assert isinstance(channel, ShowsSignals)


async def test_a_message_is_journaled_with_its_authors_name(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        key = await channel.receive("alice", "hello", "c0ffee")
    (envelope,) = journal.envelopes
    assert (envelope.channel, envelope.account, envelope.event_key) == ("webchat", "main", key)
    assert (envelope.peer, envelope.sender.id, envelope.text, envelope.addressed) == (ALICE, "alice", "hello", True)


async def test_the_same_message_id_is_the_same_event_for_one_person_only(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        first = await channel.receive("alice", "hello", "c0ffee")
        again = await channel.receive("alice", "hello", "c0ffee")
        other = await channel.receive("bob", "hello", "c0ffee")
    assert first == again != other


async def test_receive_returns_after_the_commit(journal: Journal, services: Services) -> None:
    done = trio.Event()
    journal.gate = trio.Event()

    async def post() -> None:
        await channel.receive("alice", "hello", "c0ffee")
        done.set()

    async with listening(journal, services) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(post)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        journal.gate.set()
        await done.wait()
    assert len(journal.envelopes) == 1


async def test_a_stopping_account_refuses_messages(journal: Journal, services: Services) -> None:
    account = AccountConfig("webchat", "main", WebchatSettings())
    async with open_webchat(account, services) as channel:
        with pytest.raises(Overloaded, match="not taking messages"):
            await channel.receive("alice", "hello", "c0ffee")


async def test_every_page_of_the_peer_is_told_and_nobody_else(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as phone, channel.subscribe("alice") as laptop, channel.subscribe("bob") as bob:
            await channel.send(reply(), key="k")
            assert await phone.wait_update() == PageUpdate(lines=True)
            assert await laptop.wait_update() == PageUpdate(lines=True)
            await channel.signal(Typing(Peer("dm", "bob")))
            assert await bob.wait_update() == PageUpdate(typing=True)


async def test_an_own_message_shows_on_the_other_device(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as phone:
            await channel.receive("alice", "from the laptop", "c0ffee")
            assert await phone.wait_update() == PageUpdate(lines=True)


async def test_a_slow_page_finds_the_newest_draft_only(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as page:
            await channel.signal(Typing(ALICE))
            for length in range(1, 1000):
                await channel.signal(Draft(ALICE, "turn-1", "x" * length))
            assert await page.wait_update() == PageUpdate(typing=True, draft=Draft(ALICE, "turn-1", "x" * 999))


async def test_a_reply_stands_for_its_draft(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as page:
            await channel.signal(Draft(ALICE, "turn-1", "Hell"))
            await channel.send(reply("Hello"), key="k")
            assert await page.wait_update() == PageUpdate(lines=True)


async def test_an_edit_leaves_the_draft_of_the_running_turn(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as page:
            receipt = await channel.send(SendText(ALICE, RichText("?"), choices=((Choice("Yes", "1:yes"),),)), key="k")
            again = await channel.send(reply("?"), key="k")
            assert receipt.message_id != again.message_id, "messages are told apart"
            await page.wait_update()
            draft = Draft(ALICE, "turn-1", "Hell")
            await channel.signal(draft)
            edited = await channel.send(EditText(ALICE, RichText("Yes."), of=1, message_id=receipt.message_id), key="k")
            assert edited == receipt
            assert await page.wait_update() == PageUpdate(lines=True, typing=True, draft=draft)


async def test_a_press_is_journaled_with_what_it_is_about(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        message = await channel.receive("alice", "hello", "c0ffee00")
        first = await channel.press("alice", "m1", "1:yes", "c0ffee00")
        again = await channel.press("alice", "m1", "1:yes", "c0ffee00")
        other = await channel.press("bob", "m1", "1:yes", "c0ffee00")
        with channel.subscribe("alice") as page:
            await channel.press("alice", "m1", "1:yes", "beef0000")
            await channel.signal(Typing(ALICE))
            assert await page.wait_update() == PageUpdate(typing=True), "a press is no line"
    assert len({message, first, other}) == 3
    assert first == again
    [_, envelope, *_] = journal.envelopes
    assert (envelope.kind, envelope.event_key, envelope.text) == ("button", first, "1:yes")
    assert (envelope.peer, envelope.sender.id, envelope.message_id, envelope.press) == (ALICE, "alice", "m1", "c0ffee00")


async def test_a_stopping_account_refuses_presses(journal: Journal, services: Services) -> None:
    account = AccountConfig("webchat", "main", WebchatSettings())
    async with open_webchat(account, services) as channel:
        with pytest.raises(Overloaded, match="not taking messages"):
            await channel.press("alice", "m1", "1:yes", "c0ffee00")


async def test_answers_to_presses_are_told_with_the_rest_and_are_bounded(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as page:
            answers = [PressAnswer(ALICE, f"press-{n}", "noted") for n in range(ANSWERS_KEPT + 5)]
            await channel.signal(Draft(ALICE, "turn-1", "Hell"))
            for answer in answers:
                await channel.signal(answer)
            await channel.send(reply("Hello"), key="k")
            assert await page.wait_update() == PageUpdate(lines=True, answers=tuple(answers[5:]))


async def test_an_own_message_leaves_the_draft_of_the_running_turn(journal: Journal, services: Services) -> None:
    async with listening(journal, services) as channel:
        with channel.subscribe("alice") as page:
            draft = Draft(ALICE, "turn-1", "Hell")
            await channel.signal(draft)
            await channel.receive("alice", "and more", "c0ffee")
            assert await page.wait_update() == PageUpdate(lines=True, typing=True, draft=draft)


async def test_closing_ends_the_pages(journal: Journal, services: Services) -> None:
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(listening(journal, services))
        page = stack.enter_context(channel.subscribe("alice"))
        channel.close()
        assert await page.wait_update() is None
        with pytest.raises(Overloaded), channel.subscribe("alice"):
            pass


async def test_pages_are_bounded_per_person_and_in_all(journal: Journal, services: Services) -> None:
    async with listening(journal, services, max_pages=PAGES_PER_NAME + 1) as channel, AsyncExitStack() as pages:
        for _ in range(PAGES_PER_NAME):
            pages.enter_context(channel.subscribe("alice"))
        with pytest.raises(Overloaded, match="too many pages"), channel.subscribe("alice"):
            pass
        with channel.subscribe("bob"), pytest.raises(Overloaded, match="too many pages"), channel.subscribe("carol"):
            pass
        assert channel.open_pages == PAGES_PER_NAME
    assert channel.open_pages == 0
