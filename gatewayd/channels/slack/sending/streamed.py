"""What of a growing text can be appended to a stream, as the markdown that streams take (chat.appendStream, ``markdown_text``).
Pure.

What was appended stays until the stream ends. So only what will not change is appended: a format that is not closed, and a sign
in the last line that may begin one, wait for what follows.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import quote

from gatewayd.channels.slack.sending.render import addresses_in, is_target, stretches
from gatewayd.model.message.payload import RichText, Span, SpanKind

LONGEST_MARKDOWN: Final = 12_000
"""Characters of one append (chat.appendStream, ``markdown_text``)."""

_LONGEST_WORD: Final = 100
"""Characters. Some languages have no spaces."""

_MARKS: Final[tuple[tuple[SpanKind, str], ...]] = (("bold", "**"), ("italic", "_"), ("strike", "~~"))
_MAY_BEGIN: Final = re.compile(r"[*_~`\[<|$\\]")
_MAY_BEGIN_A_LINE: Final = re.compile(r"[ \t]*(?:[-+#>|=—]|[0-9]{1,9}[.)]?\Z)")
_SPECIAL: Final = re.compile(r"`|\\(?=[!-/:-@\[-`{-~]|\Z)|(?<!\w)_|_(?!\w)|(?<!\s)[*~]|[*~](?!\s)|\](?=\(|\Z)")
"""What begins or ends a format where it stands (CommonMark, section 6). A sign within a word, or alone, needs no backslash."""

_TICKS: Final = re.compile(r"`+")
_SAFE_IN_URL: Final = "%/:=&?~#+!$,;'@*-._"


def settled(rich: RichText) -> int:
    """Up to where ``rich`` stays as it is when more text comes behind it, as far as can be told. The last word waits for the next
    one, so that what is appended begins with no white space, which may get lost."""
    text, length = rich.text, len(rich.text)
    line = text.rfind("\n") + 1
    sign = _MAY_BEGIN.search(text, line)
    end = line if _MAY_BEGIN_A_LINE.match(text, line) else length if sign is None else sign.start()
    written = len(text[:end].rstrip())
    word = max(text.rfind(" ", 0, written), text.rfind("\n", 0, written)) + 1
    end = word if written - word <= _LONGEST_WORD else written
    for span in sorted(rich.spans, key=lambda span: span.start, reverse=True):
        if span.start < end and (end < span.end or span.end == length):
            end = span.start
    return end


def to_markdown(rich: RichText, start: int, end: int) -> str | None:
    """``rich.text[start:end]`` as markdown in which nothing is a mention, so nothing pings. None: a format begins before
    ``start``, or it is longer than one append may be."""
    if any(span.start < start < span.end or span.start < end < span.end for span in rich.spans):
        return None
    written = "".join(_parts(rich, start, end))
    return written if len(written) <= LONGEST_MARKDOWN else None


def _parts(rich: RichText, start: int, end: int) -> Iterator[str]:
    quoted: Span | None = None
    for first, last, spans in stretches(rich):
        text = rich.text[max(first, start) : min(last, end)]
        if not text:
            continue
        by_kind = {span.kind: span for span in spans}
        if "pre" in by_kind:
            yield _fenced(text, by_kind["pre"].arg or "")
            continue
        shown = _inline(text, by_kind)
        if (quote_ := by_kind.get("quote")) is not None:
            shown = shown.replace("\n", "\n> ")
            yield shown if quote_ is quoted else f"> {shown}"
        else:
            yield shown
        quoted = quote_


def _inline(text: str, by_kind: dict[SpanKind, Span]) -> str:
    core = text.strip()
    if not core:
        return text
    before, _, after = text.partition(core)
    link = by_kind.get("link")
    shown = _code(core) if "code" in by_kind else escape(core) if link is not None else _with_addresses(core)
    if link is not None and link.arg and is_target(link.arg):
        shown = f"[{shown}]({quote(link.arg, safe=_SAFE_IN_URL)})"
    for kind, mark in _MARKS:
        if kind in by_kind:
            shown = f"{mark}{shown}{mark}"
    return before + shown + after


def escape(text: str) -> str:
    """Text that is only text in markdown. There, too, ``<!channel>`` and ``<@U…>`` are mentions for Slack. It shows an entity as
    its sign and reads it no second time, so an ampersand needs none (PostHog/posthog, pull request 95054, by measurement)."""
    return _SPECIAL.sub(r"\\\g<0>", text).replace("<", "&lt;").replace(">", "&gt;")


def _with_addresses(text: str) -> str:
    """Text with the addresses in it as they are: an escape would become a part of them."""
    parts, at = [], 0
    for start, end in addresses_in(text):
        parts += [escape(text[at:start]), text[start:end]]
        at = end
    return "".join([*parts, escape(text[at:])])


def _code(text: str) -> str:
    ticks = "`" * (_longest_run(text) + 1)
    pad = " " if text.startswith("`") or text.endswith("`") else ""
    return f"{ticks}{pad}{_harmless(text)}{pad}{ticks}"


def _fenced(text: str, language: str) -> str:
    ticks = "`" * max(3, _longest_run(text) + 1)
    return f"\n{ticks}{re.sub(r'[^A-Za-z0-9+#._-]', '', language)}\n{_harmless(text)}\n{ticks}\n"


def _longest_run(text: str) -> int:
    return max((len(run) for run in _TICKS.findall(text)), default=0)


def _harmless(text: str) -> str:
    """Code is shown as it is, so a mention in it cannot be escaped. An invisible sign parts it until the final text comes."""
    return re.sub(r"<(?=[!@#])", "<\u2060", text)
