"""The parser against the standard's own examples, any cut of the bytes, and streams without an end."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager, suppress

import httpx2
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.http import create_client
from gatewayd.kit.sse import EventParser, EventStream, EventTooLarge, ServerSentEvent

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"

texts = st.text(st.characters(exclude_characters="\r\n\0", exclude_categories=["Cs"]), max_size=20)
events = st.builds(
    ServerSentEvent,
    data=st.lists(texts, min_size=1, max_size=3).map("\n".join),
    event=texts.filter(bool),
    id=texts,
)


def parse(*chunks: bytes, at_most_bytes: int = 1000) -> list[ServerSentEvent]:
    parser = EventParser(at_most_bytes=at_most_bytes)
    return [event for chunk in chunks for event in parser.feed(chunk)]


def written(event: ServerSentEvent, end: str) -> str:
    lines = [f"event: {event.event}", f"id: {event.id}", *(f"data: {line}" for line in event.data.split("\n")), "", ""]
    return end.join(lines)


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        # WHATWG HTML, section 9.2.6, "Interpreting an event stream"
        (b"data: YHOO\ndata: +2\ndata: 10\n\n", [ServerSentEvent("YHOO\n+2\n10")]),
        (
            b": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n",
            [ServerSentEvent("first event", id="1"), ServerSentEvent("second event")],
        ),
        (b"data\n\ndata\ndata\n\ndata:", [ServerSentEvent(""), ServerSentEvent("\n")]),
        (b"data:test\n\ndata: test\n\n", [ServerSentEvent("test"), ServerSentEvent("test")]),
        # and what people write
        (b"\xef\xbb\xbfdata: after the mark\n\n", [ServerSentEvent("after the mark")]),
        (b"event: nothing\n\ndata: x\n\n", [ServerSentEvent("x")]),
        (b"id: a\0b\nretry: 10\nunknown: y\ndata: x\n\n", [ServerSentEvent("x")]),
        (b"data: \xff\xe2\x80\xa8 one line\n\n", [ServerSentEvent("\ufffd\u2028 one line")]),
    ],
)
def test_the_standard_s_examples(stream: bytes, expected: list[ServerSentEvent]) -> None:
    assert parse(stream) == expected
    assert parse(*(stream[at : at + 1] for at in range(len(stream)))) == expected


@given(st.lists(events, max_size=4), st.sampled_from(["\n", "\r", "\r\n"]), st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(sent: list[ServerSentEvent], end: str, data: st.DataObject) -> None:
    stream = "".join(written(event, end) for event in sent).encode()
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    chunks = [stream[start:stop] for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert parse(*chunks) == sent


@pytest.mark.parametrize(
    ("rest", "last"),
    [
        (b"", None),
        (b": only a comment", None),
        (b"data: x", ServerSentEvent("x")),
        (b"data: x\n", ServerSentEvent("x")),
        (b"event: error\ndata: x\ndata: y\r", ServerSentEvent("x\ny", "error")),
    ],
)
def test_what_a_stream_ends_with_can_be_asked_for(rest: bytes, last: ServerSentEvent | None) -> None:
    parser = EventParser()
    assert [event.data for event in parser.feed(b"data: first\n\n" + rest)] == ["first"]
    assert parser.end() == last
    assert parser.end() is None


@given(st.lists(st.binary(max_size=40)))
def test_any_bytes_at_all_are_taken(chunks: list[bytes]) -> None:
    assert parse(*chunks, at_most_bytes=10_000) == parse(b"".join(chunks), at_most_bytes=10_000)


@pytest.mark.parametrize("piece", [b"data: x", b"data: xxxxxxxx\n", b": comment without an end "])
def test_an_event_without_an_end_is_refused(piece: bytes) -> None:
    with pytest.raises(EventTooLarge, match="longer than 1000 bytes"):
        parse(*[piece] * 1000)


def test_the_bound_is_one_event_s_own() -> None:
    assert len(parse(*[b"data: " + b"x" * 900 + b"\n\n"] * 50)) == 50


@asynccontextmanager
async def stream_from(behave: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[httpx2.Response]:
    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await stream.receive_some(65536)
            await behave(stream)

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}/"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        async with create_client() as client, client.stream("GET", url, timeout=None) as response:
            yield response
        nursery.cancel_scope.cancel()


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


async def test_the_stream_ends_with_the_body() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + chunk(b"data: 1\n\nda") + chunk(b"ta: 2\n\n") + chunk(b"data: half") + b"0\r\n\r\n")

    async with stream_from(behave) as response, aclosing(EventStream(response)) as stream:
        assert [event.data async for event in stream] == ["1", "2"]


async def test_a_cut_stream_is_an_error_of_the_library() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + chunk(b"data: 1\n\n"))

    async with stream_from(behave) as response, aclosing(EventStream(response)) as stream:
        assert (await anext(stream)).data == "1"
        with pytest.raises(httpx2.RemoteProtocolError):
            await anext(stream)


async def test_leaving_early_closes_the_connection_and_abandons_nothing() -> None:
    """An abandoned generator is a ResourceWarning, and warnings are errors."""
    closed = trio.Event()

    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + chunk(b"data: 1\n\ndata: 2\n\n"))
        await stream.receive_some(1)
        closed.set()

    async with stream_from(behave) as response:
        async with aclosing(EventStream(response)) as stream:
            async for event in stream:
                assert event.data == "1"
                break
        with trio.fail_after(10):
            await closed.wait()


async def test_a_time_limit_may_cut_the_wait_for_the_next_event() -> None:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(HEAD + chunk(b"data: 1\n\n"))
        await trio.sleep_forever()

    async with stream_from(behave) as response, aclosing(EventStream(response)) as stream:
        assert (await anext(stream)).data == "1"
        with pytest.raises(trio.TooSlowError), trio.fail_after(0.01):
            await anext(stream)
