"""Formatted text as the Bot API's HTML style (core.telegram.org/bots/api#html-style). Pure.

The server takes each start tag only with its end tag, in order, and knows the entities &lt; &gt; &amp; and &quot;. code and
pre contain no other entity, block quotes and links do not nest in themselves (#formatting-options): what does not fit is
left out, its text stays.
"""

from collections.abc import Sequence
from html import escape

from gatewayd.kit.text.markdown import is_live
from gatewayd.model.message.payload import RichText, Span, SpanKind

_TAG: dict[SpanKind, str] = {
    "bold": "b",
    "italic": "i",
    "strike": "s",
    "code": "code",
    "pre": "pre",
    "link": "a",
    "quote": "blockquote",
}


def to_html(rich: RichText) -> str:
    """``rich`` in HTML style. Without its tags, and with the character entities decoded, it is ``rich.text``."""
    parts: list[str] = []
    opened: list[Span] = []
    at = 0

    def advance(to: int) -> None:
        """Write the text up to ``to``, closing what ends on the way."""
        nonlocal at
        while opened and opened[-1].end <= to:
            span = opened.pop()
            parts.append(escape(rich.text[at : span.end], quote=False) + _end_tag(span))
            at = span.end
        parts.append(escape(rich.text[at:to], quote=False))
        at = to

    for span in sorted(rich.spans, key=lambda span: (span.start, -span.end)):
        advance(span.start)
        if _fits(span, opened):
            parts.append(_start_tag(span))
            opened.append(span)
    advance(len(rich.text))
    return "".join(parts)


def written_out(rich: RichText) -> str:
    """``rich`` without formats: the target of each link is behind its text."""
    parts: list[str] = []
    at = 0
    for span in sorted(rich.spans, key=lambda span: span.end):
        if span.kind == "link" and span.arg and span.arg != rich.text[span.start : span.end]:
            parts.append(f"{rich.text[at : span.end]} ({span.arg})")
            at = span.end
    return "".join([*parts, rich.text[at:]])


def _fits(span: Span, opened: Sequence[Span]) -> bool:
    if span.start >= span.end or (opened and span.end > opened[-1].end):
        return False  # empty, or crossing another
    if span.kind == "link" and not is_live(span.arg or ""):
        return False
    return not any(outer.kind in ("code", "pre", span.kind) for outer in opened)


def _start_tag(span: Span) -> str:
    if span.kind == "link":
        return f'<a href="{escape(span.arg or "")}">'
    if span.kind == "pre" and span.arg:
        return f'<pre><code class="language-{escape(span.arg)}">'
    return f"<{_TAG[span.kind]}>"


def _end_tag(span: Span) -> str:
    return "</code></pre>" if span.kind == "pre" and span.arg else f"</{_TAG[span.kind]}>"
