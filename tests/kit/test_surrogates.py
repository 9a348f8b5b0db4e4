"""Halves of surrogate pairs, whatever stands around them."""

import json
import re
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.surrogates import mend_surrogates

texts = st.text(st.characters(exclude_categories=()) | st.sampled_from('\\"u\ud83d\ude00\udfff\ud8ab\U0001f600d83n'))
values = st.recursive(texts, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6)


@pytest.mark.parametrize(
    ("given_text", "mended"),
    [
        (rb'"\ud83d"', rb'"\ufffd"'),
        (rb'"\uDE00!"', rb'"\ufffd!"'),
        (rb'"\ud83d\ude00"', rb'"\ud83d\ude00"'),
        (rb'"\uD83D\uD83D\uDE00\uDE00"', rb'"\ufffd\uD83D\uDE00\ufffd"'),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\\ud83d"', rb'"\\ud83d"'),
        (rb'"\\\ud83d"', rb'"\\\ufffd"'),
        (rb'"\ud83d\\ude00"', rb'"\ufffd\\ude00"'),
        (rb'"\n\ud83d\n"', rb'"\n\ufffd\n"'),
        (rb'"\ud7ff\ue000"', rb'"\ud7ff\ue000"'),
        (rb'"\ud83', rb'"\ud83'),
    ],
)
def test_a_half_is_replaced_and_all_else_stays(given_text: bytes, mended: bytes) -> None:
    assert mend_surrogates(given_text) == mended


@given(values)
def test_it_says_what_python_reads_of_it_but_for_the_halves(value: object) -> None:
    """Python's reader joins the halves of a pair, and lets what is left of them be."""
    data = json.dumps(value).encode()
    mended = mend_surrogates(data)
    assert as_read(mended) == re.sub("[\ud800-\udfff]", "\ufffd", as_read(data))
    msgspec.json.decode(mended)


def as_read(data: bytes) -> str:
    return json.dumps(json.loads(data, object_pairs_hook=list), ensure_ascii=False)


@given(st.binary() | st.lists(st.sampled_from([b"\\", b"\\u", b"d83d", b"de00", b'"', b"\xff"])).map(b"".join))
def test_any_bytes_stay_as_long_as_they_are_and_a_second_time_changes_nothing(data: bytes) -> None:
    once = mend_surrogates(data)
    assert len(once) == len(data)
    assert mend_surrogates(once) == once


@pytest.mark.parametrize("piece", [b"\\", rb"\ud83d", rb"\\ud83d", rb"\ud83d\ude00"])
def test_the_time_is_linear(piece: bytes) -> None:
    data = rb"\ud83d" + piece * (4_000_000 // len(piece))
    began = time.perf_counter()
    mend_surrogates(data)
    assert time.perf_counter() - began < 10
