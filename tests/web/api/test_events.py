"""The event stream: numbered, resumed without a gap, honest about gaps, and it ends when the server does."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec import Struct
from msgspec.structs import replace
from structlog.typing import EventDict

from gatewayd.model.config import AuthSection, LimitsSection, Scope
from gatewayd.web.api.events import HEARTBEAT_SECONDS, MAX_READERS, KindFilter
from gatewayd.web.http.errors import HttpError
from tests.web.client import RawClient, request
from tests.web.site import Site, configuration, open_site, token_of

PATH = "/v1/events"


class Block(Struct):
    """One block of the stream; ``id`` None when it has none."""

    id: str | None
    kind: str | None
    data: Any
    comment: bool


class Reader:
    """An EventSource, without its reconnecting."""

    def __init__(self, client: RawClient) -> None:
        self._client = client
        self._text = ""

    async def block(self) -> Block | None:
        """The next block that is more than the greeting; None when the stream has ended."""
        while "\n\n" not in self._text:
            part = await self._client.chunk()
            if not part:
                return None
            self._text += part.decode()
        raw, _, self._text = self._text.partition("\n\n")
        fields = dict(line.split(": ", 1) for line in raw.split("\n") if not line.startswith(":"))
        if set(fields) == {"retry"}:
            return await self.block()
        data = json.loads(fields["data"]) if "data" in fields else None
        return Block(fields.get("id"), fields.get("event"), data, raw.startswith(":"))

    async def event(self) -> Block:
        """The next block with data."""
        while block := await self.block():
            if block.data is not None:
                return block
        raise AssertionError("the stream has ended")

    async def events(self, count: int) -> list[Block]:
        return [await self.event() for _ in range(count)]


def ask(query: str = "", *, last: str | None = None, scope: Scope = "read", method: str = "GET") -> bytes:
    headers = {"Authorization": f"Bearer {token_of(scope)}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    return request(method, PATH + query, headers=headers)


@asynccontextmanager
async def follow(site: Site, query: str = "", *, last: str | None = None) -> AsyncIterator[Reader]:
    async with site.dial() as client:
        await client.say(ask(query, last=last))
        status, headers = await client.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert headers["cache-control"] == "no-store"
        yield Reader(client)


async def emit(site: Site, *kinds: str) -> None:
    for kind in kinds:
        site.gateway.events.emit(kind, about="nothing")
    await site.gateway.events.wait_flushed()


async def test_events_are_numbered_and_complete(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, follow(site) as reader:
        await trio.sleep(1)
        last = site.gateway.events.last_seq
        await emit(site, "test.one", "test.two")
        one, two = await reader.events(2)
        assert (one.id, one.kind) == (str(last + 1), "test.one")
        assert one.data["seq"] == last + 1
        assert one.data["kind"] == "test.one"
        assert one.data["data"] == {"about": "nothing"}
        assert one.data["at"] > 0
        assert (two.id, two.kind) == (str(last + 2), "test.two")


@pytest.mark.parametrize("by", ["header", "query", "both"])
async def test_a_reader_resumes_where_it_was(tmp_path: Path, clock: trio.testing.MockClock, by: str) -> None:
    async with open_site(tmp_path) as site:
        start = site.gateway.events.last_seq
        await emit(site, *(f"test.number{'x' * n}" for n in range(5)))
        query = "" if by == "header" else f"?after={0 if by == 'both' else start + 2}"
        async with follow(site, query, last=None if by == "query" else str(start + 2)) as reader:
            assert [event.id for event in await reader.events(3)] == [str(start + n) for n in (3, 4, 5)]
            await emit(site, "test.live")
            assert (await reader.event()).id == str(start + 6)


async def test_replay_and_live_meet_without_gap_or_double(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """More than the reader's buffer is emitted while it replays more than one page."""
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
        start = site.gateway.events.last_seq
        await emit(site, *["test.old"] * 1500)

        async def go_on() -> None:
            for _ in range(20):
                await emit(site, *["test.new"] * 100)

        async with follow(site, f"?after={start}") as reader:
            nursery.start_soon(go_on)
            events = await reader.events(3500)
        assert [int(event.id or 0) for event in events] == list(range(start + 1, start + 3501))


async def test_a_gap_is_told(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    config = configuration(limits=LimitsSection(event_rows=100))
    async with open_site(tmp_path, config) as site:
        await emit(site, *["test.filler"] * 300)
        await trio.sleep(1)
        await emit(site, *["test.filler"] * 20)
        await trio.sleep(1)
        first = site.gateway.events.first_seq
        assert first > 10
        async with follow(site, last="3") as reader:
            gap, event = await reader.events(2)
            assert (gap.kind, gap.id, gap.data) == ("gateway.gap", str(first - 1), {"after": 3, "next": first})
            assert event.id == str(first)
        async with follow(site, f"?after={first - 1}") as reader:
            assert (await reader.event()).id == str(first), "what is kept is no gap"


async def test_a_reader_from_the_future_is_told_and_put_at_the_end(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        last = site.gateway.events.last_seq
        async with follow(site, last="123456") as reader:
            gap = await reader.event()
            assert (gap.kind, gap.id, gap.data) == ("gateway.gap", str(last), {"after": 123456, "next": last + 1})
            await emit(site, "test.live")
            assert (await reader.event()).id == str(last + 1)


async def test_kinds_are_filtered_and_the_position_moves_on(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        start = site.gateway.events.last_seq
        async with follow(site, f"?after={start}&kinds=test.*,other.exact") as reader:
            await emit(site, "test.a", "other.inexact", "tests.b", "other.exact", "nothing.c")
            assert [(event.id, event.kind) for event in await reader.events(2)] == [
                (str(start + 1), "test.a"),
                (str(start + 4), "other.exact"),
            ]
            block = await reader.block()
            assert block is not None
            assert (block.id, block.data) == (str(start + 5), None)


async def test_silence_is_broken_by_a_heartbeat(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, follow(site) as reader:
        for _ in range(5):
            began = trio.current_time()
            block = await reader.block()
            assert block is not None
            assert block.comment
            assert HEARTBEAT_SECONDS - 1 <= trio.current_time() - began <= HEARTBEAT_SECONDS + 1


@pytest.mark.parametrize("busy", [False, True])
async def test_a_reader_whose_token_is_taken_away_hears_the_end(
    tmp_path: Path, clock: trio.testing.MockClock, busy: bool
) -> None:
    async with open_site(tmp_path) as site, follow(site) as reader:
        assert await reader.block() is not None
        site.gateway.configured.replace(replace(site.gateway.config, auth=AuthSection(tokens={})))
        with trio.fail_after(2 * HEARTBEAT_SECONDS):
            while await reader.block() is not None:
                if busy:
                    await trio.sleep(1)
                    await emit(site, "test.one")


async def test_the_old_name_of_a_kind_is_an_error_that_names_the_new_one(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(ask("?kinds=inbound.*,letter.*"))
        assert (answer.status, answer.json["error"]["message"]) == (400, "the kind letter.* is dead_letter.* now")


@pytest.mark.parametrize(
    ("query", "last", "word"),
    [
        ("?after=-1", None, "after"),
        ("?after=x", None, "after"),
        ("?after=1.5", None, "after"),
        ("?after=99999999999999999999", None, "after"),
        ("?since=1", None, "since"),
        ("?kinds=", None, "kinds"),
        ("?kinds=a,,b", None, "kinds"),
        ("?kinds=A.b", None, "kinds"),
        ("?kinds=*.b", None, "kinds"),
        ("?kinds=" + ",".join(["a"] * 33), None, "33"),
        ("", "x", "Last-Event-ID"),
        ("", "-1", "Last-Event-ID"),
        ("", "\u0663", "Last-Event-ID"),
        ("", "9" * 5000, "Last-Event-ID"),
        ("", "", "Last-Event-ID"),
    ],
)
async def test_a_wrong_question_is_400(
    tmp_path: Path, clock: trio.testing.MockClock, query: str, last: str | None, word: str
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(ask(query, last=last))
        assert (answer.status, answer.code) == (400, "bad_request")
        assert word in answer.json["error"]["message"]


async def test_readers_are_bounded_and_leaving_makes_room(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as late:
        async with trio.open_nursery() as nursery:
            here = trio.Event()

            async def read(task_status: trio.TaskStatus[None]) -> None:
                async with follow(site) as reader:
                    task_status.started()
                    await reader.block()
                    await here.wait()

            for _ in range(MAX_READERS):
                await nursery.start(read)
            await trio.sleep(1)
            answer = await late.ask(ask())
            assert (answer.status, answer.code, answer.headers["retry-after"]) == (503, "overloaded", "5")
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        await late.say(ask())
        assert (await late.head())[0] == 200


async def test_head_opens_no_stream(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.say(ask(method="HEAD"))
        assert (await client.head())[1]["content-type"] == "text/event-stream"
        assert (await client.ask(request("GET", "/health"))).status == 200


async def test_a_reader_that_leaves_is_forgotten(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with follow(site):
            await trio.sleep(1)
            assert len(site.gateway.events._readers) == 1
        await trio.sleep(1)
        assert len(site.gateway.events._readers) == 0


async def test_a_reader_that_never_reads_is_cut_off(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial(receive_buffer=4096) as client:
        await client.say(ask())
        await trio.sleep(1)
        for _ in range(60):
            for _ in range(100):
                site.gateway.events.emit("test.flood", filler="x" * 1000)
            await site.gateway.events.wait_flushed()
            await trio.sleep(1)
        assert len(site.gateway.events._readers) == 0
        assert site.server.statistics().open == 0
        assert await site.is_well()


async def test_a_bug_in_the_middle_ends_the_stream_and_is_logged(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with open_site(tmp_path) as site:
        async with site.dial() as client:
            store, site.gateway.events._store = site.gateway.events._store, None  # type: ignore[assignment]
            await client.say(ask("?after=0"))
            await client.rest()
            site.gateway.events._store = store
        assert [entry["log_level"] for entry in logged if entry["event"] == "response_failed"] == ["error"]
        assert await site.is_well()
        async with follow(site, "?after=0") as reader:
            assert (await reader.event()).id == "1"


async def test_the_stream_ends_when_the_server_stops(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, follow(site) as reader:
        await emit(site, "test.last")
        assert (await reader.event()).kind == "test.last"
        began = trio.current_time()
        site.server.stop()
        assert await reader.block() is None
        assert trio.current_time() - began < 1


def test_filters() -> None:
    assert KindFilter("*").wants("anything.at_all")
    some = KindFilter("gateway.*, inbound.received")
    assert some.wants("gateway.gap")
    assert some.wants("inbound.received")
    assert not some.wants("inbound.received_too")
    assert not some.wants("gateway")
    with pytest.raises(HttpError):
        KindFilter("gateway*")
