import json
import zlib
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from gatewayd.channels.discord.wire.frames import (
    MOST_INFLATED_BYTES,
    Frame,
    Inflator,
    Session,
    decode_frame,
    heartbeat,
    identify,
    resume,
)
from gatewayd.kit.json import Malformed

MOST_SENT_BYTES = 4096
""" "Gateway", "Sending Events"."""
END = b"\x00\x00\xff\xff"

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
)


class Deflator:
    """The stream of one connection."""

    def __init__(self) -> None:
        self._stream = zlib.compressobj()

    def pack(self, payload: bytes) -> bytes:
        return self._stream.compress(payload) + self._stream.flush(zlib.Z_SYNC_FLUSH)


def pieces_of(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut it in messages of which none but the last one ends as a payload does."""
    pieces, start = [], 0
    for at in sorted({cut % (len(data) - len(END) + 1) for cut in cuts}):
        if at > start and not data[start:at].endswith(END):
            pieces.append(data[start:at])
            start = at
    return [*pieces, data[start:]]


@given(st.lists(st.tuples(st.binary(min_size=1, max_size=2000), st.lists(st.integers(0, 5000), max_size=6)), max_size=8))
def test_a_stream_is_unpacked_however_it_is_cut(payloads: list[tuple[bytes, list[int]]]) -> None:
    deflator, inflator = Deflator(), Inflator()
    for payload, cuts in payloads:
        *first, last = pieces_of(deflator.pack(payload), cuts)
        assert [inflator.feed(piece) for piece in first] == [None] * len(first)
        assert inflator.feed(last) == payload


def test_a_guild_of_some_megabytes_is_unpacked() -> None:
    payload = json.dumps({"op": 0, "d": [{"id": str(number), "name": "x" * 90} for number in range(50_000)]}).encode()
    assert Inflator().feed(Deflator().pack(payload)) == payload


def test_a_bomb_is_malformed() -> None:
    bomb = Deflator().pack(b"0" * (MOST_INFLATED_BYTES + 65_536))
    assert len(bomb) < MOST_INFLATED_BYTES // 100
    with pytest.raises(Malformed):
        Inflator().feed(bomb)


def test_a_payload_without_an_end_is_malformed() -> None:
    inflator, piece = Inflator(), b"x" * (MOST_INFLATED_BYTES // 4)
    assert [inflator.feed(piece) for _ in range(4)] == [None] * 4
    with pytest.raises(Malformed, match="without an end"):
        inflator.feed(piece)


@given(st.binary(max_size=200))
def test_any_bytes_are_unpacked_or_malformed(data: bytes) -> None:
    with suppress(Malformed):
        assert isinstance(Inflator().feed(data + END), bytes)
    with suppress(Malformed):
        assert isinstance(decode_frame(data), Frame)


@given(st.dictionaries(st.sampled_from(["op", "d", "s", "t"]), json_values), json_values)
def test_any_json_is_a_frame_or_malformed(fields: dict[str, Any], other: Any) -> None:
    for value in (fields, other):
        try:
            frame = decode_frame(json.dumps(value))
        except Malformed:
            op = value.get("op") if isinstance(value, dict) else None
            assert not (type(op) is int and abs(op) < 2**63)
        else:
            assert frame.op == value["op"]


def test_the_frames_of_the_guide() -> None:
    """ "Gateway", "Hello Event", "Example Gateway Event", "Invalid Session"."""
    assert decode_frame('{"op": 10, "d": {"heartbeat_interval": 45000}}') == Frame(10, Raw(b'{"heartbeat_interval": 45000}'))
    event = decode_frame('{"op": 0, "d": {}, "s": 42, "t": "GATEWAY_EVENT_NAME"}')
    assert (event.s, event.t) == (42, "GATEWAY_EVENT_NAME")
    assert bytes(decode_frame('{"op": 9, "d":  true }').d) == b"true"
    assert decode_frame('{"op": 11}') == Frame(11)


def test_what_is_sent_is_what_the_guide_says_and_small_enough() -> None:
    session = Session("s" * 64, 2**40, "wss://gateway.discord.gg")
    sent = [identify("t" * 80, 1 << 25), resume("t" * 80, session), heartbeat(2**40)]
    assert all(len(text.encode()) < MOST_SENT_BYTES for text in sent)
    first, second, third = (json.loads(text) for text in sent)
    assert (first["op"], first["d"]["token"], first["d"]["intents"]) == (2, "t" * 80, 1 << 25)
    assert set(first["d"]["properties"]) == {"os", "browser", "device"}
    assert second == {"op": 6, "d": {"token": "t" * 80, "session_id": "s" * 64, "seq": 2**40}}
    assert third == {"op": 1, "d": 2**40}
    assert json.loads(heartbeat(None)) == {"op": 1, "d": None}
