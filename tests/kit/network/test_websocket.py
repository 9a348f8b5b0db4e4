"""The client against a proper server (the ``websockets`` package), and against servers that misbehave, on real sockets."""

import os
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.kit.http import client_through, create_client
from gatewayd.kit.network.websocket import (
    CLOSE_SECONDS,
    HANDSHAKE_SECONDS,
    MESSAGES_WAITING,
    NO_CLOSE_FRAME,
    NO_CODE,
    WebSocketClosed,
    connect,
)
from tests.fakes.proxy import open_proxy, open_tls_front, trusted_certificate
from tests.kit.network.pieces import cut
from tests.kit.network.websocket_peer import (
    Peer,
    accepting,
    connected,
    frame,
    listening,
    playing,
    until_closed,
    writing,
)
from tests.kit.test_http import SECRET, Behaviour, server, silent

TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10

messages = st.text(max_size=20) | st.binary(max_size=200) | st.sampled_from([0, 125, 126, 65_535, 65_536, 70_000]).map(bytes)


@given(st.lists(messages, max_size=5), st.integers(1, 4))
def test_messages_go_to_a_server_and_come_back_in_fragments(sent: list[str | bytes], fragments: int) -> None:
    async def echo(peer: Peer) -> None:
        while (message := await peer.take()) is not None:
            await peer.say(message, fragments=fragments)

    async def go() -> None:
        async with connected(playing(echo)) as websocket:
            for message in sent:
                await websocket.send(message)
            assert [await websocket.receive() for _ in sent] == sent

    trio.run(go)


@given(st.lists(messages, max_size=4), st.lists(st.integers(min_value=0), max_size=8))
def test_any_cut_of_the_bytes_gives_the_same_messages(sent: list[str | bytes], places: list[int]) -> None:
    data = b"".join(
        frame(PING, b"?") + (frame(TEXT, it.encode()) if isinstance(it, str) else frame(BINARY, it)) for it in sent
    ) + frame(CLOSE, (1001).to_bytes(2, "big"))

    async def go() -> None:
        async with connected(writing(b"", *cut(data, places), then=listening)) as websocket:
            got, closed = await until_closed(websocket)
            assert (got, closed.code, closed.by) == (sent, 1001, "peer")

    trio.run(go)


@pytest.mark.parametrize("code", [1000, 1001, 1008, 1011, 1012, 3000, 4004, 4999, None])
async def test_the_peer_s_close_code_is_told_and_answered(code: int | None) -> None:
    async def leave(peer: Peer) -> None:
        await peer.say("last")
        await peer.close(code, "because" if code else "")
        assert await peer.take() is None
        answered.append(peer.protocol.close_rcvd.code if peer.protocol.close_rcvd else None)

    answered: list[int | None] = []
    async with connected(playing(leave)) as websocket:
        got, closed = await until_closed(websocket)
        assert got == ["last"]
        assert (closed.by, closed.code, closed.text) == ("peer", code or NO_CODE, "because" if code else "")
        assert closed.status is None
        assert "because" not in str(closed)
        for use in (websocket.receive, lambda: websocket.send("x")):
            with pytest.raises(WebSocketClosed) as again:
                await use()
            assert again.value.code == closed.code
    assert answered == [code or NO_CODE]


@pytest.mark.parametrize("closes", [True, False])
async def test_our_close_code_reaches_the_peer(closes: bool) -> None:
    async def note(peer: Peer) -> None:
        assert await peer.take() is None
        assert peer.protocol.close_rcvd is not None
        codes.append(peer.protocol.close_rcvd.code)

    codes: list[int] = []
    async with connected(playing(note), leaves_with=4000) as websocket:
        if closes:
            await websocket.close(4001, "x" * 200)
            _, closed = await until_closed(websocket)
            assert (closed.code, closed.by) == (4001, "us")
    assert codes == [4001 if closes else 4000]


BROKEN = "the peer broke the WebSocket protocol"


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", 1002),
        (frame(TEXT, b"masked", mask=b"abcd"), 1002),
        (frame(TEXT, b"x", rsv=4), 1002),
        (frame(3, b"x"), 1002),
        (frame(11), 1002),
        (frame(PING, b"half", fin=False), 1002),
        (frame(PING, bytes(126)), 1002),
        (frame(CONT, b"of nothing"), 1002),
        (frame(TEXT, b"one", fin=False) + frame(TEXT, b"two"), 1002),
        (frame(TEXT, b"\xff"), 1007),
        (frame(TEXT, b"\xe2\x82", fin=False) + frame(CONT, b"x"), 1007),
        (frame(TEXT, b"\xe2\x82"), 1007),
        (frame(CLOSE, b"\x03"), 1002),
        (frame(CLOSE, (999).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1006).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (5000).to_bytes(2, "big")), 1002),
        (frame(CLOSE, (1000).to_bytes(2, "big") + b"\xff"), 1007),
        (b"\x82\x7f" + b"\xff" * 8, 1002),
        (b"\x82\x7e\x00\x01x", 1002),
    ],
)
async def test_a_peer_that_breaks_the_protocol_is_left_and_told_why(data: bytes, code: int) -> None:
    async def note(stream: trio.SocketStream) -> None:
        while piece := await stream.receive_some(65_536):
            told.extend(piece)

    told = bytearray()
    async with connected(writing(frame(TEXT, b"before") + data, then=note)) as websocket:
        got, closed = await until_closed(websocket)
        assert got == ["before"]
        assert (closed.by, closed.code, str(closed)) == ("us", code, BROKEN)
    mask, masked = told[2:6], told[6:8]
    assert told[0] == 0x88
    assert bytes(byte ^ mask[at] for at, byte in enumerate(masked)) == code.to_bytes(2, "big")


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, bytes(1001)),
        frame(BINARY, bytes(1001), length=2**40),
        frame(TEXT, "ä".encode() * 501),
        frame(TEXT, b"x" * 500, fin=False) + frame(CONT, b"x" * 500, fin=False) + frame(CONT, b"x"),
        b"".join([frame(TEXT, fin=False), *(frame(CONT, b"x", fin=False) for _ in range(1001))]),
    ],
)
async def test_a_message_over_the_bound_ends_the_connection(data: bytes) -> None:
    async with connected(writing(frame(BINARY, bytes(1000)) + data, then=listening), max_message_bytes=1000) as websocket:
        got, closed = await until_closed(websocket)
    assert got == [bytes(1000)]
    assert (closed.by, closed.code) == ("us", 1009)


async def test_the_default_bound_lets_a_large_message_through(autojump_clock: MockClock) -> None:
    large = frame(TEXT, b"x" * 5_000_000)
    async with connected(writing(large, then=listening)) as websocket:
        assert await websocket.receive() == "x" * 5_000_000


async def reset(stream: trio.SocketStream) -> None:
    stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@pytest.mark.parametrize("then", [None, reset])
@pytest.mark.parametrize("data", [b"", frame(TEXT, b"half")[:-1], frame(TEXT, b"half", fin=False), b"\x81"])
async def test_a_cut_is_told_and_half_a_message_is_none(data: bytes, then: Behaviour | None) -> None:
    async with connected(writing(b"", data, then=then)) as websocket:
        got, closed = await until_closed(websocket)
    assert got == []
    assert (closed.by, closed.code) == ("network", NO_CLOSE_FRAME)


frames = st.builds(
    frame,
    st.integers(0, 15),
    st.binary(max_size=140),
    fin=st.booleans(),
    rsv=st.sampled_from([0, 0, 0, 1, 4]),
    mask=st.sampled_from([b"", b"", b"abcd"]),
)
good = st.sampled_from([frame(TEXT, b"x"), frame(TEXT, b"x", fin=False), frame(CONT, b"x"), frame(PING, b"x"), frame(PONG)])


@given(
    st.lists(st.binary(max_size=20) | frames | good, max_size=12).map(b"".join), st.lists(st.integers(min_value=0), max_size=4)
)
def test_any_bytes_end_in_the_one_error(data: bytes, places: list[int]) -> None:
    async def go() -> None:
        async with connected(writing(b"", *cut(data, places)), max_message_bytes=300) as websocket:
            got, closed = await until_closed(websocket)
            assert all(len(message) <= 300 for message in got)
            assert closed.by in ("us", "peer", "network")
            assert closed.code in (NO_CODE, NO_CLOSE_FRAME, 1002, 1007, 1009) or closed.by == "peer"

    trio.run(go)


async def test_a_peer_that_answers_no_ping_is_found(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    async with connected(writing(frame(TEXT, b"hello"), then=listening), ping_seconds=30, pong_seconds=10) as websocket:
        got, closed = await until_closed(websocket)
        assert got == ["hello"]
        assert (closed.by, closed.code) == ("network", NO_CLOSE_FRAME)
        assert trio.current_time() - began == pytest.approx(40, abs=0.1)
    assert trio.current_time() - began < 41


async def test_a_quiet_peer_that_answers_pings_stays(autojump_clock: MockClock) -> None:
    async def answer(peer: Peer) -> None:
        await peer.take()

    async with connected(playing(answer), ping_seconds=30, pong_seconds=10) as websocket:
        with trio.move_on_after(3600) as scope:
            await websocket.receive()
        assert scope.cancelled_caught
        await websocket.send("still here")


async def test_what_a_slow_reader_leaves_waits_within_bounds_and_costs_no_connection(autojump_clock: MockClock) -> None:
    count = 500

    async def flood(peer: Peer) -> None:
        for number in range(count):
            await peer.say(str(number) + "x" * 20_000)
            written.append(number)
        await peer.take()

    written: list[int] = []
    async with connected(playing(flood), ping_seconds=30, pong_seconds=10) as websocket:
        await trio.sleep(3600)
        assert len(websocket._waiting) == MESSAGES_WAITING
        assert len(written) < count  # the peer had to wait
        for number in range(count):
            assert await websocket.receive() == str(number) + "x" * 20_000
            await trio.sleep(1)


async def test_bytes_that_wait_are_bounded_too(autojump_clock: MockClock) -> None:
    data = frame(BINARY, bytes(400)) * 10
    async with connected(writing(data, then=listening), max_message_bytes=1000) as websocket:
        await trio.sleep(5)
        assert len(websocket._waiting) == 2
        assert [await websocket.receive() for _ in range(10)] == [bytes(400)] * 10


async def test_a_pong_that_came_while_this_process_stood_still_counts(autojump_clock: MockClock) -> None:
    async def answer(stream: trio.SocketStream) -> None:
        while data := await stream.receive_some(65_536):
            if data[0] & 15 == PING:
                os.write(stream.socket.fileno(), frame(PONG))
                autojump_clock.jump(1000)  # before anybody could read it
                stalls.append(trio.current_time())

    stalls: list[float] = []
    async with connected(writing(b"", then=answer), ping_seconds=30, pong_seconds=10) as websocket:
        await trio.sleep(5000)
        assert len(stalls) > 3
        await websocket.send("still here")


async def test_pings_are_answered_while_nobody_receives() -> None:
    async def ask(peer: Peer) -> None:
        peer.protocol.send_ping(b"are you there")
        await peer.flush()
        peer.protocol.receive_data(await peer.stream.receive_some(65_536))
        answers.append([bytes(it.data) for it in peer.protocol.events_received()])  # type: ignore[union-attr]  # frames
        answered.set()
        await peer.take()

    answered, answers = trio.Event(), list[list[bytes]]()
    async with connected(playing(ask)):
        await answered.wait()
    assert answers == [[b"are you there"]]


@pytest.mark.parametrize("data", [frame(PONG), frame(TEXT, fin=False) + frame(CONT), frame(TEXT, b"x")])
async def test_a_flood_of_small_frames_lets_others_run(data: bytes) -> None:
    turns = 0

    async def count_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with connected(writing(data * 1000)) as websocket, trio.open_nursery() as nursery:
        nursery.start_soon(count_turns)
        await until_closed(websocket)
        nursery.cancel_scope.cancel()
    assert turns > 500


async def test_a_close_that_nobody_answers_is_bounded(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    async with connected(writing(b"", then=listening)) as websocket:
        await websocket.close()
        assert trio.current_time() - began == pytest.approx(CLOSE_SECONDS, abs=0.1)
        _, closed = await until_closed(websocket)
        assert (closed.by, closed.code) == ("us", 1000)
    assert trio.current_time() - began < CLOSE_SECONDS + 0.2


async def test_a_server_that_keeps_tcp_open_after_the_handshake_does_not_hold_us(autojump_clock: MockClock) -> None:
    async def stay(peer: Peer) -> None:
        await peer.take()
        await trio.sleep_forever()

    began = trio.current_time()
    async with connected(playing(stay)):
        pass
    assert trio.current_time() - began < 0.2


async def test_what_comes_until_the_close_is_answered_can_be_received() -> None:
    async def talk(peer: Peer) -> None:
        await peer.take()
        await peer.say("on the way")
        await peer.take()

    async with connected(playing(talk)) as websocket, trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, "go on")
        assert await websocket.receive() == "on the way"
        nursery.start_soon(websocket.close)
        _, closed = await until_closed(websocket)
        assert closed.by == "us"


async def hung(stream: trio.SocketStream) -> None:
    await trio.sleep_forever()


async def test_a_peer_that_does_not_read_ends_no_later_than_its_ping(autojump_clock: MockClock) -> None:
    async with connected(writing(b"", then=hung), ping_seconds=30, pong_seconds=10) as websocket:
        began = trio.current_time()
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.send(bytes(8_000_000))
        assert caught.value.by == "network"
        assert trio.current_time() - began < 41


async def test_a_send_that_is_cancelled_within_its_frame_ends_the_connection(autojump_clock: MockClock) -> None:
    async with connected(writing(b"", then=hung)) as websocket:
        began = trio.current_time()
        with trio.move_on_after(5) as scope:
            await websocket.send(bytes(8_000_000))
        assert scope.cancelled_caught
        with pytest.raises(WebSocketClosed):
            await websocket.send("the peer would read this as a part of the other")
        assert trio.current_time() - began < 6


async def test_a_send_that_is_cancelled_before_it_began_costs_nothing() -> None:
    async def take(peer: Peer) -> None:
        await peer.take()
        await peer.take()
        taken.extend(peer.taken)

    taken: list[str | bytes] = []
    async with connected(playing(take)) as websocket:
        with trio.CancelScope() as scope:
            scope.cancel()
            await websocket.send("never")
        await websocket.send("but this")
    assert taken == ["but this"]


@given(st.lists(messages, min_size=1, max_size=5), st.integers(0, 3))
def test_a_cancelled_receive_loses_no_message(sent: list[str | bytes], patience: int) -> None:
    async def say(peer: Peer) -> None:
        for message in sent:
            await peer.say(message)
        await peer.close(1000)
        await peer.take()

    async def go() -> None:
        got: list[str | bytes] = []
        async with connected(playing(say)) as websocket:
            for _ in range(20):
                with trio.CancelScope() as scope:
                    async with trio.open_nursery() as nursery:

                        async def give_up() -> None:
                            for _ in range(patience):
                                await trio.lowlevel.checkpoint()
                            scope.cancel()

                        nursery.start_soon(give_up)
                        try:
                            got.append(await websocket.receive())
                        except WebSocketClosed:
                            scope.cancel()
            got += (await until_closed(websocket))[0]
        assert got == sent

    trio.run(go)


async def failure_at(behave: Behaviour, error: Exception | None = None, **options: Any) -> Exception:
    """What comes out of the block: ``error``, or what receiving raises."""
    async with server(behave) as url, create_client() as http:
        with pytest.raises(Exception) as caught:  # noqa: PT012
            async with connect(http, url.replace("http", "ws"), **options) as websocket:
                if error is not None:
                    raise error
                await until_closed(websocket)
                await websocket.receive()
        return caught.value
    raise AssertionError


@pytest.mark.parametrize("error", [ValueError("mine"), ExceptionGroup("mine", [ValueError()])])
async def test_an_error_of_the_block_comes_out_as_it_is(error: Exception, autojump_clock: MockClock) -> None:
    assert await failure_at(writing(b"", then=listening), error) is error
    assert type(await failure_at(writing(b""))) is WebSocketClosed


async def test_a_cancelled_block_waits_no_longer_than_for_the_answer(autojump_clock: MockClock) -> None:
    async def answer(peer: Peer) -> None:
        assert await peer.take() is None

    began = trio.current_time()
    with trio.move_on_after(10):
        async with connected(playing(answer)) as websocket:
            await websocket.receive()
    assert trio.current_time() - began < 10.2


async def test_a_cancelled_block_closes_within_bounds(autojump_clock: MockClock) -> None:
    began = trio.current_time()
    with trio.move_on_after(10) as scope:
        async with connected(writing(b"", then=listening)) as websocket:
            await websocket.receive()
    assert scope.cancelled_caught
    assert trio.current_time() - began < 10 + CLOSE_SECONDS + 0.2


def answering(make: Callable[[bytes], bytes]) -> Behaviour:
    async def behave(stream: trio.SocketStream) -> None:
        await stream.send_all(make(await stream.receive_some(65_536)))
        await listening(stream)

    return behave


def status(line: str, *headers: str) -> Behaviour:
    return answering(lambda head: "\r\n".join([f"HTTP/1.1 {line}", "content-length: 0", *headers, "", ""]).encode())


@pytest.mark.parametrize(
    ("behave", "expected"),
    [
        (status("401 No"), ("peer", 401, None)),
        (status("429 Slow", "retry-after: 17"), ("peer", 429, 17.0)),
        (status("302 Found", "location: /elsewhere"), ("peer", 302, None)),
        (status("200 OK"), ("peer", 200, None)),
        (status("101 Switching Protocols"), ("us", 101, None)),
        (answering(lambda head: accepting(head.replace(b"Key: ", b"Key: x").replace(b"key: ", b"key: x"))), ("us", 101, None)),
        (answering(lambda head: accepting(head).replace(b"WebSocket\r", b"h2c\r")), ("us", 101, None)),
        (answering(lambda head: accepting(head).replace(b"upgrade\r", b"close\r")), ("us", 101, None)),
        (
            answering(lambda head: accepting(head)[:-2] + b"sec-websocket-extensions: permessage-deflate\r\n\r\n"),
            ("us", 101, None),
        ),
        (answering(lambda head: accepting(head)[:-2] + b"sec-websocket-protocol: other\r\n\r\n"), ("us", 101, None)),
        (answering(lambda head: b"\x16\x03\x01 garbage\r\n\r\n"), ("network", None, None)),
        (answering(lambda head: b"HTTP/1.1 101 " + b"x" * 500_000), ("network", None, None)),
        (answering(lambda head: head), ("network", None, None)),
        (silent, ("network", None, None)),
    ],
)
async def test_a_handshake_that_fails_says_how_and_no_secret(
    behave: Behaviour, expected: tuple[str, int | None, float | None], autojump_clock: MockClock
) -> None:
    began = trio.current_time()
    closed = await failure_at(behave, headers={"authorization": f"Bot {SECRET}"}, subprotocols=["mine"])
    assert isinstance(closed, WebSocketClosed)
    assert (closed.by, closed.status, closed.retry_after_seconds) == expected
    assert closed.code == NO_CLOSE_FRAME
    assert closed.__context__ is None
    assert closed.__cause__ is None
    assert SECRET not in repr(closed) + "".join(traceback.format_exception(closed))
    assert trio.current_time() - began <= HANDSHAKE_SECONDS + 0.2


async def test_a_redirect_is_not_followed() -> None:
    asked: list[bytes] = []

    async def elsewhere(stream: trio.SocketStream) -> None:
        asked.append(await stream.receive_some(65_536))

    async with server(elsewhere) as other:
        closed = await failure_at(status("307 Temporary Redirect", f"location: {other}"))
        assert str(closed) == "the WebSocket was refused with HTTP 307"
    assert asked == []


async def test_the_peer_gets_our_headers_and_chooses_a_subprotocol() -> None:
    async def note(peer: Peer) -> None:
        seen.append(peer.request.headers["authorization"])
        await peer.take()

    seen: list[str] = []
    behave = playing(note, subprotocols=["v2", "v1"])
    async with connected(behave, headers={"authorization": "Bot x"}, subprotocols=["v1", "v2"]) as websocket:
        assert websocket.subprotocol == "v2"
    assert seen == ["Bot x"]


async def test_nobody_there() -> None:
    async with server(silent) as url:
        pass
    async with create_client() as http:
        with pytest.raises(WebSocketClosed, match=r"^cannot connect: Connection refused$") as caught:
            async with connect(http, url.replace("http", "ws")):
                raise AssertionError("connected")
    assert caught.value.by == "network"


@given(st.sampled_from(["", "ws:", "wss://", "ws://[", "ws://127.0.0.1:x", "http://127.0.0.1/", "ftp:"]), st.text(max_size=8))
def test_an_address_that_cannot_be_used_is_the_same_error(start: str, rest: str) -> None:
    async def go() -> None:
        async with create_client() as http:
            with pytest.raises(WebSocketClosed) as caught:
                async with connect(http, start + rest.replace(".", "")):
                    raise AssertionError("connected")
            assert caught.value.__context__ is None

    trio.run(go)


@pytest.mark.parametrize("kind", ["none", "http", "socks"])
async def test_a_wss_address_is_reached_over_tls_and_through_a_proxy(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def echo(peer: Peer) -> None:
        while (message := await peer.take()) is not None:
            await peer.say(message)

    certificate = trusted_certificate(tmp_path, monkeypatch)
    scheme = "socks5" if kind == "socks" else "http"
    async with (
        server(playing(echo)) as url,
        open_tls_front(certificate, urlsplit(url).port or 0) as port,
        open_proxy(kind) as proxy,
        create_client() as direct,
        client_through(f"{scheme}://{proxy.address}", direct) as proxied,
    ):
        async with connect(direct if kind == "none" else proxied, f"wss://127.0.0.1:{port}/") as websocket:
            await websocket.send("x" * 100_000)
            assert await websocket.receive() == "x" * 100_000
            await websocket.close()
        assert len(proxy.seen) == (kind != "none")
