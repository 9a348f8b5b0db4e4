"""Finds the stretches of a line that hold no markup: addresses, paths, formulas, names, HTML tags
(docs/reference/markdown.md)."""

import re
from bisect import bisect_left
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import NamedTuple


class Stretch(NamedTuple):
    """``text[start:end]``, which is kept as it is."""

    start: int
    end: int
    is_url: bool = False


_SIGNS = re.compile(r"://|\bwww\.(?=\w)|__|[\\$<¯]")
_SCHEME = re.compile(r"(?<![A-Za-z0-9+.-])[A-Za-z][A-Za-z0-9+.-]{1,31}\Z")
_HOST = re.compile(r"\[[0-9A-Fa-f:.]+\]")
_ADDRESS = re.compile(r"""(?:(?!\*\*)[^\s<>"`|\[\]「」『』（）【】《》，。、；：！？“”‘’…])++""")
_DRIVE = re.compile(r"(?<![\w\\])(?:[A-Za-z]:|\.{1,2}|~|%\w{1,40}%)\Z")
# Names with spaces go on behind them as long as a further backslash comes: C:\Program Files (x86)\_x.
_PATH = re.compile(r"""(?:(?!(?<!\\)\*\*)[^\s`<>"|\[\]])++(?:(?:[ ][\w.()-]++){1,3}\\(?:(?!(?<!\\)\*\*)[^\s`<>"|\[\]])*+)*+""")
_BACKSLASH_WORD = re.compile(r"\\[^\s`\]]*+")
_ESCAPE = re.compile(r"\\(?:[*_~`]|\$(?=\d))")
_ESCAPED_BLOCK = re.compile(r"\\[#>+-]")
_DISPLAYED = re.compile(r"(?<!\])\\\((?:[^\\]|\\(?![()]))*+\\\)|\\\[(?:[^\\]|\\(?![\[\]]))*+\\\](?!\\?\()")
_LINK_FOLLOWS = re.compile(r"[^\[\]]*+(?<=\\)\]\\?\(")
_LINK_AS_IT_IS = re.compile(r"<[^\s<>]*+>")
_LONGEST_TARGET = 2000
_DOLLARS = re.compile(r"\$\$[^$]++\$\$|(?<![\w$\\])\$(?!\s)[^$`\n]++(?<!\s)\$(?![\w$])")
_TAG = re.compile(r"<!--[^<>]*+>|</?[A-Za-z][\w:-]*+(?:\s[^<>`\n=]*+=[^<>`\n]*+|\s*+/?)>")
_DUNDER = re.compile(r"(?<![\w\\])__[A-Za-z0-9](?:[A-Za-z0-9_]*[A-Za-z0-9])?__(?!\w)")
_SHRUG = re.compile(r"¯[^\s`]+")
_SENTENCE_END = ".,;:!?'"
_MARKERS = "*_~"
_LONGEST_EMPHASIS = 1000  # before an address, for the question whether a marker at its end closes something


class Stretches(NamedTuple):
    """All stretches of a text, ascending, without overlap."""

    starts: list[int]
    ends: list[int]
    urls: frozenset[int]

    def next_from(self, at: int) -> int:
        """The index of the first stretch that begins at or after ``at``."""
        return bisect_left(self.starts, at)


_NONE = Stretches([], [], frozenset())


@lru_cache(maxsize=8)
def stretches(text: str) -> Stretches:
    """Linear in the length of ``text``."""
    # Spelt out: this is asked of each line, and for most the answer is no.
    if not ("://" in text or "\\" in text or "$" in text or "<" in text or "__" in text or "www." in text or "¯" in text):
        return _NONE
    found = list(_find(text))
    return Stretches(
        [one.start for one in found], [one.end for one in found], frozenset(one.start for one in found if one.is_url)
    )


def _find(text: str) -> Iterator[Stretch]:
    done = 0
    while sign := _SIGNS.search(text, done):
        stretch = _KINDS[sign.group()](text, sign.start(), done)
        if stretch is not None and stretch.end > stretch.start:
            yield stretch
        done = max(sign.end() if stretch is None else stretch.end, sign.start() + 1)


def _url(text: str, at: int, done: int) -> Stretch | None:
    scheme = _SCHEME.search(text, max(done, at - 33), at)
    return None if scheme is None else _address(text, scheme.start(), at + 3)


def _www(text: str, at: int, done: int) -> Stretch | None:
    return _address(text, at, at + 4)


def _address(text: str, start: int, body: int) -> Stretch | None:
    if host := _HOST.match(text, body):
        body = host.end()
    rest = _ADDRESS.match(text, body)
    end = _without_end_of_sentence(text, start, rest.end() if rest else body)
    return Stretch(start, end, is_url=True) if end > body or host else None


def _without_end_of_sentence(text: str, start: int, end: int) -> int:
    """Signs that end a sentence, a bracket or an emphasis around the address are no part of it."""
    unopened = {close: text.count(close, start, end) - text.count(open_, start, end) for open_, close in ("()", "{}")}
    while end > start:
        last = text[end - 1]
        if unopened.get(last, 0) > 0:
            unopened[last] -= 1
        elif last not in _SENTENCE_END and not (last in _MARKERS and _opens_before(text, last, start)):
            break
        end -= 1
    return end


def _opens_before(text: str, marker: str, start: int) -> bool:
    before = text[max(0, start - _LONGEST_EMPHASIS) : start]
    return re.search(rf"(?<![\w/]){re.escape(marker)}", before) is not None


def _backslash(text: str, at: int, done: int) -> Stretch | None:
    if (drive := _DRIVE.search(text, max(done, at - 44), at)) and (path := _PATH.match(text, at)):
        return Stretch(drive.start(), _without_markers(text, at, path.end()))
    if formula := _DISPLAYED.match(text, at):
        return Stretch(at, formula.end())
    word = _BACKSLASH_WORD.match(text, at)
    assert word is not None, "it begins with a backslash"
    if _escapes_only(text, at, word.end()):
        return Stretch(word.end(), word.end())
    return Stretch(at, _without_markers(text, at, word.end()))


def is_escape(text: str, at: int) -> bool:
    """Whether the backslash at ``at`` escapes the sign after it, at any place of a line."""
    return _ESCAPE.match(text, at) is not None or _escapes_link(text, at)


def _escapes_link(text: str, at: int) -> bool:
    """A sign of what would be a link without its backslashes."""
    match text[at + 1 : at + 2]:
        case "[":
            return _LINK_FOLLOWS.match(text, at + 2) is not None
        case "]":
            return text.startswith(("(", "\\("), at + 2)
        case "(":
            return text[at - 1 : at] == "]"
        case ")":
            opened = text.rfind("(", max(0, at - _LONGEST_TARGET), at)
            return opened >= 2 and text.startswith("]\\", opened - 2) and text.find(")", opened, at) < 0
        case "<":
            return _LINK_AS_IT_IS.match(text, at + 1) is not None
    return False


def _escapes_only(text: str, start: int, end: int) -> bool:
    """Whether each backslash escapes a sign. Else the word is a formula, a path or a pattern, and keeps its backslashes."""
    at = text.find("\\", start, end)
    while at >= 0:
        if not is_escape(text, at) and not _ESCAPED_BLOCK.match(text, at):
            return text[at + 1 : at + 2] == "\n" and text[at - 1 : at].isalnum()  # a hard line break
        at = text.find("\\", at + 2, end)
    return True


def _without_markers(text: str, start: int, end: int) -> int:
    while end - 1 > start and text[end - 1] in _MARKERS + _SENTENCE_END + ")" and text[end - 2] != "\\":
        end -= 1
    return end


def _matches(pattern: re.Pattern[str]) -> Callable[[str, int, int], Stretch | None]:
    def find(text: str, at: int, done: int) -> Stretch | None:
        found = pattern.match(text, at)
        return None if found is None else Stretch(at, found.end())

    return find


_KINDS: dict[str, Callable[[str, int, int], Stretch | None]] = {
    "://": _url,
    "www.": _www,
    "\\": _backslash,
    "$": _matches(_DOLLARS),
    "<": _matches(_TAG),
    "__": _matches(_DUNDER),
    "¯": _matches(_SHRUG),
}
