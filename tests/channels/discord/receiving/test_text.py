"""The text of a message as a person reads it."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.discord.receiving.text import described, embedded, one_line, quotation, words_of
from gatewayd.channels.discord.wire.answers import User
from gatewayd.channels.discord.wire.events import Content, Embed, Media, Poll, PollAnswer, Sticker

US = "111"


def words(text: str, *mentions: User, own_roles: frozenset[str] = frozenset()) -> str:
    return words_of(Content(text, mentions=mentions), own_id=US, own_name="gatebot", own_roles=own_roles).text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ask <@22> or <@!22>", "ask @Bob or @Bob"),
        ("ask <@33>", "ask @33"),
        ("in <#44>", "in #44"),
        ("hey <@&55>", "hey @role 55"),
        ("<:wave:66> <a:dance:77>", ":wave: :dance:"),
        ("use </ask now:88>", "use /ask now"),
        ("at <t:1618953630:R>", "at 2021-04-20 21:20 UTC"),
        ("at <t:9999999999999>", "at <t:9999999999999>"),
        ("**bold** `code` 1 < 2 > 0 <b> <@> <@x>", "**bold** `code` 1 < 2 > 0 <b> <@> <@x>"),
        ("<id:guide>", "<id:guide>"),
    ],
)
def test_ids_become_words(text: str, shown: str) -> None:
    assert words(text, User("22", "bob", "Bob")) == shown


def test_our_name_in_front_is_left_out_but_never_the_whole_text() -> None:
    assert words(f"<@{US}>,\n <@!{US}>: <@&5> go <@{US}>", own_roles=frozenset({"5"})) == "go @gatebot"
    assert words(f" <@{US}> ") == "@gatebot"
    assert words(f"<@&5> <@{US}> go") == "@role 5 @gatebot go"


def test_a_name_mentions_nobody_else() -> None:
    assert words("<@22>", User("22", "x", "<@33>\n<@44>")) == "@<@33> <@44>"


def test_what_is_no_text() -> None:
    content = Content(
        sticker_items=(Sticker("Wave\nhi"),),
        poll=Poll(Media("Lunch?"), (PollAnswer(Media("yes")), PollAnswer(Media(None)))),
        embeds=(Embed("Build 7", "failed\x00"), Embed(None, None)),
    )
    assert described(content) == "[sticker: Wave hi]\n[poll: Lunch? (yes / )]"
    assert embedded(content) == "Build 7\nfailed"
    assert described(Content()) == embedded(Content()) == ""


def test_a_quotation_has_each_line_marked() -> None:
    assert quotation("Bob", "a\n\nb") == "[a message of Bob:]\n> a\n> \n> b"
    assert quotation("", "a") == "[a message of somebody:]\n> a"


marked = st.lists(
    st.sampled_from([f"<@{US}>", "<@22>", "<@&5>", "<#6>", "<:a1:7>", "<t:1>", "</a:8>", "<", ">", "@", ":", " ", "\n"])
    | st.text(max_size=4)
).map("".join)


@given(marked)
def test_any_text_is_read(text: str) -> None:
    found = words_of(Content(text, mentions=(User("22", "bob"),)), own_id=US, own_name="gatebot")
    assert found.text == found.text.strip()
    assert "\x00" not in found.text
    assert not found.mentions_us


@given(st.text(), st.integers(1, 100))
def test_a_name_is_one_bounded_line(text: str, at_most: int) -> None:
    name = one_line(text, at_most)
    assert len(name) <= at_most
    assert len(name.splitlines()) <= 1
