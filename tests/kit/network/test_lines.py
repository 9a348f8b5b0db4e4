"""Lines out of bytes, however they are cut, and from a peer that writes no line, or never ends one."""

import re
import tracemalloc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import anyio.abc
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.network.lines import LineReader, Lines, LineTooLong
from tests.kit.network.pieces import cut

LONGEST = 8
nasty = st.lists(st.sampled_from([b"\n", b"\r", b"\r\n", b"\0", b"x", b"1234567", b"\xff\xfe", b"\xc2\x85"])).map(b"".join)
places = st.lists(st.integers(min_value=0))


def said(found: list[bytes | LineTooLong]) -> list[object]:
    return [(line.beginning,) if isinstance(line, LineTooLong) else line for line in found]


def expected(data: bytes, *, drops_cr: bool) -> tuple[list[object], bytes]:
    """The lines of all the bytes at once, as a regular expression finds them, and the rest."""
    *lines, rest = re.split(rb"\r?\n" if drops_cr else rb"\n", data)
    is_long = len(rest.removesuffix(b"\r") if drops_cr else rest) > LONGEST
    found = [(line[:LONGEST],) if len(line) > LONGEST else line for line in lines] + [(rest[:LONGEST],)] * is_long
    return found, b"" if is_long else rest


@given(nasty, places, st.booleans())
def test_any_cut_gives_the_same_lines(data: bytes, places: list[int], drops_cr: bool) -> None:
    lines = Lines(LONGEST, drops_cr=drops_cr)
    found = [line for piece in cut(data, places) for line in lines.feed(piece)]
    assert (said(found), lines.rest()) == expected(data, drops_cr=drops_cr)


@pytest.mark.parametrize(("end", "drops_cr"), [(b"\n", False), (b"\n", True), (b"\r\n", True)])
@pytest.mark.parametrize("length", [0, LONGEST, LONGEST + 1])
def test_the_bound_is_of_a_line_without_its_end(length: int, end: bytes, drops_cr: bool) -> None:
    line = b"x" * length
    found = Lines(LONGEST, drops_cr=drops_cr).feed(line + end + b"next" + end)
    assert said(found) == [line if length <= LONGEST else (line[:LONGEST],), b"next"]


def test_a_line_that_never_ends_is_told_at_once_and_once_and_takes_no_memory() -> None:
    lines = Lines(100_000)
    tracemalloc.start()
    try:
        found = [line for _ in range(1_000) for line in lines.feed(b"x" * 65_536)]
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert [type(line) for line in found] == [LineTooLong]
    assert "100000 bytes" in str(found[0])
    assert peak < 1_000_000
    assert lines.feed(b"\nnext\n") == [b"next"]


@asynccontextmanager
async def connected() -> AsyncIterator[tuple[anyio.abc.SocketStream, trio.SocketStream]]:
    """Two ends of a TCP connection over loopback: ours, and the peer's."""
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener, await anyio.connect_tcp(*listener.socket.getsockname()) as ours, await listener.accept() as theirs:
        yield ours, theirs


async def test_a_reader_gives_the_lines_until_the_stream_ends() -> None:
    async with connected() as (ours, theirs):
        lines = LineReader(ours, at_most_bytes=LONGEST, drops_cr=True)
        await theirs.send_all(b"one\r\n\r\ntwo\0\nhalf\r")
        await theirs.send_eof()
        assert [line async for line in lines] == [b"one", b"", b"two\0"]
        assert lines.rest() == b"half\r"
        with pytest.raises(anyio.EndOfStream):
            await lines.receive()


async def test_the_caller_decides_whether_a_line_that_is_too_long_is_the_end() -> None:
    async with connected() as (ours, theirs):
        lines = LineReader(ours, at_most_bytes=LONGEST)
        await theirs.send_all(b"one\n" + b"x" * 100)
        assert await lines.receive() == b"one"
        with pytest.raises(LineTooLong) as caught:
            await lines.receive()
        assert caught.value.beginning == b"x" * LONGEST
        async with trio.open_nursery() as nursery:
            nursery.start_soon(theirs.send_all, b"x" * 200_000 + b"\ntwo\n")
            assert await lines.receive() == b"two"


async def test_a_connection_that_breaks_is_the_stream_s_own_error() -> None:
    async with connected() as (ours, theirs):
        lines = LineReader(ours, at_most_bytes=LONGEST)
        await theirs.send_all(b"one\nhalf")
        assert await lines.receive() == b"one"
        theirs.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # close by RST
        await theirs.aclose()
        with pytest.raises(anyio.BrokenResourceError):
            await lines.receive()


@given(st.lists(st.binary(max_size=LONGEST).map(lambda line: line.replace(b"\n", b"")), max_size=8), places)
def test_a_cancelled_receive_loses_no_byte(written: list[bytes], places: list[int]) -> None:
    async def go() -> None:
        async with connected() as (ours, theirs):
            lines, found = LineReader(ours, at_most_bytes=LONGEST), list[bytes]()
            for piece in filter(None, cut(b"".join(line + b"\n" for line in written), places)):
                await theirs.send_all(piece)
                for patience in range(4):  # cancelled before its first checkpoint, and at each of the next ones
                    with trio.CancelScope() as scope:
                        async with trio.open_nursery() as nursery:

                            async def give_up(rounds: int = patience) -> None:
                                for _ in range(rounds):
                                    await trio.lowlevel.checkpoint()
                                scope.cancel()

                            nursery.start_soon(give_up)
                            found.append(await lines.receive())
            await theirs.send_eof()
            found += [line async for line in lines]
            assert found == written

    trio.run(go)


async def test_a_flood_of_lines_lets_others_run() -> None:
    async with connected() as (ours, theirs):
        lines = LineReader(ours, at_most_bytes=LONGEST)
        await theirs.send_all(b"\n" * 1_000)
        await lines.receive()
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(500):
                await lines.receive()
        assert scope.cancelled_caught
