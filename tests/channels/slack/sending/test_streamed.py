"""What is appended to a stream: it stays right while the text grows, and nothing in it pings."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.slack.sending.streamed import LONGEST_MARKDOWN, settled, to_markdown
from gatewayd.kit.text.markdown import render
from gatewayd.model.message.payload import RichText, Span
from tests.channels.slack.sending.blocks import pings
from tests.kit.text.texts import rich_texts, texts

PARTS = (
    *("One line\nand more. ", "**bold** ", "`x` ", "\n\n", "- item\n", "1. first\n", "\n\n```py\nx = 1\n```\n", "> q\n", "# T\n"),
    *("<!channel> ", "a_b ", "[t](https://e.org/a) ", "https://e.org/b_c ", "~~x~~ ", "***y*** "),
)


@given(rich_texts(), st.data())
def test_no_part_of_any_text_pings(rich: RichText, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(rich.text)))
    end = data.draw(st.integers(start, len(rich.text)))
    assert pings(to_markdown(rich, start, end) or "") == []


def plain(text: str) -> str:
    return text.replace("&lt;", "<").replace("&gt;", ">")


@given(texts)
def test_the_plain_parts_of_a_text_read_as_it_does(text: str) -> None:
    rich = RichText(text)
    shown = "".join(to_markdown(rich, at, at + 7) or "" for at in range(0, len(text), 7))
    assert plain(re.sub(r"\\([\\`*_~\]])", r"\1", shown)) == plain(text)


@given(st.lists(st.sampled_from(PARTS), max_size=12), st.integers(1, 9))
def test_what_is_settled_stays(parts: list[str], step: int) -> None:
    """An agent writes a text piece by piece: what was settled once is the beginning of all later texts."""
    markdown, shown = "".join(parts), ""
    for at in range(1, len(markdown) + step, step):
        rich = render(markdown[:at])
        assert rich.text.startswith(shown)
        shown = rich.text[: max(settled(rich), len(shown))]


@pytest.mark.parametrize(
    ("markdown", "kept"),
    [
        ("Hello there", "Hello "),
        ("Hello you **bo", "Hello "),
        ("Hello you **bold**", "Hello you "),
        ("Hello **bold** you", "Hello bold "),
        ("Hello **bold as me** you", "Hello bold as me "),
        ("A link [link", "A "),
        ("A\n\n```py\nx = 1", "A\n\n"),
        ("A\n\n```py\nx = 1\n```\n\nB", "A\n\nx = 1\n\n"),
        ("A B\n\n- ", "A "),
        ("A B\n\n1", "A "),
        ("A\n\n12 monkeys", "A\n\n12 "),
        ("> q", ""),
        ("語" * 101, "語" * 101),
    ],
)
def test_settled(markdown: str, kept: str) -> None:
    rich = render(markdown)
    assert rich.text[: settled(rich)] == kept


@pytest.mark.parametrize(
    ("text", "spans", "markdown"),
    [
        ("a_b _c_ *d* 2 * 3 [e] [f](g) ~h~ `i` \\", (), r"a_b \_c\_ \*d\* 2 * 3 [e] [f\](g) \~h\~ \`i\` \\"),
        (r"C:\dir \*", (), r"C:\dir \\\*"),
        ("see https://e.org/_a_?b=*&c=[d](e) *f*", (), r"see https://e.org/_a_?b=*&c=[d](e) \*f\*"),
        ("<!channel> <@U1> & &lt;", (), "&lt;!channel&gt; &lt;@U1&gt; & &lt;"),
        ("a b ", (Span("bold", 0, 4),), "**a b** "),
        ("ab", (Span("italic", 0, 1), Span("strike", 1, 2)), "_a_~~b~~"),
        ("a`b", (Span("code", 0, 3),), "``a`b``"),
        ("`", (Span("code", 0, 1),), "`` ` ``"),
        ("x", (Span("link", 0, 1, "https://e.org/a_(b) c"),), "x"),
        ("x", (Span("link", 0, 1, "https://e.org/a_(b)"),), "[x](https://e.org/a_%28b%29)"),
        ("x = 1\ny", (Span("pre", 0, 7, "py\n<"),), "\n```py\nx = 1\ny\n```\n"),
        ("```", (Span("pre", 0, 3),), "\n````\n```\n````\n"),
        ("<!here>", (Span("code", 0, 7),), "`<\u2060!here>`"),
        ("a\nb\nc", (Span("quote", 0, 3),), "> a\n> b\nc"),
        ("a b", (Span("quote", 0, 3), Span("bold", 0, 1)), "> **a** b"),
    ],
)
def test_to_markdown(text: str, spans: tuple[Span, ...], markdown: str) -> None:
    assert to_markdown(RichText(text, spans), 0, len(text)) == markdown


def test_a_format_that_is_cut_is_no_markdown() -> None:
    rich = RichText("abc", (Span("bold", 0, 3),))
    assert to_markdown(rich, 1, 3) is None
    assert to_markdown(rich, 0, 2) is None


def test_more_than_one_append_may_have_is_none() -> None:
    assert to_markdown(RichText("<" * LONGEST_MARKDOWN), 0, LONGEST_MARKDOWN) is None
