"""Lines out of bytes, however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.acp.framing import Lines, LineTooLong, messages_in
from gatewayd.agents.acp.wire import Message


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces, cut at these places."""
    edges = [0, *sorted(place % (len(data) + 1) for place in places), len(data)]
    return [data[start:end] for start, end in pairwise(edges)]


@given(st.lists(st.binary(max_size=40).filter(lambda line: b"\n" not in line)), st.lists(st.integers(min_value=0)))
def test_any_cut_gives_the_same_lines(lines: list[bytes], places: list[int]) -> None:
    framing = Lines(longest=40)
    found = [line for piece in cut(b"".join(line + b"\n" for line in lines) + b"rest", places) for line in framing.feed(piece)]
    assert found == lines
    assert framing.rest() == b"rest"


@given(st.integers(min_value=0, max_value=60), st.booleans(), st.lists(st.integers(min_value=0)))
def test_a_line_is_too_long_wherever_it_is_cut(length: int, ended: bool, places: list[int]) -> None:
    framing = Lines(longest=40)
    data = b"x" * length + (b"\n" if ended else b"")

    def feed() -> None:
        for piece in cut(data, places):
            framing.feed(piece)

    if length > 40:
        with pytest.raises(LineTooLong):
            feed()
    else:
        feed()
        assert framing.rest() == (b"" if ended else data)


def read(line: bytes) -> list[object]:
    """The ids of the messages of a line, and what is none."""
    return [part.id if isinstance(part, Message) else part for part in messages_in(line)]


ONE, TWO = b'{"jsonrpc":"2.0","id":1,"result":{"a":{"b":"{"}}}', b'{ "id" : 2, "error" : {"message":"}\\""} }'


@pytest.mark.parametrize(
    ("line", "found"),
    [
        (b"\x1b[?25l\x1b[2K> " + ONE, [b"\x1b[?25l\x1b[2K> ", 1]),
        (b"\xef\xbb\xbf" + ONE, [1]),
        (b"\xef\xbb\xbf\x1b[0m" + ONE, [b"\xef\xbb\xbf\x1b[0m", 1]),
        (ONE + b"\r", [1]),
        (b"\r" + ONE + b" \r", [1]),
        (ONE + TWO, [1, 2]),
        (ONE + b"\x00" + TWO + b"\x1b[?25h", [1, b"\x00", 2, b"\x1b[?25h"]),
        (b"warning: {not json} " + ONE, [b"warning: {not json} ", 1]),
        (b'{"broken": ' + ONE, [b'{"broken": ', 1]),
        (b"[" + ONE + b"," + TWO + b"]", [b"[", 1, b",", 2, b"]"]),
        (rb'> {"id":3,"result":"half \ud83d"}', [b"> ", 3]),
        (b'> {"id":3,"result":"\x1b[0m"}', [b"> ", 3]),
        (b'{"level":"debug","data":' + ONE + b"}", [b'{"level":"debug","data":' + ONE + b"}"]),
        (b'> {"level":"debug","data":' + ONE + b"}", [b'> {"level":"debug","data":' + ONE + b"}"]),
        (b"{not json", [b"{not json"]),
        (b" \t\r", []),
        (b"42", [b"42"]),
    ],
)
def test_messages_in_lines_with_more_in_them(line: bytes, found: list[object]) -> None:
    assert read(line) == found


noise = st.text(st.characters(exclude_characters='{}"\n', exclude_categories=["Cs"])).map(str.encode)


@given(st.lists(st.tuples(noise, st.sampled_from([ONE, TWO])), max_size=5), noise)
def test_noise_around_messages_costs_no_message(parts: list[tuple[bytes, bytes]], behind: bytes) -> None:
    line = b"".join(before + message for before, message in parts) + behind
    assert [part for part in read(line) if isinstance(part, int)] == [1 if message == ONE else 2 for _, message in parts]


@given(st.binary(max_size=60))
def test_any_line_is_read_and_nothing_of_it_is_lost_but_white_space(line: bytes) -> None:
    if not any(isinstance(part, Message) for part in messages_in(line)):
        assert b"".join(part for part in messages_in(line) if isinstance(part, bytes)) in (line, b"")


def test_a_line_of_beginnings_is_read_in_time() -> None:
    for line in (b'{"' * 100_000, b'{"a":' * 50_000, b'x{"a":[' + b"1," * 100_000, b"> " + b'{"a":1}' * 50_000):
        assert read(line) == [line]
