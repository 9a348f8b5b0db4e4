"""What people write, as text: from mrkdwn, and from rich_text blocks."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.slack.receiving.text import Words, words_of, words_of_app
from gatewayd.channels.slack.sending.render import blocks_of, escape
from gatewayd.channels.slack.wire.events import Message, decode_message
from gatewayd.model.message.payload import RichText
from tests.channels.slack.receiving.reading import US

NAMES = {"U0ANN": "Ann"}


def words(message: Message) -> Words:
    return words_of(message, own_id=US, own_name="gatebot", name_of=NAMES.get)


def from_text(text: str) -> str:
    return words(Message(text=text)).text


def from_rich(*elements: dict[str, Any], text: str = "as mrkdwn") -> str:
    """Of a message with these parts of a rich text."""
    blocks = [{"type": "rich_text", "block_id": "b", "elements": list(elements)}]
    return words(decode_message(json.dumps({"ts": "1.0", "text": text, "blocks": blocks}).encode())).text


def section(*elements: dict[str, Any]) -> dict[str, Any]:
    return {"type": "rich_text_section", "elements": list(elements)}


def text(value: str, **style: bool) -> dict[str, Any]:
    return {"type": "text", "text": value, **({"style": style} if style else {})}


@pytest.mark.parametrize(
    ("mrkdwn", "plain"),
    [
        ("a &amp;&lt;&gt; b &amp;lt;", "a &<> b &lt;"),
        ("ask <@U0ANN> or <@U0BEN> or <@U0CLEO|cleo>", "ask @Ann or @U0BEN or @cleo"),
        ("in <#C01|general> and <#C02> and <#C03|>", "in #general and #C02 and #C03"),
        ("<!channel> <!here> <!everyone>", "@channel @here @everyone"),
        ("<!channel|channel> <!here|@here>", "channel @here"),
        ("<!subteam^S01|@team> <!subteam^S02>", "@team @S02"),
        ("<!date^1392734382^{date}|Feb 18, 2014>", "Feb 18, 2014"),
        ("<!unknown^a|shown> <!unknown^b>", "shown unknown"),
        ("<https://example.org/?a=1&amp;b=2>", "https://example.org/?a=1&b=2"),
        ("<https://example.org|the page>", "the page (https://example.org)"),
        ("<https://example.org/|https://example.org>", "https://example.org/"),
        ("<mailto:a@example.org|a@example.org>", "a@example.org"),
        ("<mailto:a@example.org|write>", "write (a@example.org)"),
        ("a < b <> c", "a < b  c"),
        (f"<@{US}>", "@gatebot"),
        (f"<@{US}|bot> : /stop", "/stop"),
        (f"<@{US}> <@{US}>, hi", "hi"),
        (f"hi <@{US}>", "hi @gatebot"),
        (f"\n <@{US}>\nhi", "hi"),
    ],
)
def test_mrkdwn_is_read(mrkdwn: str, plain: str) -> None:
    assert from_text(mrkdwn) == plain


def test_a_rich_text_is_read_as_it_is_written() -> None:
    assert (
        from_rich(section(text("<!channel> & <@U0ANN> *"), text("x", bold=True), text("y", code=True)))
        == "<!channel> & <@U0ANN> *x`y`"
    )


def test_the_elements_of_a_rich_text() -> None:
    shown = from_rich(
        section(
            {"type": "user", "user_id": "U0ANN"},
            text(" "),
            {"type": "user", "user_id": US},
            text(" "),
            {"type": "usergroup", "usergroup_id": "S01"},
            text(" "),
            {"type": "channel", "channel_id": "C01"},
            text(" "),
            {"type": "broadcast", "range": "channel"},
            text(" "),
            {"type": "emoji", "name": "wave", "unicode": "1f44b-1f3fd"},
            {"type": "emoji", "name": "party-parrot"},
            text(" "),
            {"type": "date", "timestamp": 1720710212, "format": "{date_num}", "fallback": "today"},
            {"type": "color", "value": "#F405B3"},
            {"type": "link", "url": "https://example.org", "text": "page"},
            {"type": "hologram", "text": "?"},
        )
    )
    assert shown == "@Ann @gatebot @S01 #C01 @channel 👋🏽:party-parrot: today#F405B3page (https://example.org)?"


def test_the_parts_of_a_rich_text() -> None:
    shown = from_rich(
        section(text("Do:\n")),
        {"type": "rich_text_list", "style": "ordered", "indent": 0, "elements": [section(text("one")), section(text("two"))]},
        {"type": "rich_text_list", "style": "bullet", "indent": 1, "elements": [section(text("below"))]},
        {"type": "rich_text_list", "style": "ordered", "indent": 0, "offset": 2, "elements": [section(text("three"))]},
        {"type": "rich_text_preformatted", "elements": [text("a\n  b")]},
        {"type": "rich_text_quote", "elements": [text("he said\nso")]},
        section(text("end")),
    )
    assert shown == "Do:\n1. one\n2. two\n  - below\n3. three\n```\na\n  b\n```\n> he said\n> so\nend"


def test_our_name_in_front_is_left_out_in_a_rich_text_too() -> None:
    assert from_rich(section({"type": "user", "user_id": US}, text(": /status"))) == "/status"
    assert from_rich(section(text(" "), {"type": "user", "user_id": US}, text(" "))) == "@gatebot"


def test_a_mention_in_a_rich_text_alone_is_a_mention() -> None:
    blocks = [{"type": "rich_text", "elements": [section({"type": "user", "user_id": US})]}]
    assert words(decode_message(json.dumps({"ts": "1.0", "text": "hi", "blocks": blocks}).encode())).mentions_us


@pytest.mark.parametrize(
    "blocks", [[], [{"type": "section", "text": {"type": "mrkdwn", "text": "?"}}], [{"type": "rich_text"}], "?"]
)
def test_without_a_rich_text_the_text_counts(blocks: object) -> None:
    assert words(decode_message(json.dumps({"ts": "1.0", "text": "hi &amp; so", "blocks": blocks}).encode())).text == "hi & so"


def test_what_an_app_writes_into_blocks_and_attachments_is_read() -> None:
    def shown(**fields: Any) -> str:
        message = decode_message(json.dumps({"ts": "1.0", "text": "", "bot_id": "B01", **fields}).encode())
        return words_of_app(message, own_id=US, own_name="gatebot", name_of=NAMES.get)

    header = {"type": "header", "text": {"type": "plain_text", "text": "Alert"}}
    fields = {"type": "section", "fields": [{"type": "mrkdwn", "text": "host: <https://web-1|web-1>"}]}
    assert shown(blocks=[header, fields]) == "Alert\nhost: web-1 (https://web-1)"
    assert (
        shown(attachments=[{"pretext": "Look", "title": "Disk", "text": "91 &gt; 90", "fallback": "?"}]) == "Look\nDisk\n91 > 90"
    )
    assert shown(text="plain", attachments=[{"text": "?"}]) == "plain"


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_that_is_escaped_comes_back(value: str) -> None:
    shown = words(Message(text=escape(value)))
    assert not shown.mentions_us
    assert shown.text.split() == words(Message(text=escape(shown.text))).text.split()
    assert "<" not in escape(value)


@given(st.text())
def test_any_text_is_read(value: str) -> None:
    shown = words(Message(text=value))
    assert shown.text == shown.text.strip()
    shown.text.encode()


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["elements", "style", "text", "type"]), inner, max_size=4)
    ),
    max_leaves=20,
)
inline = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "link", "user", "usergroup", "broadcast", "channel", "emoji", "date", "color", "x"])},
    optional={
        **dict.fromkeys(("text", "url", "user_id", "range", "name", "unicode", "value", "timestamp", "style"), json_values),
        "style": st.fixed_dictionaries({"code": st.booleans()}) | json_values,
    },
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["rich_text_section", "rich_text_list", "rich_text_quote", "rich_text_preformatted", "x"])},
    optional={
        "elements": st.lists(inline, max_size=4) | json_values,
        "style": st.sampled_from(["ordered", "bullet"]) | json_values,
        **dict.fromkeys(("indent", "offset"), json_values),
    },
)
rich_texts = st.lists(
    st.fixed_dictionaries({"type": st.just("rich_text")}, optional={"elements": st.lists(parts, max_size=4) | json_values})
    | json_values,
    max_size=3,
)


@given(rich_texts | json_values)
def test_any_blocks_are_read(blocks: object) -> None:
    message = decode_message(json.dumps({"ts": "1.0", "text": "hi", "blocks": blocks}).encode())
    words(message).text.encode()
    words_of_app(message, own_id=US, own_name=None, name_of=lambda user: None).encode()


@given(st.text(st.characters(exclude_categories=["C"]), min_size=1).filter(lambda value: value.strip(" \u00a0") == value))
def test_what_we_write_is_read_as_it_was_meant(value: str) -> None:
    """Our own blocks hold the words literally, whatever they look like, so they come back as they are."""
    blocks = json.dumps(blocks_of(RichText(value)))
    shown = words(decode_message(f'{{"ts": "1.0", "text": "?", "blocks": {blocks}}}'.encode()))
    assert not shown.mentions_us
    assert shown.text.split() in (value.split(), ["?"])
