"""JSON that others wrote: what is faulty, what is odd, and what is cut between two pieces."""

import codecs
import json
import re
import time
from contextlib import suppress
from itertools import cycle
from typing import Annotated

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Meta, Raw, Struct

from gatewayd.kit.json import Joiner, Malformed, decode, mended, whole

texts = st.text(st.characters(exclude_categories=()) | st.sampled_from('\\"u\ud83d\ude00\udfff\ud8ab\U0001f600d83n'))
values = st.recursive(
    texts | st.none() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=6,
)


class Inner(Struct):
    name: str
    index: int = 0


class Outer(Struct, rename="camel"):
    the_id: int
    note: str = ""
    body: Raw = Raw()
    inner: Inner | None = None
    many: tuple[Inner, ...] = ()
    some: Annotated[list[Annotated[Inner, Meta(title="one")]] | None, Meta(title="all")] = None


@pytest.mark.parametrize(
    ("faulty", "right"),
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
        (b'[NaN, -Infinity,Infinity,"NaN",{"NaN":NaN}]', b'[null, null,null,"NaN",{"NaN":null}]'),
        (rb'["\"NaN", NaN]', rb'["\"NaN", null]'),
        (b"[NaNs]", b"[NaNs]"),
        (b'"a\nb\x00"', rb'"a\u000ab\u0000"'),
        (b'\xef\xbb\xbf{"a": 1.50}', b'{"a": 1.50}'),
        (b'"\xff\xed\xa0\xbd"', '"\ufffd\ufffd\ufffd\ufffd"'.encode()),
        ('{"a": "é"}'.encode("utf-16"), '{"a": "é"}'.encode()),
    ],
)
def test_what_is_faulty_is_mended_and_all_else_stays(faulty: bytes, right: bytes) -> None:
    assert mended(faulty) == right


@given(values, st.booleans(), st.booleans())
def test_it_reads_what_python_reads_but_for_halves_and_what_is_no_number(value: object, ascii_only: bool, bom: bool) -> None:
    """Python's reader joins the halves of a pair, and lets what is left of them be."""
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    read = decode(codecs.BOM_UTF8 * bom + data, object)
    if ascii_only:
        assert shown(read) == re.sub("[\ud800-\udfff]", "\ufffd", shown(json.loads(data, parse_constant=lambda _: None)))


def shown(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


@given(
    st.binary() | st.lists(st.sampled_from([b"\\", b"\\u", b"d83d", b"de00", b'"', b"\xff", b"NaN", b"-", b"\n"])).map(b"".join)
)
def test_a_second_time_changes_nothing(data: bytes) -> None:
    once = mended(data)
    assert mended(once) == once


@given(st.binary() | values.map(lambda value: json.dumps(value).encode()), st.booleans(), st.booleans())
def test_any_bytes_are_read_or_malformed(data: bytes, lenient: bool, keep: bool) -> None:
    with suppress(Malformed):
        decode(data, Outer, lenient=lenient, keep_halves=keep)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"theId":' + b"[" * 100_000, b"", "\ud83d", b"{'a': 1}", b'{"a": 1'])
def test_what_is_no_json_is_said_to_be_none(data: bytes | str) -> None:
    with pytest.raises(Malformed) as error:
        decode(data, object)
    assert not error.value.is_json


@pytest.mark.parametrize("piece", [b"\\", rb"\ud83d", rb"\\ud83d", rb"\ud83d\ude00", b'"', b'\\"', b"NaN ", b"-", b'"a",', b"\n"])
@pytest.mark.parametrize("before", [b"", b'"'])
def test_the_time_is_linear(before: bytes, piece: bytes) -> None:
    data = before + piece * (300_000 // len(piece))
    began = time.thread_time()
    mended(data)
    assert time.thread_time() - began < 3


def test_a_field_that_is_not_needed_costs_nothing_where_that_is_said() -> None:
    odd = b'{"theId": 1, "note": {}, "body": [NaN, "\\ud83d"], "inner": {"name": "x", "index": "0"}, "more": NaN}'
    found = decode(odd, Outer, lenient=True)
    assert (found.the_id, found.note, bytes(found.body), found.inner) == (1, "", b'[null, "\\ufffd"]', Inner("x"))
    with pytest.raises(Malformed, match=r"Expected `str`, got `object` - at `\$.note`") as error:
        decode(odd, Outer)
    assert error.value.is_json


@pytest.mark.parametrize("field", ["many", "some"])
def test_so_is_one_of_a_list(field: str) -> None:
    odd = f'{{"theId": 1, "{field}": [{{"name": "a", "index": null}}, {{"name": "b", "index": 2}}]}}'
    assert list(getattr(decode(odd, Outer, lenient=True), field)) == [Inner("a"), Inner("b", 2)]
    assert list(getattr(decode(f'{{"theId": 1, "{field}": [5]}}', Outer, lenient=True), field) or ()) == []


@pytest.mark.parametrize("data", [b'{"theId": "1"}', b"{}", b"[]", b'{"theId": null}', b"null"])
def test_a_field_that_is_needed_costs_all(data: bytes) -> None:
    with pytest.raises(Malformed) as error:
        decode(data, Outer, lenient=True)
    assert error.value.is_json


def test_a_part_that_was_kept_raw_is_read_as_what_it_was_part_of() -> None:
    outer = decode(rb'{"theId": 1, "body": {"name": "\ud83d"}}', Outer, keep_halves=True)
    assert whole(decode(outer.body, Inner).name) == "\ufffd"


@given(texts, st.lists(st.integers(0, 3), min_size=1))
def test_a_text_in_pieces_is_the_text(text: str, sizes: list[int]) -> None:
    """Cut anywhere between its UTF-16 units, as JavaScript cuts."""
    units = text.encode("utf-16-le", "surrogatepass")
    joiner, joined, at = Joiner(), "", 0
    for size in cycle([*sizes, 1]):
        piece = units[at : at + 2 * size].decode("utf-16-le", "surrogatepass")
        joined += joiner.take(decode(json.dumps({"name": piece}), Inner, keep_halves=True).name)
        at += 2 * size
        if at >= len(units):
            break
    assert joined + joiner.rest() == units.decode("utf-16-le", "replace")


def test_proper_json_is_read_by_msgspec_alone() -> None:
    """The way that every piece of every answer takes."""
    data = msgspec.json.encode({"theId": 1, "note": "x" * 200})
    began = time.thread_time()
    for _ in range(10_000):
        decode(data, Outer)
    assert time.thread_time() - began < 2
