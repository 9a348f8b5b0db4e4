"""The web chat's driver: pages are told, messages are journaled once, and a page that reads slowly costs nothing."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, ExitStack, asynccontextmanager
from functools import partial
from typing import ClassVar, cast, get_args

import httpx2
import msgspec
import pytest
import trio
import trio.testing

from gatewayd.actor.wakeup import Wakeup
from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.channel import ANSWERS_KEPT, PAGES_PER_NAME, Page, PageUpdate, WebchatChannel, open_webchat
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.errors import Overloaded
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import (
    Choice,
    Draft,
    EditText,
    OutboundPayload,
    PressAnswer,
    Receipt,
    RichText,
    SendFile,
    SendText,
    Typing,
)
from gatewayd.ports.channel import AccountConfig, ShowsSignals
from gatewayd.testing.channel_contract import (
    Account,
    Button,
    ChannelContract,
    Choices,
    Harness,
    Journal,
    Place,
    Rig,
    SendFailure,
    Services,
    Shown,
)
from gatewayd.testing.manifest import PATIENCE

ALICE, BOB = Peer("dm", "alice"), Peer("dm", "bob")


class PageHarness:
    """The pages of Alice and Bob, as the platform: they post again until they are answered, and show the journal when they are
    told to look."""

    account = AccountConfig("webchat", "main", WebchatSettings())
    peer = ALICE
    places: Mapping[Place, Peer] = {"other": BOB}
    people = (ALICE.id, BOB.id)
    failures: Mapping[SendFailure, Callable[[], Awaitable[None]]] = {}
    unknown_message = None

    def __init__(self) -> None:
        self._rows: dict[Peer, list[Shown]] = {ALICE: [], BOB: []}
        self._shown: dict[Peer, list[Shown]] = {ALICE: [], BOB: []}
        self._keys: set[str | None] = set()
        self._pages: dict[Peer, Page] = {}
        self._answers: list[str] = []
        self._pressed = 0
        self._account: Account | None = None
        self._closing = ExitStack()
        self._acknowledged = 0
        self._changed = Wakeup()
        self._posts = 0
        self._typed, self._to_post = trio.open_memory_channel[tuple[str, str, str]](1000)
        self._latest = (ALICE.id, "", "")

    # The server.

    def reach(self, account: Account | None) -> None:
        self._account = account
        self._closing.close()
        if account is not None:
            assert isinstance(account.channel, WebchatChannel)
            self._pages = {peer: self._closing.enter_context(account.channel.subscribe(peer.id)) for peer in self._rows}
        self._changed.notify()

    def write_row(self, payload: SendText | SendFile, key: str | None) -> bool:
        """The hub writes the row before it calls ``send``. False: it is there already."""
        if key in self._keys:
            return False
        self._keys |= {key} - {None}
        self._rows[payload.peer].append(Shown("", payload.body.text, _buttons(payload.choices)))
        return True

    def write_edit(self, payload: EditText) -> None:
        """A row that changes the first one."""
        self._rows[payload.peer][0] = Shown(payload.message_id or "", payload.body.text, _buttons(payload.choices))

    def write_receipt(self, payload: SendText | SendFile, receipt: Receipt) -> None:
        rows = self._rows[payload.peer]
        number = next(number for number, row in enumerate(rows) if (row.text, row.id) == (payload.body.text, ""))
        rows[number] = msgspec.structs.replace(rows[number], id=receipt.message_id or "")

    # The pages.

    async def run(self) -> None:
        async for name, text, message_id in self._to_post:
            while not await self._post(name, text, message_id):
                await self._changed.wait()

    async def _post(self, name: str, text: str, message_id: str) -> bool:
        if self._account is None:
            return False
        account = self._account
        await account.services.is_connected.wait()
        channel = cast(WebchatChannel, account.channel)
        if not await account.call(partial(channel.receive, name, text, message_id)):
            return False
        self._acknowledged += 1
        self._changed.notify()
        return True

    async def produce(self, text: str) -> None:
        await self.write(text, peer=ALICE, sender=ALICE.id)

    async def write(self, text: str, *, peer: Peer, sender: str, mentions: bool = False) -> None:
        self._posts += 1
        self._latest = (sender, text, f"message-{self._posts}")
        await self._typed.send(self._latest)

    async def redeliver(self) -> None:
        await self._typed.send(self._latest)

    async def acknowledged(self) -> int:
        return self._acknowledged

    async def wait_acknowledged(self, count: int) -> None:
        while self._acknowledged < count:
            await self._changed.wait()

    async def received(self) -> Sequence[str]:
        return await self.received_in(ALICE)

    async def received_in(self, peer: Peer) -> Sequence[str]:
        return [message.text for message in await self._look(peer)]

    async def shown(self) -> Sequence[Shown]:
        return await self._look(ALICE)

    async def _look(self, peer: Peer) -> Sequence[Shown]:
        if [row.text for row in self._shown[peer]] != [row.text for row in self._rows[peer]]:
            update = await self._pages[peer].wait_update()
            assert update is not None
            assert update.lines
        self._shown[peer] = list(self._rows[peer])
        return self._shown[peer]

    async def press(self, message_id: str, data: str) -> None:
        assert self._account is not None
        self._pressed += 1
        await cast(WebchatChannel, self._account.channel).press(ALICE.id, message_id, data, f"press-{self._pressed}")

    async def wait_answers(self, count: int) -> Sequence[str]:
        while len(self._answers) < count:
            update = await self._pages[ALICE].wait_update()
            assert update is not None
            self._answers += [answer.text for answer in update.answers]
        return self._answers


def _buttons(choices: Choices) -> tuple[Button, ...]:
    return tuple(Button(choice.label, choice.data) for row in choices for choice in row)


class TestWebchatContract(ChannelContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.channels.webchat"
    excuses: ClassVar[Mapping[str, str]] = {
        **dict.fromkeys(get_args(SendFailure), "to tell a page cannot fail: what it shows is the journal"),
        **dict.fromkeys(("breaks", "silence", "pings", "stalls"), "the transport is our own HTTP server"),
        **dict.fromkeys(("group", "thread"), "every page is one person's"),
        **dict.fromkeys(("edits in", "files in", "replies", "reports"), "the page has no such thing"),
        "secrets": "no setting is secret",
    }

    def harness(self) -> AbstractAsyncContextManager[Harness]:
        return self._harness()

    @asynccontextmanager
    async def _harness(self) -> AsyncIterator[PageHarness]:
        harness = PageHarness()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(harness.run)
            yield harness
            nursery.cancel_scope.cancel()

    async def send(self, rig: Rig, account: Account, payload: OutboundPayload, *, key: str | None = None) -> Receipt:
        harness = cast(PageHarness, rig.harness)
        if isinstance(payload, EditText):
            harness.write_edit(payload)
            return await super().send(rig, account, payload, key=key)
        is_new = harness.write_row(payload, key)
        receipt = await super().send(rig, account, payload, key=key)
        if is_new:
            harness.write_receipt(payload, receipt)
        return receipt


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
