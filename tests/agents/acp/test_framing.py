"""Lines out of bytes, however they are cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.acp.framing import Lines, LineTooLong


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
