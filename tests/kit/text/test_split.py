import time

import pytest
import regex
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.kit.text.split import size_of, split
from gatewayd.model.message.payload import RichText, Span
from gatewayd.ports.channel import TextLimit
from tests.kit.text.texts import FAMILY, limits, rich_texts

SPACE = " \t\n\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a\u3000"


def texts_of(text: str, size: int, *spans: Span) -> list[str]:
    return [piece.text for piece in split(RichText(text, spans), TextLimit(size, "chars"))]


def placed(text: str, pieces: list[RichText]) -> list[tuple[int, int]]:
    """Where the pieces stand in the text; fails unless what lies between them is white space."""
    ranges = []
    at = 0
    for piece in pieces:
        start = text.index(piece.text, at)
        # The earliest place may lie inside the dropped white space; take the one that leaves only white space before it.
        assert text[at:start].strip(SPACE) == "", f"lost {text[at:start]!r}"
        ranges.append((start, start + len(piece.text)))
        at = start + len(piece.text)
    assert text[at:].strip(SPACE) == "", f"lost {text[at:]!r}"
    return ranges


@given(rich_texts(), limits)
def test_each_piece_fits_and_nothing_is_lost(rich: RichText, limit: TextLimit) -> None:
    pieces = split(rich, limit)
    placed(rich.text, pieces)
    assert all(0 < size_of(piece.text, limit.unit) <= limit.size for piece in pieces)
    for piece in pieces:
        assert all(0 <= span.start < span.end <= len(piece.text) for span in piece.spans)


@given(rich_texts(), limits)
def test_no_grapheme_is_cut_but_one_longer_than_the_limit(rich: RichText, limit: TextLimit) -> None:
    pieces = split(rich, limit)
    inside = {
        at: grapheme.group()
        for grapheme in regex.finditer(r"\X", rich.text)
        for at in range(grapheme.start() + 1, grapheme.end())
    }
    for edge in {edge for edges in placed(rich.text, pieces) for edge in edges}:
        assert edge not in inside or size_of(inside[edge], limit.unit) > limit.size


@given(rich_texts(), limits)
def test_no_span_is_cut_but_one_longer_than_the_limit(rich: RichText, limit: TextLimit) -> None:
    pieces = split(rich, limit)
    ranges = placed(rich.text, pieces)
    boundaries = {match.start() for match in regex.finditer(r"\X", rich.text)} | {len(rich.text)}
    for span in rich.spans:
        around = [outer for outer in rich.spans if outer.start <= span.start and span.end <= outer.end]  # and itself
        aligned = all({outer.start, outer.end} <= boundaries for outer in around)
        if not aligned or size_of(rich.text[span.start : span.end], limit.unit) > limit.size:
            continue
        hit = [1 for start, end in ranges if max(start, span.start) < min(end, span.end)]
        assert len(hit) <= 1, f"{span} is in {len(hit)} pieces"


@given(rich_texts(), limits)
def test_every_character_keeps_its_formats(rich: RichText, limit: TextLimit) -> None:
    pieces = split(rich, limit)
    for (start, _), piece in zip(placed(rich.text, pieces), pieces, strict=True):
        for at in range(len(piece.text)):
            was = {(s.kind, s.arg) for s in rich.spans if s.start <= start + at < s.end}
            assert {(s.kind, s.arg) for s in piece.spans if s.start <= at < s.end} == was


@given(st.text(st.characters(), max_size=200), limits)
def test_any_string_at_all_is_split(text: str, limit: TextLimit) -> None:
    """Also with lone surrogates, which only ``sanitise`` takes out."""
    pieces = split(RichText(text), limit)
    assert all(size_of(piece.text, limit.unit) <= limit.size for piece in pieces)
    assert "".join("".join(piece.text.split()) for piece in pieces) == "".join(text.split())


@pytest.mark.parametrize(
    ("text", "size", "pieces"),
    [
        ("", 10, []),
        (" \n\t ", 10, []),
        ("  all of it  ", 20, ["  all of it"]),
        ("one two", 7, ["one two"]),
        ("one two", 6, ["one", "two"]),
        ("paragraph one\n\nline a\nline b", 25, ["paragraph one", "line a\nline b"]),
        ("line number one\nline two is here", 25, ["line number one", "line two is here"]),
        ("Well. Then no. And so on", 18, ["Well. Then no.", "And so on"]),
        ("一二三。四五六七八", 6, ["一二三。", "四五六七八"]),
        ("abcdefghij", 4, ["abcd", "efgh", "ij"]),
        ("def f():\n    return 1", 16, ["def f():", "    return 1"]),
        ("a \u0301bc", 4, ["a \u0301b", "c"]),
        ("a\r\nb", 2, ["a", "\r\n", "b"]),
    ],
)
def test_where_it_cuts(text: str, size: int, pieces: list[str]) -> None:
    assert texts_of(text, size) == pieces


def test_a_weaker_break_near_the_end_beats_a_stronger_one_near_the_start() -> None:
    assert texts_of("a\n\nbbbb cccc dddd eeee ffff", 20) == ["a\n\nbbbb cccc dddd", "eeee ffff"]


def test_a_span_that_fits_is_not_cut() -> None:
    text = "0123456789 bold words here"
    assert texts_of(text, 16) == ["0123456789 bold", "words here"]
    assert texts_of(text, 16, Span("bold", 11, 26)) == ["0123456789", "bold words here"]


def test_a_code_block_longer_than_the_limit_is_one_in_every_piece() -> None:
    text = "intro\n" + "line = 1\n" * 10 + "outro"
    pieces = split(RichText(text, (Span("pre", 6, 96, "python"),)), TextLimit(40, "chars"))
    assert [piece.text.count("line") for piece in pieces] == [3, 4, 3]
    assert [piece.spans[0].kind for piece in pieces] == ["pre"] * 3
    assert {piece.spans[0].arg for piece in pieces} == {"python"}
    assert pieces[0].spans[0].start == len("intro\n")


@pytest.mark.parametrize(("unit", "size", "per_piece"), [("utf16", 22, 2), ("bytes", 50, 2), ("chars", 14, 2)])
def test_the_unit_counts_and_a_family_stays_together(unit: str, size: int, per_piece: int) -> None:
    pieces = split(RichText(FAMILY * 6), TextLimit(size, unit))  # type: ignore[arg-type]
    assert [piece.text for piece in pieces] == [FAMILY * per_piece] * 3


def test_a_grapheme_longer_than_the_limit_is_cut_by_code_point() -> None:
    text = "x" + "Z" + "\u0301" * 25
    pieces = split(RichText(text), TextLimit(10, "chars"))
    assert "".join(piece.text for piece in pieces) == text
    assert [len(piece.text) for piece in pieces] == [1, 10, 10, 6]


@pytest.mark.parametrize("unit", ["utf16", "bytes", "chars"])
def test_a_limit_that_cannot_hold_every_character_is_refused(unit: str) -> None:
    smallest = {"utf16": 2, "bytes": 4, "chars": 1}[unit]
    assert split(RichText("\U0001f600"), TextLimit(smallest, unit)) == [RichText("\U0001f600")]  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="cannot hold"):
        split(RichText("x"), TextLimit(smallest - 1, unit))  # type: ignore[arg-type]


HUGE = 1024 * 1024
GARBAGE = {
    "one word": "x" * HUGE,
    "spaces": " " * HUGE,
    "space between": "a" + " " * HUGE + "b",
    "newlines": "a\n" * (HUGE // 2),
    "combining marks": "a" + "\u0301" * HUGE,
    "flags": "\U0001f1e9\U0001f1ea" * (HUGE // 2),
    "wide spaces": "\u3000" * HUGE,
    "joiners": "\u200d" * HUGE,
    "emoji": "\U0001f600" * HUGE,
    "prepends": "\u0600 " * (HUGE // 2),
}
QUICK = ("one word", "combining marks")


@pytest.mark.parametrize("kind", [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in GARBAGE])
def test_garbage_takes_linear_time(kind: str) -> None:
    """An eighth of the text takes about an eighth of the CPU time; a quadratic split would need a 64th."""
    text = GARBAGE[kind]
    limit = TextLimit(4096, "utf16")

    def cost(text: str) -> float:
        began = time.process_time()
        split(RichText(text), limit)
        return time.process_time() - began

    cost(text[:4096])
    small = cost(text[: HUGE // 8])
    assert cost(text) <= 8 * 3 * small + 0.5


def test_many_spans_take_linear_time() -> None:
    text = "word " * 40_000
    spans = tuple(Span("bold", at, at + 4) for at in range(0, len(text), 5))
    quote = Span("quote", 0, len(text))
    began = time.process_time()
    pieces = split(RichText(text, (quote, *spans)), TextLimit(4096, "utf16"))
    assert time.process_time() - began < 5
    assert sum(len(piece.spans) for piece in pieces) == len(spans) + len(pieces)


def escaped(rich: RichText) -> int:
    """A wire that escapes marks, and writes two marks around each span."""
    return len(rich.text) + sum(rich.text.count(mark) for mark in "*_`<&") + 4 * len(rich.spans)


@given(rich_texts(), st.integers(4, 120))
def test_each_piece_fits_as_the_wire_counts_it(rich: RichText, size: int) -> None:
    pieces = split(rich, TextLimit(size, "chars"), escaped)
    placed(rich.text, pieces)
    assert all(escaped(piece) <= size or len(piece.text) <= 1 + 4 * len(piece.spans) for piece in pieces)
    assert split(rich, TextLimit(size, "chars"), lambda piece: len(piece.text)) == split(rich, TextLimit(size, "chars"))


def test_a_text_of_marks_becomes_twice_as_many_pieces() -> None:
    pieces = split(RichText("*" * 4000), TextLimit(2000, "chars"), escaped)
    assert [len(piece.text) for piece in pieces] == [1000] * 4
    assert [len(piece.text) for piece in split(RichText("x" * 9), TextLimit(5, "chars"), lambda piece: 10**9)] == [1] * 9


@given(rich_texts(), limits, st.integers(1, 4))
def test_no_piece_has_more_lines_than_a_message(rich: RichText, limit: TextLimit, lines: int) -> None:
    pieces = split(rich, TextLimit(limit.size, limit.unit, lines))
    placed(rich.text, pieces)
    assert all(piece.text.count("\n") < lines for piece in pieces)
    assert split(rich, TextLimit(limit.size, limit.unit, 10**6)) == split(rich, limit)


def test_each_line_is_a_message_and_keeps_its_indentation() -> None:
    text = "def f():\n\n    return 1\n"
    block = RichText(text, (Span("pre", 0, len(text)),))
    pieces = split(block, TextLimit(400, "bytes", 1))
    assert pieces == [RichText("def f():", (Span("pre", 0, 8),)), RichText("    return 1", (Span("pre", 0, 12),))]
    with pytest.raises(ValueError, match="at least one line"):
        split(block, TextLimit(400, "bytes", 0))
