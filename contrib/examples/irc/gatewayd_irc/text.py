"""Texts: mIRC's formats, off and on; lines that fit; and whether the bot is spoken to. Pure.

Source of the formats: modern.ircdocs.horse, IRC Formatting.
"""

import re
from collections.abc import Callable, Iterator
from typing import Final

from gatewayd.kit.text import is_blank
from gatewayd.kit.text.split import size_of, split
from gatewayd.model.message.payload import RichText, Span, SpanKind
from gatewayd.ports.channel import TextLimit

SHORTEST_ROOM: Final = 64
"""In bytes. In less, a character with all its formats would not fit."""

_FORMATS: Final = re.compile(
    r"\x03(?:[0-9]{1,2}(?:,[0-9]{1,2})?)?|\x04(?:[0-9A-Fa-f]{6}(?:,[0-9A-Fa-f]{6})?)?|[\x00-\x08\x0a-\x1f\x7f]"
)
_UNWRITABLE: Final = re.compile("[\x00-\x09\x0b-\x1f\x7f\ud800-\udfff]")
_CODES: Final[dict[SpanKind, str]] = {"bold": "\x02", "italic": "\x1d", "strike": "\x1e", "code": "\x11", "pre": "\x11"}
_NICK_CHARACTER: Final = r"[\w\-\[\]\\`^{|}]"
_QUOTE: Final = "> "


def plain(text: str) -> str:
    """A text from IRC without formats, and without other characters that control something."""
    return _FORMATS.sub("", text)


def ctcp_of(text: str) -> tuple[str, str] | None:
    """The command and the argument of a CTCP message, else None. Its last sign may be missing (modern.ircdocs.horse, CTCP)."""
    if not text.startswith("\x01"):
        return None
    command, _, argument = text[1:].removesuffix("\x01").partition(" ")
    return command.upper(), argument


def spoken_to(text: str, nick: str, fold: Callable[[str], str]) -> tuple[bool, str]:
    """Whether ``nick:``, ``nick,``, ``@nick`` or ``/command@nick`` is in the text, and the text without the name at its start, or
    at its command."""
    name, folded = re.escape(fold(nick)), fold(text)
    named = rf"(?:@{name}[:,]?(?!{_NICK_CHARACTER})|{name}[:,])"
    if (start := re.match(rf"\s*{named}\s*", folded)) is not None:
        return True, text[start.end() :] or text
    if (command := re.match(rf"\s*(/[a-z0-9_]+)@{name}(?!{_NICK_CHARACTER})", folded)) is not None:
        return True, text[: command.end(1)] + text[command.end() :]
    return re.search(rf"(?<!{_NICK_CHARACTER}){named}", folded) is not None, text


def lines_of(body: RichText, room: int) -> list[str]:
    """The text in lines of at most ``room`` bytes (at least ``SHORTEST_ROOM``), with mIRC's formats. Blank lines are left out:
    IRC has none. No control character of ``body`` itself is left, so it neither ends a line nor begins a CTCP."""
    return [line for quote, part in _parts(body) for line in _fitting(quote, part, room, room)]


def wire_size(body: RichText) -> int:
    """In bytes, as one line, or lines with a sign between them."""
    return size_of("\n".join(quote + _written(part) for quote, part in _parts(body)), "bytes")


def _parts(body: RichText) -> Iterator[tuple[str, RichText]]:
    """The lines of ``body``, each with what is before it."""
    whole = _with_links(RichText(_UNWRITABLE.sub(" ", body.text), body.spans))
    start = 0
    for line in whole.text.split("\n"):
        is_quote = any(span.kind == "quote" and span.start <= start < span.end for span in whole.spans)
        yield _QUOTE if is_quote and line.strip() else "", _cut(whole, start, start + len(line))
        start += len(line) + 1


def _fitting(quote: str, line: RichText, limit: int, room: int) -> Iterator[str]:
    for piece in split(line, TextLimit(limit, "bytes")):
        if is_blank(piece.text):
            continue
        written = quote + _written(piece)
        too_much = size_of(written, "bytes") - room
        if too_much <= 0:
            yield written
        else:
            yield from _fitting(quote, piece, max(limit - too_much, 4), room)


def _cut(whole: RichText, start: int, end: int) -> RichText:
    spans = (Span(span.kind, max(span.start, start) - start, min(span.end, end) - start, span.arg) for span in whole.spans)
    return RichText(whole.text[start:end], tuple(span for span in spans if span.start < span.end))


def _written(piece: RichText) -> str:
    """The formats of mIRC are switches, so a format inside one of its kind writes nothing."""
    switches: dict[int, str] = {}
    for code in dict.fromkeys(_CODES.values()):
        done = -1
        for span in sorted((span for span in piece.spans if _CODES.get(span.kind) == code), key=lambda span: span.start):
            if span.end > done:
                begin = span.start if span.start > done else None
                if begin is None:
                    switches[done] = switches[done].replace(code, "", 1)
                else:
                    switches[begin] = switches.get(begin, "") + code
                done = span.end
                switches[done] = switches.get(done, "") + code
    text, last, parts = piece.text, 0, []
    for at in sorted(switches):
        parts += [text[last:at], switches[at]]
        last = at
    return "".join(parts) + text[last:]


def _with_links(body: RichText) -> RichText:
    """The address of each link after its text, where the text does not have it."""
    links = sorted(
        (span for span in body.spans if span.kind == "link" and span.arg and span.arg not in body.text[span.start : span.end]),
        key=lambda span: span.end,
    )
    if not links:
        return body
    addresses = [(span.end, f" ({''.join(_UNWRITABLE.sub('', span.arg or '').split())})") for span in links]

    def moved(at: int, *, is_end: bool) -> int:
        return at + sum(len(address) for end, address in addresses if end < at or (end == at and not is_end))

    parts, last = [], 0
    for end, address in addresses:
        parts += [body.text[last:end], address]
        last = end
    spans = (Span(span.kind, moved(span.start, is_end=False), moved(span.end, is_end=True), span.arg) for span in body.spans)
    return RichText("".join(parts) + body.text[last:], tuple(spans))
