"""Splits formatted text into pieces that fit into one message, in the platform's own unit.

The rules, strongest first:

1. Every piece fits the limit.
2. No grapheme (UAX #29 extended grapheme cluster) is cut; one that alone is longer than the limit is cut between code points.
3. No span is cut, unless it alone is longer than the limit: then it is closed in one piece and reopened in the next, so a
   code block stays a code block in both. (A span that begins or ends inside a grapheme cannot always be kept whole, nor can
   what is nested in it.)
4. A cut falls at a paragraph's end, else a line's, else a sentence's, else at a space, else anywhere. A weaker place in the
   second half of the room wins over a stronger one in the first half, so that pieces are not needlessly short.

White space at a cut is dropped, and so is blank space around the whole; nothing else is: the pieces are substrings of the
text, in order, and what lies between two of them (and before the first and after the last) is white space only. After a cut
at a line's end the next line keeps its indentation.

The time is proportional to the length: two consecutive pieces together fill at least half of one message. With a size of the
wire, where marks and escapes count, a piece that is too long is split again.
"""

from bisect import bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

from gatewayd.model.message.payload import RichText, Span
from gatewayd.ports.channel import TextLimit, TextUnit

if TYPE_CHECKING:
    import regex

WireSize = Callable[[RichText], int]
"""The size of a text as a platform counts it, in the unit of its limit."""

_SMALLEST = {"utf16": 2, "bytes": 4, "chars": 1}  # the most that one code point takes
_RANKS = ("paragraph", "line", "sentence", "space")  # strongest first
_SENTENCE_END = frozenset(".!?…:;。！？")
_CLOSING = frozenset("\"')]}»”’")
_SPACE = " \t\n\u2000\u2001\u2002\u2003\u2004\u2005\u2006\u2008\u2009\u200a\u3000"  # not the no-break ones


def size_of(text: str, unit: TextUnit) -> int:
    """The length of ``text`` in UTF-16 code units, UTF-8 bytes or code points. Lone surrogates are counted, too."""
    if unit == "chars":
        return len(text)
    if text.isascii():
        return len(text)
    if unit == "bytes":
        return len(text.encode("utf-8", "surrogatepass"))
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def check_limit(limit: TextLimit) -> None:
    """:raises ValueError: it is smaller than one code point can be (2 UTF-16 units, 4 bytes, 1 character), has no lines, or is no
    number."""
    if limit.unit not in _SMALLEST or type(limit.size) is not int or type(limit.lines) not in (int, type(None)):
        raise ValueError(f"{limit!r} is no limit of a text")
    if limit.size < _SMALLEST[limit.unit]:
        raise ValueError(f"a limit of {limit.size} {limit.unit} cannot hold every character")
    if limit.lines is not None and limit.lines < 1:
        raise ValueError("a message has at least one line")


def split(rich: RichText, limit: TextLimit, wire_size: WireSize | None = None) -> list[RichText]:
    """The pieces of ``rich``, each at most ``limit`` long; none for text that is only white space. A piece that is as small as
    a piece can be is kept, whatever its wire size.

    :raises ValueError: as ``check_limit``.
    """
    check_limit(limit)
    parts = [rich] if limit.lines is None else _clip(rich, _line_ranges(rich.text, limit.lines))
    pieces = [piece for part in parts for piece in _clip(part, _Splitter(part, limit).ranges())]
    if wire_size is None:
        return pieces
    return [smaller for piece in pieces for smaller in _split_to_wire(piece, limit, wire_size)]


def _split_to_wire(piece: RichText, limit: TextLimit, wire_size: WireSize) -> list[RichText]:
    """Pieces that fit as the wire counts them. What does not is split at a plain size that is smaller in proportion."""
    waiting, pieces = [piece], []
    while waiting:
        part = waiting.pop()
        plain, wire = size_of(part.text, limit.unit), wire_size(part)
        room = min(plain - 1, max(_SMALLEST[limit.unit], plain * limit.size // max(wire, 1)))
        if wire <= limit.size or room < _SMALLEST[limit.unit]:
            pieces.append(part)
        else:
            waiting += reversed(_clip(part, _Splitter(part, TextLimit(room, limit.unit)).ranges()))
    return pieces


def _line_ranges(text: str, lines: int) -> Iterator[tuple[int, int]]:
    """(start, end) of each so many lines. Blank lines in front of them are left out, and do not count."""
    start = count = 0
    for end in (*(at for at, letter in enumerate(text) if letter == "\n"), len(text)):
        count += 1
        if not text[start:end].strip(_SPACE):
            start, count = end + 1, 0
        elif count == lines:
            yield start, end
            start, count = end + 1, 0
    if count:
        yield start, len(text)


class _Patterns(NamedTuple):
    run: "regex.Pattern[str]"  # white space that is whole graphemes, or the place behind a CJK full stop
    grapheme: "regex.Pattern[str]"
    flag: "regex.Pattern[str]"
    plain: "regex.Pattern[str]"  # two neighbours with a grapheme boundary between them, whatever else is around


@lru_cache(maxsize=1)
def _patterns() -> _Patterns:
    """Compiled at first use: regex takes memory that an idle daemon does not need."""
    import regex

    joins = r"(?![\p{GCB=Extend}\p{GCB=ZWJ}\p{GCB=SpacingMark}])"
    space = rf"(?:(?<![\p{{GCB=Prepend}}\r])[{_SPACE}]{joins})"
    alone = r"[\p{GCB=Other}\p{GCB=Control}\p{GCB=LF}]"
    return _Patterns(
        run=regex.compile(rf"{space}++|(?<=[。！？]){joins}(?!{space})"),
        grapheme=regex.compile(r"\X"),
        flag=regex.compile(r"[\U0001F1E6-\U0001F1FF]{2}"),
        plain=regex.compile(rf"(?r){alone}(?={alone})"),
    )


class _Splitter:
    def __init__(self, rich: RichText, limit: TextLimit) -> None:
        self._text = rich.text
        self._limit = limit.size
        self._unit: TextUnit = limit.unit
        self._kept_starts, self._kept_ends = self._kept_whole(rich.spans)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """(start, end) of each piece, in order, never empty."""
        start, length = self._leading(0), len(self._text)
        while start < length:
            hard = self._reach(start)
            if hard == length:
                end = after = length
            else:
                end, after = self._cut(start, hard)
            end = self._trailing(start, end)
            if end > start:
                yield start, end
            start = self._leading(after)

    def _reach(self, start: int) -> int:
        """The furthest index that fits into a piece from ``start``."""
        furthest = min(len(self._text), start + self._limit)
        if size_of(self._text[start:furthest], self._unit) <= self._limit:
            return furthest
        places = range(start, furthest + 1)
        return start + bisect_right(places, self._limit, key=lambda at: size_of(self._text[start:at], self._unit)) - 1

    def _cut(self, start: int, hard: int) -> tuple[int, int]:
        """(end of this piece, start of the next): the best place at most ``hard`` and behind ``start``."""
        half = start + (hard - start) // 2
        begin = self._best_break(half, hard)
        if begin is None:
            begin = self._best_break(start, half)
        if begin is None:
            return (anywhere := self._cut_anywhere(start, hard)), anywhere
        whole = _patterns().run.match(self._text, begin)  # it may go on behind ``hard``
        assert whole is not None, "found by the same pattern"
        return begin, self._resume(begin, whole.end())

    def _best_break(self, low: int, high: int) -> int | None:
        """The start of the last white space of the strongest kind that cuts no kept span, after ``low`` and at most at
        ``high``."""
        best: int | None = None
        best_rank = len(_RANKS)
        # Two further characters of look-ahead: a break at ``high`` is recognised by what follows it.
        for run in _patterns().run.finditer(self._text, low, high + 2):
            begin, after = run.start(), self._resume(run.start(), run.end())
            if low < begin <= high and (rank := self._rank(begin, after)) <= best_rank and not self._is_kept(begin, after):
                best, best_rank = begin, rank
        return best

    def _resume(self, begin: int, end: int) -> int:
        """The start of the text after a run of white space: an indented line keeps its indentation."""
        newline = self._text.rfind("\n", begin, end)
        return end if newline < 0 else newline + 1

    def _rank(self, begin: int, after: int) -> int:
        """The index into ``_RANKS`` of the break in front of ``after``."""
        newlines = self._text.count("\n", begin, after)
        if newlines:
            return 0 if newlines > 1 else 1
        last = begin - 1
        if self._text[last] in _CLOSING and last > 0:
            last -= 1
        return 2 if self._text[last] in _SENTENCE_END else 3

    def _cut_anywhere(self, start: int, hard: int) -> int:
        """The last grapheme boundary at most ``hard`` that cuts no kept span; else that cuts one; else ``hard``."""
        boundaries = self._boundaries(start, hard)
        if not boundaries:
            return hard  # one grapheme fills the piece
        at = last = boundaries[-1]
        while (kept := self._kept_start(at)) is not None:
            # A span may begin inside a grapheme, which may begin inside the span before it, and so on.
            if kept < boundaries[0]:
                boundaries = self._boundaries(start, kept)
            index = bisect_right(boundaries, kept) - 1
            if index < 0:
                return last
            at = boundaries[index]
        return at

    def _boundaries(self, start: int, upto: int) -> list[int]:
        """Grapheme boundaries b, start < b <= upto, ascending, from the last place that surely is one.

        ``start`` is a boundary itself. Whether b is one depends on the text before it and the one character behind it, so
        one character more than ``upto`` is looked at.
        """
        if upto <= start:
            return []
        patterns = _patterns()
        safe = patterns.plain.search(self._text, start, upto + 1)
        first = start if safe is None else safe.end()
        # regex counts all regional indicators before each one: a run of flags would take quadratic time. Two of them and a
        # letter with an accent have the same boundaries around them.
        stretch = patterns.flag.sub("a\u0301", self._text[first : upto + 1])
        found = (first + match.start() for match in patterns.grapheme.finditer(stretch))
        return [at for at in found if start < at <= upto]

    def _kept_whole(self, spans: tuple[Span, ...]) -> tuple[list[int], list[int]]:
        """Starts and ends of the outermost spans that fit into one piece, apart from each other, ascending."""
        starts: list[int] = []
        ends: list[int] = []
        for span in sorted(spans, key=lambda span: (span.start, -span.end)):
            if ends and span.end <= ends[-1]:
                continue  # inside one that is kept whole
            if span.end - span.start <= self._limit and self._fits(span):
                starts.append(span.start)
                ends.append(span.end)
        return starts, ends

    def _fits(self, span: Span) -> bool:
        return size_of(self._text[span.start : span.end], self._unit) <= self._limit

    def _kept_start(self, at: int) -> int | None:
        """The start of the kept span that a cut at ``at`` would cut."""
        index = bisect_right(self._kept_starts, at - 1) - 1
        return self._kept_starts[index] if index >= 0 and at < self._kept_ends[index] else None

    def _is_kept(self, begin: int, after: int) -> bool:
        """Whether leaving out text[begin:after] would cut a kept span. Taking white space off its end does not."""
        index = bisect_right(self._kept_starts, begin - 1) - 1
        return index >= 0 and after < self._kept_ends[index]

    def _leading(self, at: int) -> int:
        """The index after blank lines; the end, if only white space is left."""
        run = _patterns().run.match(self._text, at)
        if run is None:
            return at
        return run.end() if run.end() == len(self._text) else self._resume_blank(at, run.end())

    def _resume_blank(self, at: int, end: int) -> int:
        newline = self._text.rfind("\n", at, end)
        if newline >= 0:
            return newline + 1
        # Indentation stays, unless it would fill a piece by itself.
        return end if end - at >= self._limit else at

    def _trailing(self, start: int, end: int) -> int:
        """The index before the white space at the end of a piece. White space in one grapheme with the character before stays."""
        stripped = start + len(self._text[start:end].rstrip(_SPACE))
        if stripped < end and _patterns().run.match(self._text, stripped) is None:
            return stripped + 1
        return stripped


def _clip(rich: RichText, ranges: Iterator[tuple[int, int]]) -> list[RichText]:
    """Cut the text and its spans to ``ranges``, which ascend."""
    waiting = sorted(rich.spans, key=lambda span: (span.start, -span.end))[::-1]
    active: list[Span] = []
    pieces: list[RichText] = []
    for start, end in ranges:
        active = [span for span in active if span.end > start]
        while waiting and waiting[-1].start < end:
            active.append(waiting.pop())
        clipped = [
            Span(span.kind, max(span.start, start) - start, min(span.end, end) - start, span.arg)
            for span in active
            if max(span.start, start) < min(span.end, end)
        ]
        pieces.append(RichText(rich.text[start:end], tuple(clipped)))
    return pieces
