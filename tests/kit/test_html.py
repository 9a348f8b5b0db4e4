"""The HTML made of agent text can be inserted without looking."""

from html.parser import HTMLParser

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from gatewayd.kit.html import LONGEST_MARKDOWN, markdown_to_html

ALLOWED = {
    "a": {"href", "rel", "target", "title"},
    "code": {"class"},
    "ol": {"start"},
    "p": {"class"},
    "td": {"class"},
    "th": {"class"},
    **{tag: set() for tag in ("blockquote", "br", "em", "h3", "h4", "h5", "h6", "hr", "li", "pre")},
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
