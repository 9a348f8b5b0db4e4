r"""Formatted text as Discord's markdown ("Reference", "Message Formatting"; support.discord.com, "Markdown Text 101"). Pure.

A backslash makes any sign of markdown literal. So what is no format of ours shows as it was typed: it mentions nobody, and is no
link, no heading and no list. An address becomes ``<address>``, which shows no preview.
"""

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final
from urllib.parse import urlsplit

from gatewayd.model.message.payload import RichText, Span, SpanKind

LONGEST_TEXT: Final = 2000
LONGEST_URL: Final = 1000

_SIGNS: Final = re.compile(r"[\\*_~`|\[\]<]")
_AT_LINE_START: Final = re.compile(r"^(\s*)(#{1,3}(?=\s)|-#(?=\s)|[-+](?=\s)|>)", re.MULTILINE)
_NUMBERED: Final = re.compile(r"^(\s*[0-9]{1,10})([.)])(?=\s)", re.MULTILINE)
_URL: Final = re.compile(r"https?://[^\s<>\"|\\]+", re.IGNORECASE)
_NOT_AT_ITS_END: Final = ".,;:!?'*_~]}`"
_MARKS: Final[tuple[tuple[SpanKind, str], ...]] = (("bold", "**"), ("italic", "*"), ("strike", "~~"))
_LANGUAGE: Final = re.compile(r"[A-Za-z0-9+#._-]{1,30}")
_BROKEN_FENCE: Final = "`\u200b"


def units_in(text: str) -> int:
    """The length in UTF-16 code units: what Discord counts is not documented, and this is never less."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def wire_size(body: RichText) -> int:
    """The size of a text as Discord counts it."""
    return units_in(markdown_of(body))


def markdown_of(body: RichText) -> str:
    """The ``content`` of a message."""
    parts: list[str] = []
    inside: Span | None = None
    waiting: list[str] = []
    for start, end, spans in _stretches(body):
        container = next((span for span in spans if span.kind in ("pre", "quote")), None)
        if container is not inside:
            _close(parts, inside, waiting)
            waiting, inside = [], container
        text = _encodable(body.text[start:end])
        waiting.append(text if container is not None and container.kind == "pre" else _inline(text, spans))
    _close(parts, inside, waiting)
    return "".join(parts)


def escape(text: str) -> str:
    """Text without a format of its own."""
    shown: list[str] = []
    at = 0
    for start, end in addresses_in(text):
        shown += [_literal(text[at:start]), f"<{text[start:end]}>"]
        at = end
    return _lines("".join([*shown, _literal(text[at:])]))


def is_target(url: str) -> bool:
    """Whether a link to ``url`` may become a link."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    fits = len(url) <= LONGEST_URL and not any(it.isspace() or not it.isprintable() or it in "<>\\" for it in url)
    return fits and parts.scheme in ("http", "https") and bool(parts.netloc)


def addresses_in(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each address in a text."""
    for found in _URL.finditer(text):
        url = found[0].rstrip(_NOT_AT_ITS_END)
        while url.endswith(")") and url.count(")") > url.count("("):
            url = url[:-1].rstrip(_NOT_AT_ITS_END)
        if is_target(url):
            yield found.start(), found.start() + len(url)


def _literal(text: str) -> str:
    return _SIGNS.sub(r"\\\g<0>", text)


def _lines(text: str) -> str:
    """Without headings, lists and quotes at the beginnings of its lines."""
    return _NUMBERED.sub(r"\1\\\2", _AT_LINE_START.sub(r"\1\\\2", text))


def _inline(text: str, spans: Sequence[Span]) -> str:
    """A stretch with its styles. White space at its ends stays outside of the marks, which Discord would not take for marks."""
    kinds = {span.kind for span in spans}
    core = text.strip()
    if not core:
        return text
    before, after = text[: text.index(core[0])], text[len(text.rstrip()) :]
    if "code" in kinds and (code := _code(core)) is not None:
        shown = code
    else:
        target = next((span.arg for span in spans if span.kind == "link" and span.arg and is_target(span.arg)), None)
        shown = escape(core) if target is None else _link(core, target)
    for kind, mark in _MARKS:
        if kind in kinds:
            shown = f"{mark}{shown}{mark}"
    return f"{before}{shown}{after}"


def _code(text: str) -> str | None:
    """Code in a line; None: it has too many backticks for that."""
    if "``" in text or (fence := "``" if "`" in text else "`") * 3 in text:
        return None
    return f"{fence} {text} {fence}" if len(fence) > 1 else f"`{text}`"


def _link(text: str, target: str) -> str:
    """ "Masked links". Discord takes no words for one that look like another address."""
    if text == target:
        return f"<{target}>"
    if "://" in text or "\n" in text:
        return f"{escape(text)} (<{target}>)"
    return f"[{_literal(text)}](<{target}>)"


def _close(parts: list[str], container: Span | None, inside: list[str]) -> None:
    """Add one part. Code blocks and quotes begin and end on lines of their own."""
    text = "".join(inside)
    if not text:
        return
    if container is None:
        if parts and parts[-1].endswith("\n") and text.startswith("\n"):
            text = text[1:]  # the line end that is there already
        parts.append(text)
        return
    if parts and not parts[-1].endswith("\n"):
        parts.append("\n")
    body = text.strip("\n")
    if container.kind == "pre":
        language = container.arg if container.arg and _LANGUAGE.fullmatch(container.arg) else ""
        parts.append(f"```{language}\n{body.replace('```', _BROKEN_FENCE * 3)}\n```\n")
    else:
        parts.append("\n".join(f"> {line}" for line in body.split("\n")) + "\n")


def _stretches(body: RichText) -> Iterator[tuple[int, int, list[Span]]]:
    """(start, end, spans) of each stretch of the text with the same formats. Spans that are empty, cross each other or are beyond
    the text do no harm."""
    length = len(body.text)
    waiting = sorted((span for span in body.spans if max(span.start, 0) < min(span.end, length)), key=lambda span: -span.start)
    marks = sorted({0, length, *(min(max(at, 0), length) for span in waiting for at in (span.start, span.end))})
    active: list[Span] = []
    for start, end in pairwise(marks):
        active = [span for span in active if span.end > start]
        while waiting and waiting[-1].start <= start:
            active.append(waiting.pop())
        yield start, end, active


def _encodable(text: str) -> str:
    """Half a surrogate pair cannot be written as JSON."""
    return text.encode("utf-8", "replace").decode()
