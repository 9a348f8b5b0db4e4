"""Whatever a text holds, a person reads it in Discord as it was written, nobody is notified, and its size is what is sent."""

import re

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.discord.sending.components import components_of, data_of
from gatewayd.channels.discord.sending.render import LONGEST_TEXT, addresses_in, escape, markdown_of, units_in, wire_size
from gatewayd.kit.text.split import split
from gatewayd.model.message.payload import Choice, RichText, Span, SpanKind
from gatewayd.ports.channel import TextLimit
from tests.channels.discord.reader import plain_of

KINDS: tuple[SpanKind, ...] = ("bold", "italic", "strike", "code", "pre", "link", "quote")
SIGNS = st.text(st.sampled_from("ab \n*_~`|<>[]()#-+.1@:\\/{}!é😀"), max_size=60)
texts = st.one_of(SIGNS, st.text(max_size=60), st.sampled_from(["https://a.example/b_c?d=*", "<@1> @everyone <#2> <t:1>"]))


@st.composite
def bodies(draw: st.DrawFn) -> RichText:
    text = draw(texts)
    marks = sorted(draw(st.lists(st.integers(0, len(text)), max_size=6)))
    pairs = list(zip(marks[::2], marks[1::2], strict=False))
    spans = [Span(draw(st.sampled_from(KINDS)), start, end, arg="https://x.example/") for start, end in pairs]
    return RichText(text, tuple(spans))


def letters(text: str) -> str:
    return "".join(re.findall(r"\w", text))


@given(SIGNS)
def test_an_escaped_text_reads_as_it_was(text: str) -> None:
    shown = plain_of(escape(text))
    assert shown == text.strip()


@given(texts)
def test_nothing_in_a_text_is_a_mention(text: str) -> None:
    written = markdown_of(RichText(text))
    bare = re.sub(r"\\.", "", written)
    assert not re.search(r"<(?:@|#|a?:|t:|/)", bare)


@given(bodies())
def test_the_words_of_a_text_stay_in_their_order(body: RichText) -> None:
    shown = iter(letters(plain_of(markdown_of(body))))
    assert all(letter in shown for letter in letters(body.text)), "each comes behind the one before it"


@given(bodies())
def test_the_size_is_that_of_what_is_sent(body: RichText) -> None:
    assert wire_size(body) == len(markdown_of(body).encode("utf-16-le")) // 2


@given(bodies(), st.integers(1, 200))
def test_no_piece_of_a_long_text_is_too_long(body: RichText, times: int) -> None:
    long = RichText(body.text * times, (*body.spans, Span("pre", 0, len(body.text) * times)) if times % 2 else body.spans)
    for piece in split(long, TextLimit(LONGEST_TEXT, "utf16"), wire_size):
        assert units_in(markdown_of(piece)) <= LONGEST_TEXT


def test_formats_are_those_of_discord() -> None:
    text = "bold and code, https://a.example/x_y. line\n# no heading\n1. no list\nif x:\n  y"
    spans = (Span("bold", 0, 4), Span("code", 9, 13), Span("pre", text.index("if x"), len(text), "python"))
    assert markdown_of(RichText(text, spans)) == (
        "**bold** and `code`, <https://a.example/x_y>. line\n\\# no heading\n1\\. no list\n```python\nif x:\n  y\n```\n"
    )


def test_a_link_has_its_words() -> None:
    assert markdown_of(RichText("see this", (Span("link", 4, 8, "https://a.example/"),))) == "see [this](<https://a.example/>)"
    assert markdown_of(RichText("x", (Span("link", 0, 1, "javascript:alert(1)"),))) == "x"


@given(st.text(max_size=80))
def test_addresses_are_parts_of_the_text(text: str) -> None:
    for start, end in addresses_in(f"{text} https://a.example/b) {text}"):
        assert 0 <= start < end


labels = st.text(max_size=120)
datas = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=60)


@given(st.lists(st.lists(st.builds(Choice, labels, datas), min_size=1, max_size=12), max_size=12))
def test_every_choice_is_a_component_that_discord_takes(choices: list[list[Choice]]) -> None:
    rows = components_of(choices)
    assert len(rows) <= 5
    inside = [it for row in rows for it in row["components"]]
    values = [it["value"] for menu in inside for it in menu.get("options", ())] or [it["custom_id"] for it in inside]
    assert [data_of(value) for value in values] == [choice.data for row in choices for choice in row]
    assert len(set(values)) == len(values)
    assert all(len(value) <= 100 for value in values)
    names = [it["label"] for menu in inside for it in menu.get("options", ())] or [it["label"] for it in inside]
    assert all(name.strip() and units_in(name) <= 100 for name in names)
