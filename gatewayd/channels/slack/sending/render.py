"""Formatted text as blocks, and as the plain text beside them. Pure.

A message is one ``rich_text`` block ("Rich text block"), and one ``actions`` block for each row of buttons ("Actions block").
The text elements of a rich text are literal: what looks like a mention in one pings nobody. ``text`` is what notifications and
screen readers show (chat.postMessage, ``text``), and the whole message where blocks are refused. There the three signs of
mrkdwn's own markup are escaped ("Formatting message text", "Escaping text").
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any, Final
from urllib.parse import urlsplit

import msgspec

from gatewayd.kit.text import is_blank, sanitise
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.payload import Choice, RichText, Span, SpanKind
from gatewayd.ports.channel import TextLimit

Block = Mapping[str, Any]

LONGEST_TEXT: Final = TextLimit(4000, "bytes")
"""chat.update answers ``msg_too_long`` when ``text`` is longer than 4,000. Its page says characters, but Slack counts the bytes
of UTF-8: 4,000 bytes pass, and 4,002 bytes of fewer characters do not (openclaw/openclaw, pull request 115027). chat.postMessage
takes more, but every message may be edited, and must be readable without its blocks."""

BLOCK_BYTES_PER_TEXT_BYTE: Final = 2
"""All blocks of a message together may have about 13,200 characters, of which Slack documents nothing (``msg_blocks_too_long``;
slackapi/bolt-js, issues 2509 and 2867: measured 13,297, with less for each further block). A text takes 8,000 bytes of JSON at
most, so that there is room for its buttons."""

LONGEST_LABEL: Final = 75
"""Characters ("Button element", ``text``)."""

BUTTONS_PER_BLOCK: Final = 5
"""An actions block takes 25 elements ("Actions block", ``elements``). Apps show about five side by side."""

MOST_BLOCKS: Final = 50
"""Of one message (chat.postMessage, ``msg_blocks_too_many``)."""

LONGEST_URL: Final = 3000
"""Characters of the target of a link. For rich texts Slack documents no limit; for a button this ("Button element", ``url``)."""

_STYLES: Final[tuple[SpanKind, ...]] = ("bold", "italic", "strike", "code")
_CONTAINERS: Final[Mapping[SpanKind, str]] = {"pre": "rich_text_preformatted", "quote": "rich_text_quote"}
_URL: Final = re.compile(r"https?://[^\s<>\"|]+", re.IGNORECASE)
_NOT_AT_ITS_END: Final = ".,;:!?'*_~]}"


def blocks_of(body: RichText, choices: Sequence[Sequence[Choice]] = ()) -> list[Block]:
    """The blocks of a message; none when there is nothing to read and nothing to press.

    :raises SendRejected: more buttons than a message can have.
    """
    elements = list(_elements(body))
    rich: list[Block] = [{"type": "rich_text", "elements": elements}] if elements else []
    rows = [row[at : at + BUTTONS_PER_BLOCK] for row in choices for at in range(0, len(row), BUTTONS_PER_BLOCK)]
    if len(rich) + len(rows) > MOST_BLOCKS:
        raise SendRejected(f"too many buttons: {len(rows)} rows, at most {MOST_BLOCKS - len(rich)}")
    return rich + [
        {"type": "actions", "elements": [_button(it, n, at) for at, it in enumerate(row)]} for n, row in enumerate(rows)
    ]


def text_of(body: RichText, *, instead: str = "") -> str:
    """The ``text`` of a message: the same words, escaped, with the target of each link behind its words. Nothing in it is a
    mention, so nothing pings. ``instead`` is added where the message has no buttons."""
    words = _written_out(body)
    if len(escape(words).encode()) > LONGEST_TEXT.size:
        words = _encodable(body.text)
    return escape(f"{words}\n\n{_encodable(instead)}" if instead else words)


def escape(text: str) -> str:
    """Text in which mrkdwn finds no mention, no link and no channel ("Formatting message text", "Escaping text")."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def wire_size(body: RichText) -> int:
    """The size of a text as Slack counts it, in bytes: as ``text``, or as blocks, whichever of them reaches its limit first."""
    return max(
        len(escape(_encodable(body.text)).encode()),
        -(-len(msgspec.json.encode(blocks_of(body))) // BLOCK_BYTES_PER_TEXT_BYTE),
    )


def is_target(url: str) -> bool:
    """Whether a link to ``url`` may become a link: http, https or mailto, and not too long."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    has_target = bool(parts.netloc) if parts.scheme in ("http", "https") else parts.scheme == "mailto" and bool(parts.path)
    return has_target and len(url) <= LONGEST_URL and not any(letter.isspace() or not letter.isprintable() for letter in url)


def _elements(body: RichText) -> Iterator[Block]:
    """The parts of a rich text: sections, quotes and preformatted texts. Each begins on a line of its own, so the line ends
    between two of them are left out."""
    waiting: list[Block] = []
    inside: Span | None = None
    for start, end, spans in stretches(body):
        container = next((span for kind in _CONTAINERS for span in spans if span.kind == kind), None)
        if container is not inside:
            yield from _element(inside, waiting)
            waiting, inside = [], container
        waiting += _inline(_encodable(body.text[start:end]), spans)
    yield from _element(inside, waiting)


def _element(container: Span | None, inline: list[Block]) -> Iterator[Block]:
    """One part, without the line ends around it; none when nothing is left of it."""
    while inline and not (text := _shown(inline[0]).lstrip("\n")):
        del inline[0]
    if inline:
        inline[0] = _with_text(inline[0], text)
    while inline and not (text := _shown(inline[-1]).rstrip("\n")):
        del inline[-1]
    if inline:
        inline[-1] = _with_text(inline[-1], text)
        kind = "rich_text_section" if container is None else _CONTAINERS[container.kind]
        yield {"type": kind, "elements": inline}


def _shown(element: Block) -> str:
    return str(element["text"] if "text" in element else element["url"])


def _with_text(element: Block, text: str) -> Block:
    return element if _shown(element) == text else {**element, "text": text}


def stretches(body: RichText) -> Iterator[tuple[int, int, list[Span]]]:
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


def _inline(text: str, spans: Sequence[Span]) -> Iterator[Block]:
    """Text and links with their styles. Preformatted text has neither."""
    kinds = {span.kind for span in spans}
    if "pre" in kinds:
        yield {"type": "text", "text": text}
        return
    styles = {style: True for style in _STYLES if style in kinds}
    style = {"style": styles} if styles else {}
    target = next((span.arg for span in spans if span.kind == "link" and span.arg and is_target(span.arg)), None)
    if target is not None:
        yield {"type": "link", "url": target, **({} if text == target else {"text": text}), **style}
        return
    at = 0
    for start, end in addresses_in(text) if "code" not in kinds else ():
        if at < start:
            yield {"type": "text", "text": text[at:start], **style}
        yield {"type": "link", "url": text[start:end], **style}
        at = end
    if at < len(text):
        yield {"type": "text", "text": text[at:], **style}


def addresses_in(text: str) -> Iterator[tuple[int, int]]:
    """(start, end) of each address in a text: a text element of a rich text is literal, so apps make no link of it."""
    for found in _URL.finditer(text):
        url = found[0].rstrip(_NOT_AT_ITS_END)
        while url.endswith(")") and url.count(")") > url.count("("):
            url = url[:-1].rstrip(_NOT_AT_ITS_END)
        if is_target(url):
            yield found.start(), found.start() + len(url)


def _button(choice: Choice, row: int, column: int) -> Block:
    """``action_id`` is unique in its message, ``value`` comes back with the press ("Button element")."""
    label = _encodable(choice.data if is_blank(choice.label) else " ".join(sanitise(choice.label).split()))
    return {
        "type": "button",
        "action_id": f"choice-{row}-{column}",
        "text": {
            "type": "plain_text",
            "text": label if len(label) <= LONGEST_LABEL else label[: LONGEST_LABEL - 1] + "…",
            "emoji": False,
        },
        "value": choice.data,
    }


def _written_out(body: RichText) -> str:
    parts: list[str] = []
    at = 0
    for span in sorted(body.spans, key=lambda span: span.end):
        shown = body.text[span.start : span.end]
        if span.kind == "link" and span.arg and span.arg.removeprefix("mailto:") != shown and span.end > at:
            parts.append(f"{body.text[at : span.end]} ({span.arg})")
            at = span.end
    return _encodable("".join([*parts, body.text[at:]]))


def _encodable(text: str) -> str:
    """Half a surrogate pair cannot be written as JSON."""
    return text.encode("utf-8", "replace").decode()
