from html.parser import HTMLParser

import pytest
from hypothesis import given

from gatewayd.channels.telegram.sending.html import to_html
from gatewayd.kit.text import compose
from gatewayd.kit.text.split import size_of
from gatewayd.model.message.payload import RichText, Span
from gatewayd.ports.channel import TextLimit
from tests.fakes.bot_api.methods.entities import parse_html
from tests.kit.text.texts import rich_texts, wild_texts

LIMIT = TextLimit(4096, "utf16")


class Balance(HTMLParser):
    """Fails unless every tag is one of Telegram's, closed, in order."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert tag in {"b", "i", "s", "code", "pre", "a", "blockquote"}
        assert {name for name, _ in attrs} <= ({"href"} if tag == "a" else {"class"})
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def check(rich: RichText) -> None:
    html = to_html(rich)
    parser = Balance()
    parser.feed(html)
    parser.close()
    assert parser.open == []
    assert parser.text == rich.text
    text, _ = parse_html(html)
    assert text == rich.text


@given(rich_texts())
def test_any_spans_give_balanced_html_of_the_same_text(rich: RichText) -> None:
    check(rich)


@given(wild_texts)
def test_any_reply_becomes_messages_that_telegram_takes(markdown: str) -> None:
    for piece in compose(markdown, text_format="rich", text_limit=LIMIT):
        assert size_of(piece.text, "utf16") <= 4096
        check(piece)


@pytest.mark.parametrize(
    ("text", "spans", "html"),
    [
        ("a < b & c > \"d\" 'e'", (), "a &lt; b &amp; c &gt; \"d\" 'e'"),
        ("bold", (Span("bold", 0, 4),), "<b>bold</b>"),
        ("a b c", (Span("bold", 0, 5), Span("italic", 2, 3)), "<b>a <i>b</i> c</b>"),
        ("x", (Span("strike", 0, 1),), "<s>x</s>"),
        ("x", (Span("code", 0, 1),), "<code>x</code>"),
        ("x", (Span("pre", 0, 1),), "<pre>x</pre>"),
        ("x<y", (Span("pre", 0, 3, "c++"),), '<pre><code class="language-c++">x&lt;y</code></pre>'),
        ("x", (Span("quote", 0, 1),), "<blockquote>x</blockquote>"),
        ("x", (Span("link", 0, 1, 'https://e.org/?a="&b=<'),), '<a href="https://e.org/?a=&quot;&amp;b=&lt;">x</a>'),
        ("x", (Span("link", 0, 1, "javascript:alert(1)"),), "x"),
        ("xy", (Span("code", 0, 2), Span("bold", 0, 1)), "<code>xy</code>"),
        ("xy", (Span("quote", 0, 2), Span("quote", 0, 1)), "<blockquote>xy</blockquote>"),
        ("abc", (Span("bold", 0, 2), Span("italic", 1, 3)), "<b>ab</b>c"),
        ("ab", (Span("bold", 1, 1),), "ab"),
        ("ab", (Span("bold", 0, 1), Span("italic", 1, 2)), "<b>a</b><i>b</i>"),
    ],
)
def test_to_html(text: str, spans: tuple[Span, ...], html: str) -> None:
    assert to_html(RichText(text, spans)) == html
