"""The web chat's driver: pages are told, messages are journaled once, and a page that reads slowly costs nothing."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random

import httpx2
import msgspec
import pytest
import structlog
import trio
import trio.testing
from structlog.typing import FilteringBoundLogger

from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.channel import PAGES_PER_NAME, News, WebchatChannel, open_webchat
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.envelope import InboundEnvelope, Peer
from gatewayd.model.errors import Overloaded
from gatewayd.model.payload import Draft, RichText, SendText, Typing
from gatewayd.ports.channel import AccountConfig, ChannelKit, Link, Memos, ShowsSignals

ALICE = Peer("dm", "alice")


class Recorder:
    """The hub's side of the kit: what the driver said of its transport."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.http = httpx2.AsyncClient()
        self.rng = Random(1)

    @property
    def link(self) -> Link:
        return self

    @property
    def memos(self) -> Memos:
        raise AssertionError("the web chat keeps no memos")

    @property
    def log(self) -> FilteringBoundLogger:
        log: FilteringBoundLogger = structlog.get_logger()
        return log

    def now(self) -> float:
        return 1000.0 + trio.current_time()

    def connected(self, identity: str | None = None) -> None:
        self.said.append("connected")

    def heard(self) -> None:
        self.said.append("heard")

    def expect_silence(self, at_most_seconds: float | None) -> None:
        self.said.append(f"silence {at_most_seconds}")


class Journal:
    """A Deliver that keeps what it got; ``gate`` holds it back."""

    def __init__(self) -> None:
        self.envelopes: list[InboundEnvelope] = []
        self.gate = trio.Event()
        self.gate.set()

    async def __call__(self, envelopes: Sequence[InboundEnvelope], *, memo: tuple[str, str] | None = None) -> None:
        await self.gate.wait()
        self.envelopes += envelopes


@asynccontextmanager
async def listening(journal: Journal, kit: ChannelKit | None = None, max_pages: int = 200) -> AsyncIterator[WebchatChannel]:
    account = AccountConfig("webchat", "main", WebchatSettings(max_pages=max_pages))
    with trio.fail_after(5):
        async with open_webchat(account, kit or Recorder()) as channel, trio.open_nursery() as nursery:
            nursery.start_soon(channel.listen, journal)
            await trio.testing.wait_all_tasks_blocked()
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


async def test_it_is_connected_at_once_and_silence_means_nothing() -> None:
    kit = Recorder()
    async with listening(Journal(), kit) as channel:
        assert kit.said == ["connected"]
        assert isinstance(channel, ShowsSignals)


async def test_a_message_is_journaled_with_its_authors_name() -> None:
    journal, kit = Journal(), Recorder()
    async with listening(journal, kit) as channel:
        key = await channel.receive("alice", "hello", "c0ffee")
    (envelope,) = journal.envelopes
    assert (envelope.channel, envelope.account, envelope.event_key) == ("webchat", "main", key)
    assert (envelope.peer, envelope.sender.id, envelope.text, envelope.addressed) == (ALICE, "alice", "hello", True)
    assert "heard" in kit.said


async def test_the_same_message_id_is_the_same_event_for_one_person_only() -> None:
    async with listening(Journal()) as channel:
        first = await channel.receive("alice", "hello", "c0ffee")
        again = await channel.receive("alice", "hello", "c0ffee")
        other = await channel.receive("bob", "hello", "c0ffee")
    assert first == again != other


async def test_receive_returns_after_the_commit() -> None:
    journal, done = Journal(), trio.Event()
    journal.gate = trio.Event()

    async def post() -> None:
        await channel.receive("alice", "hello", "c0ffee")
        done.set()

    async with listening(journal) as channel, trio.open_nursery() as nursery:
        nursery.start_soon(post)
        await trio.testing.wait_all_tasks_blocked()
        assert not done.is_set()
        journal.gate.set()
        await done.wait()
    assert len(journal.envelopes) == 1


async def test_a_stopping_account_refuses_messages() -> None:
    account = AccountConfig("webchat", "main", WebchatSettings())
    async with open_webchat(account, Recorder()) as channel:
        with pytest.raises(Overloaded, match="not taking messages"):
            await channel.receive("alice", "hello", "c0ffee")


async def test_every_page_of_the_peer_is_told_and_nobody_else() -> None:
    async with listening(Journal()) as channel:
        with channel.subscribe("alice") as phone, channel.subscribe("alice") as laptop, channel.subscribe("bob") as bob:
            receipt = await channel.send(reply())
            assert receipt.message_id is None
            assert await phone.wait_news() == News(lines=True)
            assert await laptop.wait_news() == News(lines=True)
            with trio.move_on_after(0) as nothing:
                await bob.wait_news()
            assert nothing.cancelled_caught


async def test_an_own_message_shows_on_the_other_device() -> None:
    async with listening(Journal()) as channel:
        with channel.subscribe("alice") as phone:
            await channel.receive("alice", "from the laptop", "c0ffee")
            assert await phone.wait_news() == News(lines=True)


async def test_a_slow_page_finds_the_newest_draft_only() -> None:
    async with listening(Journal()) as channel:
        with channel.subscribe("alice") as page:
            await channel.signal(Typing(ALICE))
            for length in range(1, 1000):
                await channel.signal(Draft(ALICE, "turn-1", "x" * length))
            assert await page.wait_news() == News(typing=True, draft=Draft(ALICE, "turn-1", "x" * 999))


async def test_a_reply_stands_for_its_draft() -> None:
    async with listening(Journal()) as channel:
        with channel.subscribe("alice") as page:
            await channel.signal(Draft(ALICE, "turn-1", "Hell"))
            await channel.send(reply("Hello"))
            assert await page.wait_news() == News(lines=True)


async def test_an_own_message_leaves_the_draft_of_the_running_turn() -> None:
    async with listening(Journal()) as channel:
        with channel.subscribe("alice") as page:
            draft = Draft(ALICE, "turn-1", "Hell")
            await channel.signal(draft)
            await channel.receive("alice", "and more", "c0ffee")
            assert await page.wait_news() == News(lines=True, typing=True, draft=draft)


async def test_closing_ends_the_pages() -> None:
    async with AsyncExitStack() as stack:
        channel = await stack.enter_async_context(listening(Journal()))
        page = stack.enter_context(channel.subscribe("alice"))
        channel.close()
        assert await page.wait_news() is None
        with pytest.raises(Overloaded), channel.subscribe("alice"):
            pass


async def test_pages_are_bounded_per_person_and_in_all() -> None:
    async with listening(Journal(), max_pages=PAGES_PER_NAME + 1) as channel, AsyncExitStack() as pages:
        for _ in range(PAGES_PER_NAME):
            pages.enter_context(channel.subscribe("alice"))
        with pytest.raises(Overloaded, match="too many pages"), channel.subscribe("alice"):
            pass
        with channel.subscribe("bob"), pytest.raises(Overloaded, match="too many pages"), channel.subscribe("carol"):
            pass
        assert channel.open_pages == PAGES_PER_NAME
    assert channel.open_pages == 0
