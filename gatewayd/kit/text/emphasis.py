"""Decides which ``*``, ``_`` and ``~~`` are emphasis, and pairs them (docs/reference/markdown.md).

The rule differs from CommonMark's in two ways. Signs in formulas, patterns and names are no emphasis: ``a*b*c``, ``x**2``,
``*.py``, ``(*fn)(int*)``. And a marker needs no space beside any character that is neither ASCII nor a Latin, Greek or Cyrillic
letter: github.com/commonmark/commonmark-spec/issues/650 asks this for Chinese, Japanese and Korean, here it is for all scripts.
"""

import re
from typing import NamedTuple
from unicodedata import category

from markdown_it.rules_inline import StateInline
from markdown_it.token import Token

_RUN = re.compile(r"\*+|_+|~+")
_MARKERS = frozenset("*_~")
_QUOTES = frozenset("([{\"'`")
_BRACKET = re.compile(r"[()]")
_WRITTEN = re.compile(r"[^\x00-/:-@\[-`{-\x7f]")  # anything but ASCII signs: _*_ and *_* are faces
_TAGS = {1: ("em_open", "em_close", "em"), 2: ("strong_open", "strong_close", "strong")}
_STRIKE = ("s_open", "s_close", "s")

# What may stand around a single marker, beside white space, and letters inside.
_BEFORE_OPENING = frozenset("([{\"'>-:,;!?|*_~")
_AFTER_OPENING = frozenset("([{\"'#$@_*~\\`")
_BEFORE_CLOSING = frozenset(")]}\"'>.,:;!?*_~%-+#`")
_AFTER_CLOSING = frozenset(")]}\"'.,;:!?-|<>*_~`")


class Run(NamedTuple):
    """A run of one sign. ``inside`` a word: no pair of two such. ``token`` is the index of its first token."""

    sign: str
    length: int
    start: int
    token: int
    opens: bool
    closes: bool
    inside: bool


class _Opener(NamedTuple):
    order: int
    run: Run
    left: int
    depth: int
    written: int


def marker(state: StateInline, silent: bool) -> bool:
    """A run of markers: a text token for each sign, which :func:`pair` may turn into a tag."""
    found = _RUN.match(state.src, state.pos, state.posMax)
    if found is None:
        return False
    state.pos = found.end()
    if silent:
        return True
    run = _run(state.src, found.group(), found.start(), len(state.tokens) + bool(state.pending))
    if run is None:
        state.append_pending(found.group())
        return True
    signs = [found.group()] if run.sign == "~" else list(found.group())
    for sign in signs:
        state.push("text", "", 0).content = sign
    state.tokens[run.token].meta["run"] = run
    return True


def _run(source: str, signs: str, start: int, token: int) -> Run | None:
    """None: it can only be text."""
    sign, length = signs[0], len(signs)
    if length > 3 or (sign == "~" and length != 2):
        return None
    before, after = source[start - 1 : start] or " ", source[start + length : start + length + 1] or " "
    if sign == "_" or length == 1:
        behind = source[start + length + 1 : start + length + 2]
        opens, closes = _opens_strictly(sign, before, after, behind), _closes_strictly(sign, before, after, behind)
        inside = _is_letter(before) and _is_letter(after)
    else:
        opens, closes, inside = _opens(before, after), _closes(before, after), _is_word(before) and _is_word(after)
    return Run(sign, length, start, token, opens, closes, inside) if opens or closes else None


def _opens(before: str, after: str) -> bool:
    if after.isspace() or after in ")]},;" or (before in "/\\" and after in "/\\."):
        return False
    return not (_is_sign(after) and _is_word(before))


def _closes(before: str, after: str) -> bool:
    return not (before.isspace() or before in "([{/\\") and not (_is_sign(before) and _is_word(after))


def _opens_strictly(sign: str, before: str, after: str, behind: str) -> bool:
    if after in _MARKERS and behind != after and not (_is_letter(behind) or behind in _QUOTES or _is_other(sign, behind)):
        return False  # a face: *_*
    return (before.isspace() or before in _BEFORE_OPENING or _is_other(sign, before)) and (
        _is_letter(after) or after in _AFTER_OPENING or _is_other(sign, after)
    )


def _closes_strictly(sign: str, before: str, after: str, behind: str) -> bool:
    if after == "." and behind.isalnum():
        return False  # the name of a file
    return (_is_letter(before) or before in _BEFORE_CLOSING or _is_other(sign, before)) and (
        after.isspace() or after in _AFTER_CLOSING or _is_other(sign, after)
    )


def _is_word(character: str) -> bool:
    """What names and formulas are written in: Latin, Greek and Cyrillic letters with their accents, and digits."""
    if character.isascii():
        return character.isalnum()
    return character.isdigit() or (
        (character < "\u0530" or "\u1e00" <= character < "\u2000") and (character.isalpha() or "\u0300" <= character < "\u0370")
    )


def _is_letter(character: str) -> bool:
    """A letter or digit of any script, or what is written over and under them."""
    if character.isascii() or character.isalnum():
        return character.isalnum()
    return category(character) in ("Mn", "Mc") and not "\ufe00" <= character <= "\ufe0f"


def _is_sign(character: str) -> bool:
    return character.isascii() and not character.isalnum() and not character.isspace()


def _is_other(sign: str, character: str) -> bool:
    """Beside what a marker needs no space. A ``_`` stands in names of all scripts."""
    return not (character.isascii() or character.isspace() or _is_word(character) or (sign == "_" and _is_letter(character)))


def pair(state: StateInline) -> None:
    """Turn the text tokens of markers that belong together into tags. Linear in the number of runs."""
    if not ("*" in state.src or "_" in state.src or "~" in state.src):
        return
    seen = [(token.nesting, token.meta.get("run")) for token in state.tokens]
    levels = [_Level(state.src, state.tokens)]
    for nesting, run in seen:
        if nesting > 0:
            levels.append(_Level(state.src, state.tokens))
        elif nesting < 0:
            levels.pop()
        elif run is not None:
            levels[-1].take(run)


class _Level:
    """The openers that wait, of the text or of one link's text: by sign, signs left, and whether inside a word."""

    def __init__(self, source: str, tokens: list[Token]) -> None:
        self._source = source
        self._tokens = tokens
        self._waiting: dict[tuple[str, int, bool], list[_Opener]] = {}
        self._count = 0
        self._at: int | None = None
        self._depth = 0
        self._written = 0

    def take(self, run: Run) -> None:
        self._pass(run)
        left = run.length
        while left and run.closes and (opener := self._opener_for(run, left)):
            size = min(2, left, opener.left)
            self._join(opener, run, left, size)
            left -= size
        if left and run.opens:
            self._count += 1
            self._wait(_Opener(self._count, run, left, self._depth, self._written))

    def _pass(self, run: Run) -> None:
        """The text before ``run``. What has waited in brackets for a single marker is over when they close."""
        between = "" if self._at is None else self._source[self._at : run.start]
        self._at = run.start + run.length
        if _WRITTEN.search(between):
            self._written += 1
        lowest = self._depth
        for bracket in _BRACKET.findall(between):
            self._depth += 1 if bracket == "(" else -1
            lowest = min(lowest, self._depth)
        for (_, left, _), openers in self._waiting.items():
            while left == 1 and openers and openers[-1].depth > lowest:
                openers.pop()

    def _opener_for(self, run: Run, left: int) -> _Opener | None:
        """The last opener of as many signs; three go with one and with two."""
        sizes = (1, 2, 3) if left == 3 else (left, 3)
        places = (False,) if run.inside else (False, True)
        tops = [waiting[-1] for size in sizes for place in places if (waiting := self._waiting.get((run.sign, size, place)))]
        opener = max(tops, default=None)
        if opener is None or (min(left, opener.left) == 1 and not self._holds(opener)):
            return None
        return opener

    def _holds(self, opener: _Opener) -> bool:
        """Whether what stands since ``opener`` can be the text of a single marker: something written, its brackets matched."""
        return opener.written < self._written and opener.depth == self._depth

    def _wait(self, opener: _Opener) -> None:
        self._waiting.setdefault((opener.run.sign, opener.left, opener.run.inside), []).append(opener)

    def _join(self, opener: _Opener, run: Run, left: int, size: int) -> None:
        for waiting in self._waiting.values():
            while waiting and waiting[-1].order >= opener.order:
                waiting.pop()
        if opener.left > size:
            self._wait(opener._replace(left=opener.left - size))
        if run.sign == "~":
            opening, closing, tags = [opener.run.token], [run.token], _STRIKE
        else:
            begin, end = opener.run.token + opener.left - size, run.token + run.length - left
            opening, closing, tags = list(range(begin, begin + size)), list(range(end, end + size)), _TAGS[size]
        self._tag(opening, opening[0], tags[0], tags[2], 1)
        self._tag(closing, closing[-1], tags[1], tags[2], -1)

    def _tag(self, places: list[int], at: int, kind: str, tag: str, nesting: int) -> None:
        markup = "".join(self._tokens[place].content for place in places)
        for place in places:
            self._tokens[place].content = ""
        token = self._tokens[at]
        token.type, token.tag, token.markup = kind, tag, markup
        token.nesting = 1 if nesting > 0 else -1
