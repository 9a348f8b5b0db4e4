"""Strategies for nasty texts: everything that platforms, graphemes and encodings trip over."""

from hypothesis import strategies as st

from gatewayd.model.message.payload import RichText, Span, SpanKind
from gatewayd.ports.channel import TextLimit

FAMILY = "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466"
FRAGMENTS = (
    *" \t\n\r\x00\x1b\u00a0\u2028\u202e\u200b\u200d\u200f\ufe0f\u3000",
    *"a.!?。！？)]}\"'*_`~#>|-+[(<&;:/\\",
    "\n\n",
    "\r\n",
    "  \n",
    "word ",
    "Sentence one. Sentence two! ",
    "    indented\n",
    "e\u0301",
    "Z" + "\u0335\u0301" * 12,
    "\u0301",
    "\u0600 ",
    "\U0001f600",
    "\U0001f44b\U0001f3fd",
    FAMILY,
    "\U0001f1e9\U0001f1ea",
    "\U0001f1e9",
    "각",
    "\u1100\u1161\u11a8",
    "क्षि",
    "ก็",
    "שלום ",
    "مرحبا ",
    "漢字。",
    "**",
    "```\n",
    "```python\n",
    "`code`",
    "> ",
    "- ",
    "1. ",
    "# ",
    "[link](https://example.org/a?b=c&d=e)",
    "[x](javascript:alert(1))",
    "![alt](https://example.org/i.png)",
    "<b>&amp;</b>",
    "https://example.org/" + "x" * 40,
    "| a | b |\n|---|---|\n| 1 | 2 |\n",
)

texts = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(max_size=8)), max_size=60).map("".join)
wild_texts = st.one_of(texts, st.text(st.characters(), max_size=60))  # with lone surrogates


@st.composite
def rich_texts(draw: st.DrawFn) -> RichText:
    """A text with spans that nest or are apart, placed anywhere, also inside graphemes."""
    text = draw(texts)
    spans: list[Span] = []

    def place(start: int, end: int, depth: int) -> None:
        at = start
        while at < end and depth < 3 and len(spans) < 12 and draw(st.booleans()):
            begin = draw(st.integers(at, end - 1))
            stop = draw(st.integers(begin + 1, end))
            kind: SpanKind = draw(st.sampled_from(("bold", "italic", "code", "pre", "link", "quote")))
            arg = "https://example.org" if kind == "link" else None
            spans.append(Span(kind, begin, stop, arg))
            place(begin, stop, depth + 1)
            at = stop

    place(0, len(text), 0)
    return RichText(text, tuple(spans))


limits = st.builds(
    TextLimit,
    st.one_of(st.integers(4, 12), st.integers(4, 120), st.just(4096)),
    st.sampled_from(("utf16", "bytes", "chars")),
)
