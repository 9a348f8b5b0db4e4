"""The HTML made of agent text can be inserted without looking."""

import re
from html import unescape
from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.kit.html import LONGEST_MARKDOWN, markdown_to_html
from gatewayd.kit.text.markdown import render

ALLOWED = {
    "a": {"href", "rel", "target", "title"},
    "code": {"class"},
    "li": {"value"},
    "ol": {"start"},
    "p": {"class"},
    "td": {"class"},
    "th": {"class"},
    **{tag: set() for tag in ("bdi", "blockquote", "br", "em", "h3", "h4", "h5", "h6", "hr", "pre")},
    **{tag: set() for tag in ("s", "strong", "table", "tbody", "thead", "tr", "ul")},
}
HOSTILE = [
    *("<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "javascript:alert(1)", "&#x6a;avascript:", "data:text/html,x"),
    *("[x](", "![x](", ")", "[x]: ", "mailto:a@b", "//evil", "https://a.example/", "<", ">", '"', "'", "\x00", "\u202e"),
    *("`", "```", "\n", "|", "-", "|-|-|", "*", "_", "# ", "> "),
]


class Auditor(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def audit(text: str) -> list[tuple[str, dict[str, str | None]]]:
    auditor = Auditor()
    auditor.feed(markdown_to_html(text))
    auditor.close()
    return auditor.found


@example("[x]()")
@example("![x]()")
@example("[![x](http://a)]()")
@given(st.lists(st.sampled_from(HOSTILE) | st.text(max_size=8), max_size=24).map("".join))
def test_only_known_tags_and_safe_links_come_out(text: str) -> None:
    for tag, attributes in audit(text):
        assert tag in ALLOWED
        assert set(attributes) <= ALLOWED[tag]
        if tag == "a":
            href = attributes["href"] or ""
            assert href.lower().startswith(("http://", "https://", "mailto:"))
            assert attributes["rel"] == "noopener noreferrer nofollow"
            assert attributes["target"] == "_blank"


def test_formats_survive() -> None:
    html = markdown_to_html("# Title\n\n**bold** *soft* ~~gone~~ `x<y`\nnext\n\n```python\nif a < b: pass\n```\n\n- one\n- two\n")
    assert "<h3>Title</h3>" in html
    assert "<strong>bold</strong> <em>soft</em> <s>gone</s> <code>x&lt;y</code><br />\nnext" in html
    assert '<pre><code class="language-python">if a &lt; b: pass\n</code></pre>' in html
    assert "<li>one</li>" in html


def test_raw_html_stays_text() -> None:
    assert markdown_to_html("<b>hi</b>") == "<p>&lt;b&gt;hi&lt;/b&gt;</p>\n"


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "/v1/webchat/logout", "data:image/gif;base64,R0", "//evil.example", "file:///etc/passwd"]
)
def test_unsafe_links_and_images_are_not_links(url: str) -> None:
    assert audit(f"[text]({url}) ![text]({url}) <{url}>") == [("p", {})]


def test_an_unsafe_link_is_its_text_and_its_target() -> None:
    html = markdown_to_html("[text](javascript:alert(1)) ![pic](file:///x) [here]()")
    assert html == "<p>text (javascript:alert(1)) pic (file:///x) here</p>\n"


def test_items_keep_their_numbers() -> None:
    html = markdown_to_html("1. a\n1. b\n   - x\n2. c\n7. d\n")
    assert re.findall("<[ou]l|<li[^>]*>", html) == ["<ol", "<li>", '<li value="1">', "<ul", "<li>", "<li>", '<li value="7">']


@pytest.mark.parametrize("text", ["2*3*4 &amp; __init__.py", "**「A」**なので", "C:\\_tmp\\*x* ~~gone~~", "see `a*b` and *x*"])
def test_the_page_shows_the_words_that_every_channel_shows(text: str) -> None:
    shown = unescape(re.sub("<[^>]*>", "", markdown_to_html(text))).rstrip("\n")
    assert shown == render(text).text


def test_what_is_nested_too_deep_is_shown_as_it_is() -> None:
    assert markdown_to_html("> " * 300 + "deep").startswith('<p class="as-is">&gt; &gt;')


def test_an_image_is_linked_and_not_loaded() -> None:
    html = markdown_to_html("![a cat](https://pics.example/cat.png)")
    assert "<img" not in html
    assert 'href="https://pics.example/cat.png"' in html
    assert ">a cat</a>" in html


def test_an_image_in_a_link_is_its_text() -> None:
    html = markdown_to_html("[![a cat](https://pics.example/cat.png)](https://cats.example)")
    assert html.count("<a ") == 1
    assert ">a cat</a>" in html


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("see https://a.example/b_c.", "https://a.example/b_c"),
        ("(https://a.example/b)", "https://a.example/b"),
        ("https://a.example/_v1_/__init__.py#L16, y", "https://a.example/_v1_/__init__.py#L16"),
        ("*see https://a.example/a*b*", "https://a.example/a*b"),
        ("详见https://a.example/_路径_。请看", "https://a.example/_路径_"),
        ("http://[::1]:80/_x_ ", "http://[::1]:80/_x_"),
        ("https://en.wikipedia.org/wiki/Trio_(library)", "https://en.wikipedia.org/wiki/Trio_(library)"),
        ("x https://a.example/?q=1&r=2, y", "https://a.example/?q=1&r=2"),
    ],
)
def test_bare_urls_become_links(text: str, url: str) -> None:
    assert [attributes["href"] for tag, attributes in audit(text) if tag == "a"] == [url]


def test_column_alignment_needs_no_inline_style() -> None:
    html = markdown_to_html("|a|b|\n|:-:|--:|\n|1|2|\n")
    assert "style" not in html
    assert '<td class="align-center">1</td>' in html
    assert '<td class="align-right">2</td>' in html


def test_an_endless_text_is_shown_as_it_is() -> None:
    html = markdown_to_html("*" * (LONGEST_MARKDOWN + 1) + "<i>")
    assert html.startswith('<p class="as-is">****')
    assert html.endswith("&lt;i&gt;</p>\n")
