"""JSON-RPC over two streams: any bytes from the other side, and another side that does not read."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import anyio
import anyio.abc
import msgspec
import pytest
import structlog
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gatewayd.agents.acp.connection import Connection, ConnectionLost, RequestFailed
from gatewayd.agents.acp.dispatch import Dispatch
from gatewayd.agents.acp.wire import RequestId
from tests.kit.network.pieces import cut


class Coming(anyio.abc.ByteReceiveStream):
    """What the agent says, piece by piece, and then its end."""

    def __init__(self, pieces: Sequence[bytes]) -> None:
        self._pieces = list(pieces)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.lowlevel.checkpoint()
        while self._pieces:
            if piece := self._pieces.pop(0):
                return piece
        raise anyio.EndOfStream

    async def aclose(self) -> None: ...


class Silent(Coming):
    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await anyio.sleep_forever()
        raise AssertionError


class Talking(Coming):
    """As ``Coming``, and then it goes on without a word."""

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        try:
            return await super().receive(max_bytes)
        except anyio.EndOfStream:
            await anyio.sleep_forever()
            raise AssertionError from None


class Going(anyio.abc.ByteSendStream):
    """What the agent is told. One that is ``stuck`` never reads; one that is ``closed`` has closed its input."""

    def __init__(self, *, stuck: bool = False, closed: bool = False) -> None:
        self.stuck = stuck
        self.closed = closed
        self.lines: list[dict[str, Any]] = []

    async def send(self, item: bytes) -> None:
        await anyio.lowlevel.checkpoint()
        if self.stuck:
            await anyio.sleep_forever()
        if self.closed:
            raise anyio.BrokenResourceError
        assert item.endswith(b"\n")
        assert item.count(b"\n") == 1
        self.lines.append(msgspec.json.decode(item))

    async def aclose(self) -> None: ...


class Heard:
    """A peer that notes what it hears."""

    def __init__(self) -> None:
        self.requests: list[tuple[RequestId, str]] = []
        self.notifications: list[str] = []

    async def on_request(self, request_id: RequestId, method: str, params: Raw) -> None:
        self.requests.append((request_id, method))

    async def on_notification(self, method: str, params: Raw) -> None:
        self.notifications.append(method)


def dispatch_to(connection: Connection) -> Dispatch:
    """Where nobody prompts, and nobody hears what is said late."""
    return Dispatch(connection, lambda session, update: None, structlog.get_logger("test"))


def on_fake_clock(test: Callable[[], Awaitable[None]]) -> None:
    trio.run(test, clock=trio.testing.MockClock(autojump_threshold=0))


json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**70) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
garbage = st.binary(max_size=30).map(lambda line: line.replace(b"\n", b""))
keys = st.sampled_from(["id", "method", "params", "result", "error", "jsonrpc"])
objects = st.dictionaries(keys, json_values, max_size=4).filter(lambda message: message.get("id") != 1).map(msgspec.json.encode)


@given(st.lists(garbage | objects), st.lists(garbage | objects), st.lists(st.integers(min_value=0)))
def test_an_answer_arrives_whatever_is_around_it(before: list[bytes], after: list[bytes], places: list[int]) -> None:
    async def go() -> None:
        connection = Connection(lambda line: None)
        reply = connection.ask("initialize", {})
        lines = [*before, b'{"jsonrpc":"2.0","id":1,"result":{"yes":true}}', *after]
        await connection.run(Going(), Coming(cut(b"\n".join(lines), places)), Heard())
        assert bytes(await reply.wait()) == b'{"yes":true}'
        assert connection.lost == "closed its output"

    on_fake_clock(go)


ids = st.integers() | st.text(max_size=5) | st.none()
sessions = st.sampled_from(["s", "", "other"])
calls = st.fixed_dictionaries({"toolCallId": st.text(max_size=3)}, optional={"kind": json_values, "rawInput": json_values})
params = json_values | st.fixed_dictionaries(
    {"sessionId": sessions}, optional={"update": json_values, "toolCall": calls | json_values, "options": json_values}
)
methods = st.sampled_from(["session/update", "session/request_permission", "fs/read_text_file", "$/cancel_request", ""])


@given(st.lists(st.tuples(methods, ids, params), max_size=10))
def test_every_request_is_answered_whatever_is_in_it(messages: list[tuple[str, RequestId, object]]) -> None:
    async def go() -> None:
        connection, going = Connection(lambda line: None), Going()
        lines = [msgspec.json.encode({"id": number, "method": method, "params": value}) for method, number, value in messages]
        notifications = [msgspec.json.encode({"method": method, "params": value}) for method, _, value in messages]
        coming = Coming([line + b"\n" for line in [*lines, *notifications]])

        async with anyio.create_task_group() as group:
            group.start_soon(connection.run, going, coming, dispatch_to(connection))
            await connection.wait_lost()

        # The connection ends with its input; what was posted last may not be written then.
        assert [line["id"] for line in going.lines] == [number for _, number, _ in messages][: len(going.lines)]
        for line in going.lines:
            assert "error" in line or line["result"] == {"outcome": {"outcome": "cancelled"}}

    on_fake_clock(go)


async def test_ids_of_both_sides_are_apart_and_may_be_zero_or_null(autojump_clock: trio.testing.MockClock) -> None:
    heard, connection = Heard(), Connection(lambda line: None)
    reply = connection.ask("session/new", {})
    lines = b'{"id":0,"method":"a"}\n{"id":1,"method":"b"}\n{"id":null,"method":"c"}\n{"id":"x","method":"d"}\n{"method":"e"}\n'
    await connection.run(Going(), Coming([lines, b'{"id":1,"result":null}\n']), heard)
    assert heard.requests == [(0, "a"), (1, "b"), (None, "c"), ("x", "d")]
    assert heard.notifications == ["e"]
    assert bytes(await reply.wait()) == b"null"


async def test_a_refusal_has_the_words_of_the_agent(autojump_clock: trio.testing.MockClock) -> None:
    connection = Connection(lambda line: None)
    replies = [connection.ask("m", {}) for _ in range(4)]
    lines = (
        b'{"id":1,"error":{"code":-32603,"message":"Internal error","data":{"details":"no model"}}}\n'
        b'{"id":2,"error":{"code":-32603,"message":"Internal error","data":"why not"}}\n'
        b'{"id":3,"error":{"code":-5,"message":""}}\n'
        b'{"id":4,"error":"text"}\n'
    )
    await connection.run(Going(), Coming([lines]), Heard())
    said = ["m: Internal error: no model", "m: Internal error: why not", "m: error -5", 'm: "text"']
    for reply, text in zip(replies, said, strict=True):
        with pytest.raises(RequestFailed, match=f"^{text}$"):
            await reply.wait()


async def test_half_a_surrogate_pair_costs_no_message(autojump_clock: trio.testing.MockClock) -> None:
    heard, connection = Heard(), Connection(lambda line: None)
    reply = connection.ask("session/prompt", {})
    lines = (
        rb'{"id":0,"method":"session/request_permission","params":{"title":"\ud83d"}}',
        rb'{"id":1,"result":{"text":"\ud83d\ude00 \ude00"}}',
    )
    await connection.run(Going(), Coming([line + b"\n" for line in lines]), heard)
    assert heard.requests == [(0, "session/request_permission")]
    assert msgspec.json.decode(await reply.wait()) == {"text": "\U0001f600 \ufffd"}


async def test_json_deeper_than_any_stack_is_noise(autojump_clock: trio.testing.MockClock) -> None:
    noise: list[str] = []
    connection = Connection(noise.append)
    deep = b'{"method":"session/update","params":' + b"[" * 200_000 + b"]" * 200_000 + b"}\n"
    await connection.run(Going(), Coming([deep]), dispatch_to(connection))
    assert connection.lost == "closed its output"


async def test_an_agent_that_does_not_read_is_found_out(autojump_clock: trio.testing.MockClock) -> None:
    connection = Connection(lambda line: None)
    reply = connection.ask("session/prompt", {})
    await connection.run(Going(stuck=True), Silent([]), Heard())
    assert connection.lost == "does not read its input"
    assert trio.current_time() > 29
    assert not reply.sent


async def test_what_an_agent_does_not_read_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    connection = Connection(lambda line: None)
    for _ in range(1000):
        connection.notify("session/cancel", {})
    assert connection.lost == "does not read its input"
    await connection.run(Going(), Silent([]), Heard())
    assert connection.lost == "does not read its input"


async def test_an_id_that_is_too_long_is_not_said_again(autojump_clock: trio.testing.MockClock) -> None:
    notes: list[str] = []
    heard, connection, going = Heard(), Connection(notes.append), Going()
    lines = [msgspec.json.encode({"id": "x" * length, "method": "m"}) + b"\n" for length in (200, 201, 1_000_000)]
    async with anyio.create_task_group() as group:
        group.start_soon(connection.run, going, Talking(lines), heard)
        await anyio.wait_all_tasks_blocked()
        connection.lose("was tested")
    assert heard.requests == [("x" * 200, "m")]
    assert [(line["id"], line["error"]["code"]) for line in going.lines] == [(None, -32600)] * 2
    assert notes == ["stdout: the id of a request is longer than 200 characters: m"] * 2


async def test_what_an_agent_does_not_read_is_bounded_in_bytes(autojump_clock: trio.testing.MockClock) -> None:
    connection = Connection(lambda line: None)
    for _ in range(31):
        connection.answer(1, "x" * 1024 * 1024)
    before = connection.lost
    connection.answer(1, "x" * 1024 * 1024)
    assert (before, connection.lost) == (None, "does not read its input")
    await connection.run(Going(), Silent([]), Heard())


async def test_what_an_agent_has_read_is_not_counted(autojump_clock: trio.testing.MockClock) -> None:
    connection, going = Connection(lambda line: None), Going()
    async with anyio.create_task_group() as group:
        group.start_soon(connection.run, going, Silent([]), Heard())
        for _ in range(8):
            connection.answer(1, "x" * 8 * 1024 * 1024)
            await anyio.wait_all_tasks_blocked()
        assert (connection.lost, len(going.lines)) == (None, 8)
        connection.lose("was tested")


async def test_a_request_that_did_not_go_out_was_surely_not_run(autojump_clock: trio.testing.MockClock) -> None:
    connection = Connection(lambda line: None)
    reply = connection.ask("session/prompt", {})
    await connection.run(Going(closed=True), Coming([b""]), Heard())
    late = connection.ask("session/prompt", {})
    for lost in (reply, late):
        assert lost.done
        assert not lost.sent
        with pytest.raises(ConnectionLost, match="closed its output"):
            await lost.wait()
