"""The messages in a line, with whatever is around them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.acp.framing import messages_in
from gatewayd.agents.acp.wire import Message


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
