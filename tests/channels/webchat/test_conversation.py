"""A conversation as its pages get it: history, and a stream that continues it without a gap or a double."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import pytest
import trio
import trio.testing

from gatewayd.channels.webchat.channel import WebchatChannel, open_webchat
from gatewayd.channels.webchat.conversation import PING_SECONDS, Conversation, Cursor, feed
from gatewayd.channels.webchat.login import Login, log_in, log_out, new_login_link
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import Choice, Draft, EditText, OutboundPayload, PressAnswer, RichText, SendText, Typing
from gatewayd.ports.channel import AccountConfig, HttpDesk
from gatewayd.ports.store import OutboundDraft, TranscriptRow
from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.testing.channel_contract import Services
from tests.stores.opened_before import open_store
from tests.web.client import now

ALICE = Peer("dm", "alice")
Event = tuple[str, Any]
Choices = tuple[tuple[Choice, ...], ...]
YES_NO: Choices = ((Choice("Yes", "1:yes"), Choice("No", "1:no")),)
SHOWN = [[{"label": "Yes", "data": "1:yes"}, {"label": "No", "data": "1:no"}]]


class Room:
    """The store, the channel and one login; the hub's part is played by ``hear`` and ``answer``. It is the desk, too, as far as a
    conversation needs one."""

    def __init__(self, store: SqliteStore, channel: WebchatChannel, login: Login) -> None:
        self.store = store
        self.channel = channel
        self.login = login
        self.logins = store
        self.now = now
        self.conversation = Conversation(cast(HttpDesk, self), login)

    @asynccontextmanager
    async def feed(self, cursor: Cursor | None = None) -> AsyncIterator[AsyncIterator[bytes]]:
        pieces = feed(self.conversation, self.channel, cursor or Cursor())
        try:
            yield pieces
        finally:
            await pieces.aclose()  # type: ignore[attr-defined]

    async def transcript(self, peer: Peer, *, limit: int) -> list[TranscriptRow]:
        return await self.store.transcript("webchat", "main", peer, limit=limit)

    async def hear(self, text: str, name: str = "alice") -> None:
        key = f"{name}:{text}"
        peer = Peer("dm", name)
        await self.store.add_inbound(
            [InboundEnvelope("webchat", "main", key, "message", peer, Sender(name), text=text, received_at=now())]
        )

    async def answer(self, text: str, peer: Peer = ALICE, choices: Choices = ()) -> int:
        return await self._send(SendText(peer, RichText(text), choices=choices))

    async def edit(self, of: int, text: str, choices: Choices = ()) -> int:
        return await self._send(EditText(ALICE, RichText(text), of=of, message_id="m", choices=choices))

    async def _send(self, payload: OutboundPayload) -> int:
        [row] = await self.store.add_outbound([OutboundDraft("webchat", "main", "c", payload)], now=now())
        await self.channel.send(payload, key="k")
        return row.id


@asynccontextmanager
async def room(path: Path) -> AsyncIterator[Room]:
    account = AccountConfig("webchat", "main", WebchatSettings())
    async with (
        open_store(path, now=now, run_blocking=run_inline) as store,
        httpx2.AsyncClient() as http,
        open_webchat(account, Services(http)) as channel,
    ):
        link = await new_login_link(store, "http://127.0.0.1", "alice", now())
        login = await log_in(store, link.code, now(), session_days=30)
        assert login is not None
        yield Room(store, channel, login)


async def next_events(feed: AsyncIterator[bytes]) -> list[Event]:
    """What the next block of the stream tells."""
    block = await anext(feed)
    events = []
    for event in block.decode().removesuffix("\n\n").split("\n\n"):
        kind, data = event.split("\n")
        events.append((kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))))
    return events


async def test_history_is_the_journal_in_order(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here:
        await here.hear("hello")
        mock_clock.jump(1)
        await here.answer("**hi** <b>")
        await here.hear("something else", name="bob")
        history = await here.conversation.history(10)
    assert [(line.id, line.sender, line.text, line.html) for line in history.lines] == [
        ("in-1", "you", "hello", ""),
        ("out-1", "agent", "", "<p><strong>hi</strong> &lt;b&gt;</p>\n"),
    ]
    assert (history.name, history.cursor, history.more) == ("alice", "1.1", False)


async def test_a_long_history_is_cut_and_says_so(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here:
        for number in range(5):
            await here.hear(str(number))
        history = await here.conversation.history(3)
    assert [line.text for line in history.lines] == ["2", "3", "4"]
    assert history.more


async def test_the_stream_goes_on_where_the_history_ended(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here:
        await here.hear("seen")
        history = await here.conversation.history(10)
        await here.hear("between")
        async with here.feed(Cursor.parse(history.cursor)) as feed:
            assert await next_events(feed) == [("hello", {})]
            [(kind, line)] = await next_events(feed)
            assert (kind, line["id"], line["text"]) == ("message", "in-2", "between")
            await here.answer("afterwards")
            [(kind, line)] = await next_events(feed)
            assert (kind, line["id"], line["from"], line["html"]) == ("message", "out-1", "agent", "<p>afterwards</p>\n")


async def test_drafts_and_typing_come_after_new_lines(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here, here.feed() as feed:
        await here.hear("hello")
        await anext(feed)
        await anext(feed)
        await here.channel.signal(Typing(ALICE))
        assert await next_events(feed) == [("typing", {})]
        await here.answer("first")
        await here.channel.signal(Draft(ALICE, "turn-1", "*se"))
        events = await next_events(feed)
    assert [kind for kind, _ in events] == ["message", "draft"]
    assert events[1][1] == {"turn": "turn-1", "html": "<p>*se</p>\n"}


async def test_buttons_are_part_of_their_line(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here, here.feed() as feed:
        await here.answer("Really?", choices=YES_NO)
        await here.answer("by the way")
        await anext(feed)
        events = await next_events(feed)
        history = await here.conversation.history(10)
    assert [(kind, line.get("buttons")) for kind, line in events] == [("message", SHOWN), ("message", None)]
    assert [line.buttons for line in history.lines] == [YES_NO, ()]


async def test_an_edit_changes_the_line_where_it_stands(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here, here.feed() as feed:
        row = await here.answer("Really?", choices=YES_NO)
        await here.answer("by the way")
        await anext(feed)
        await anext(feed)
        number = await here.edit(row, "**Yes**, by alice")
        [(kind, line)] = await next_events(feed)
        assert (kind, line["id"], line["html"]) == ("edit", "out-1", "<p><strong>Yes</strong>, by alice</p>\n")
        assert "buttons" not in line
        history = await here.conversation.history(10)
        assert [line.html for line in history.lines] == [line["html"], "<p>by the way</p>\n"]
        assert (history.cursor, history.more) == (f"0.{number}", False)
        async with here.feed(Cursor.parse(history.cursor)) as later:
            await anext(later)
            await here.hear("nothing else is told")
            assert [(kind, line["id"]) for kind, line in await next_events(later)] == [("message", "in-1")]


async def test_a_page_that_was_away_gets_what_changed_and_what_is_new(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here:
        first = await here.answer("first?", choices=YES_NO)
        await here.answer("second")
        cursor = Cursor.parse((await here.conversation.history(10)).cursor)
        await here.edit(first, "first: no")
        third = await here.answer("third?", choices=YES_NO)
        await here.edit(third, "third: yes")
        await here.edit(first, "first: yes")
        async with here.feed(cursor) as feed:
            await anext(feed)
            events = await next_events(feed)
    assert [(kind, line["id"], line["html"]) for kind, line in events] == [
        ("edit", "out-1", "<p>first: yes</p>\n"),
        ("message", "out-4", "<p>third: yes</p>\n"),
    ]


async def test_presses_are_no_lines_and_their_answers_are_told(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here, here.feed() as feed:
        await here.hear("hello")
        await anext(feed)
        await anext(feed)
        envelope = InboundEnvelope("webchat", "main", "k", "button", ALICE, Sender("alice"), text="1:yes", press="p1")
        await here.store.add_inbound([envelope])
        await here.channel.signal(PressAnswer(ALICE, "p1", "Noted."))
        await here.channel.signal(Typing(ALICE))
        await here.channel.signal(PressAnswer(Peer("dm", "bob"), "p2", "not for alice"))
        assert await next_events(feed) == [("answer", {"press": "p1", "text": "Noted."}), ("typing", {})]
        history = await here.conversation.history(10)
    assert [line.text for line in history.lines] == ["hello"]


async def test_a_quiet_stream_is_pinged_while_the_login_lasts(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here, here.feed() as feed, trio.open_nursery() as nursery:
        await here.hear("hello")
        await anext(feed)
        await anext(feed)
        nursery.start_soon(jump_when_blocked, mock_clock)
        assert await next_events(feed) == [("ping", {})]
        await log_out(here.store, here.login.token)
        nursery.start_soon(jump_when_blocked, mock_clock)
        with pytest.raises(StopAsyncIteration):
            await anext(feed)


async def jump_when_blocked(clock: trio.testing.MockClock) -> None:
    await trio.testing.wait_all_tasks_blocked()
    clock.jump(PING_SECONDS)


async def test_the_stream_ends_with_the_channel(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here:
        async with here.feed() as feed, trio.open_nursery() as nursery:
            await here.hear("hello")
            await anext(feed)
            await anext(feed)

            async def finish() -> None:
                await trio.testing.wait_all_tasks_blocked()
                here.channel.close()

            nursery.start_soon(finish)
            with pytest.raises(StopAsyncIteration):
                await anext(feed)
        assert here.channel.open_pages == 0


async def test_a_page_that_leaves_is_forgotten(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    async with room(tmp_path) as here:
        async with here.feed() as feed:
            await anext(feed)
            assert here.channel.open_pages == 1
        assert here.channel.open_pages == 0
        here.channel.close()
        async with here.feed() as late:
            with pytest.raises(StopAsyncIteration):
                await anext(late)
