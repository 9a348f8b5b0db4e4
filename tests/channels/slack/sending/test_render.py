"""Formatted text as blocks: whatever an agent says, Slack takes it, nothing of it is lost, and nothing of it pings."""

import html
from itertools import chain

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.slack import PLUGIN
from gatewayd.channels.slack.sending.render import LONGEST_TEXT, blocks_of, is_target, text_of, wire_size
from gatewayd.kit.text import compose
from gatewayd.kit.text.split import size_of
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.payload import Choice, RichText, Span
from tests.channels.slack.sending.blocks import pings, read
from tests.fakes.slack_platform.blocks import check_blocks
from tests.kit.text.texts import rich_texts, wild_texts

MENTIONS = [
    "<!channel>",
    "<!here>",
    "<!everyone>",
    "<!subteam^S012>",
    "<@U012AB3CD>",
    "<#C012AB3CD>",
    "@here",
    "@channel",
    "&lt;",
]
words_and_mentions = st.lists(st.sampled_from([*MENTIONS, "a", " ", "\n\n", "`", "**", "> ", "| a | b |\n|---|---|\n"])).map(
    "".join
)


def words(text: str) -> str:
    """A text without line ends: between two parts of a rich text these are not written."""
    return text.encode("utf-8", "replace").decode().replace("\n", "")


@given(rich_texts())
def test_any_spans_give_blocks_with_the_same_text(rich: RichText) -> None:
    assert words(read(blocks_of(rich))) == words(rich.text)


@given(
    st.text(), st.lists(st.tuples(st.integers(-2, 20), st.integers(-2, 20), st.sampled_from(["bold", "pre", "quote", "link"])))
)
def test_spans_that_cross_or_are_beyond_the_text_do_no_harm(text: str, spans: list[tuple[int, int, str]]) -> None:
    rich = msgspec.convert({"text": text, "spans": [{"kind": k, "start": a, "end": b} for a, b, k in spans]}, RichText)
    assert words(read(blocks_of(rich))) == words(text)


@given(st.one_of(wild_texts, words_and_mentions))
def test_any_reply_becomes_messages_that_slack_takes(markdown: str) -> None:
    for piece in compose(markdown, text_format="rich", text_limit=PLUGIN.text_limit, wire_size=wire_size):
        blocks, text = blocks_of(piece), text_of(piece)
        assert words(read(blocks)) == words(piece.text)
        assert check_blocks(msgspec.to_builtins(blocks)) == blocks
        assert size_of(text, "bytes") <= LONGEST_TEXT.size
        assert len(msgspec.json.encode(blocks)) <= 13_200 - 5_000, "no room for buttons"
        assert pings(text) == []


@given(st.text())
def test_the_plain_text_says_the_same(text: str) -> None:
    assert html.unescape(text_of(RichText(text))) == text.encode("utf-8", "replace").decode()


def test_the_manifest_has_the_limit_of_the_blocks() -> None:
    assert PLUGIN.text_limit == LONGEST_TEXT


def section(*elements: object) -> list[object]:
    return [{"type": "rich_text", "elements": [{"type": "rich_text_section", "elements": list(elements)}]}]


@pytest.mark.parametrize(
    ("text", "spans", "elements"),
    [
        ("a", (Span("bold", 0, 1),), [{"type": "text", "text": "a", "style": {"bold": True}}]),
        (
            "ab",
            (Span("italic", 0, 2), Span("strike", 1, 2)),
            [
                {"type": "text", "text": "a", "style": {"italic": True}},
                {"type": "text", "text": "b", "style": {"italic": True, "strike": True}},
            ],
        ),
        ("a", (Span("code", 0, 1),), [{"type": "text", "text": "a", "style": {"code": True}}]),
        ("a", (Span("link", 0, 1, "https://e.org/?a=<b>"),), [{"type": "link", "url": "https://e.org/?a=<b>", "text": "a"}]),
        ("a", (Span("link", 0, 1, "mailto:a@e.org"),), [{"type": "link", "url": "mailto:a@e.org", "text": "a"}]),
        ("a", (Span("link", 0, 1, "javascript:alert(1)"),), [{"type": "text", "text": "a"}]),
        ("a", (Span("link", 0, 1, "slack://open"),), [{"type": "text", "text": "a"}]),
        ("https://e.org/a_(b)", (), [{"type": "link", "url": "https://e.org/a_(b)"}]),
        (
            "(see https://e.org/a). Or",
            (),
            [{"type": "text", "text": "(see "}, {"type": "link", "url": "https://e.org/a"}, {"type": "text", "text": "). Or"}],
        ),
        ("https://e.org", (Span("code", 0, 13),), [{"type": "text", "text": "https://e.org", "style": {"code": True}}]),
        ("<!channel> :tada: *a*", (), [{"type": "text", "text": "<!channel> :tada: *a*"}]),
    ],
)
def test_blocks_of(text: str, spans: tuple[Span, ...], elements: list[object]) -> None:
    assert blocks_of(RichText(text, spans)) == section(*elements)


def test_quotes_and_code_are_parts_of_their_own() -> None:
    rich = RichText("a\n\nq\nr\n\nx = 1\n\nb", (Span("quote", 3, 6), Span("pre", 8, 13, "py"), Span("bold", 8, 9)))
    [block] = blocks_of(rich)
    assert [(part["type"], part["elements"][0]["text"]) for part in block["elements"]] == [
        ("rich_text_section", "a"),
        ("rich_text_quote", "q\nr"),
        ("rich_text_preformatted", "x"),
        ("rich_text_section", "b"),
    ]
    assert [element["text"] for element in block["elements"][2]["elements"]] == ["x", " = 1"]


def test_nothing_to_read_gives_no_blocks() -> None:
    assert blocks_of(RichText("\n\n")) == []
    assert text_of(RichText("")) == ""


@pytest.mark.parametrize(
    "url",
    ["https://", "https://a/\u202e", "http:/a", "mailto:", "ftp://a", "https://a b", "https://[", "https://a/" + "x" * 3000],
)
def test_what_is_no_target(url: str) -> None:
    assert not is_target(url)


def test_the_target_of_a_link_is_in_the_plain_text_if_it_fits() -> None:
    rich = RichText("here & there", (Span("link", 0, 4, "https://e.org/?a=1&b"), Span("link", 7, 12, "mailto:there")))
    assert text_of(rich) == "here (https://e.org/?a=1&amp;b) &amp; there"
    long = RichText("x" * 3990, (Span("link", 0, 4, "https://e.org/a"),))
    assert text_of(long) == "x" * 3990


@given(
    st.lists(
        st.lists(st.builds(Choice, st.text(max_size=100), st.text("abc:", min_size=1, max_size=60)), max_size=12), max_size=5
    )
)
def test_each_choice_is_a_button(rows: list[list[Choice]]) -> None:
    blocks = blocks_of(RichText("a"), rows)
    assert read(blocks) == "a"
    assert check_blocks(msgspec.to_builtins(blocks)) == blocks
    buttons = [button for block in blocks[1:] for button in block["elements"]]
    assert [button["value"] for button in buttons] == [choice.data for choice in chain(*rows)]
    assert all(len(block["elements"]) <= 5 for block in blocks[1:])


def test_a_label_is_one_line_with_something_to_read() -> None:
    rows = [[Choice("  Allow\nonce ", "a"), Choice("\u200b", "b"), Choice("x" * 80, "c")]]
    labels = [button["text"]["text"] for button in blocks_of(RichText("?"), rows)[1]["elements"]]
    assert labels == ["Allow once", "b", "x" * 74 + "…"]


def test_more_rows_of_buttons_than_a_message_has_blocks_are_refused() -> None:
    with pytest.raises(SendRejected, match="too many buttons"):
        blocks_of(RichText("?"), [[Choice("a", "a")]] * 50)


def test_characters_of_several_bytes_make_shorter_messages() -> None:
    pieces = compose("語" * 4000, text_format="rich", text_limit=PLUGIN.text_limit, wire_size=wire_size)
    assert [len(piece.text) for piece in pieces] == [1333, 1333, 1333, 1]


def test_many_formats_make_shorter_messages() -> None:
    pieces = compose("**a** b " * 450, text_format="rich", text_limit=PLUGIN.text_limit, wire_size=wire_size)
    assert len(pieces) > 1
    assert all(len(msgspec.json.encode(blocks_of(piece))) <= 8000 for piece in pieces)
