"""The text out of its chunks."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.agents.acp.turn.reply_text import PARAGRAPH, ReplyText
from gatewayd.agents.acp.wire import MessageChunk, TextBlock
from gatewayd.kit import json

Chunk = tuple[str | None, str]
TOOL = None


def chunk(text: str, message_id: str | None = None) -> MessageChunk:
    return MessageChunk(TextBlock("text", text), message_id)


def together(*chunks: Chunk | None) -> ReplyText:
    """Pairs of id and text; None is a tool."""
    said = ReplyText()
    for each in chunks:
        if each is None:
            said.use_tool()
        else:
            said.add(chunk(each[1], each[0]))
    return said


@pytest.mark.parametrize(
    ("chunks", "text"),
    [
        ([("a", "One"), ("a", " two.")], "One two."),
        ([(None, "One"), (None, " two.")], "One two."),
        ([("a", "Let me look."), ("b", "Done.")], "Let me look.\n\nDone."),
        ([("a", "Let "), ("a", "me look."), ("b", "Done.")], "Let me look.\n\nDone."),
        ([("a", "Let"), ("b", " me"), ("c", " look.")], "Let me look."),
        ([("a", "Hel"), ("b", "lo, "), ("c", "wor"), ("d", "ld")], "Hello, world"),
        ([("a", "Hel"), ("b", "lo "), ("c", "wor"), ("d", "ld"), ("d", "!"), ("e", "!")], "Hello world!!"),
        ([("a", "Looking."), TOOL, ("a", "Done.")], "Looking.\n\nDone."),
        ([TOOL, ("a", "Done."), TOOL], "Done."),
        ([("a", ""), ("b", "Done.")], "Done."),
    ],
)
def test_paragraphs(chunks: list[Chunk | None], text: str) -> None:
    assert together(*chunks).finish() == text


@given(st.lists(st.lists(st.sampled_from(["a", "b "]), min_size=2, max_size=5), min_size=1, max_size=5))
def test_messages_of_several_chunks_are_paragraphs(messages: list[list[str]]) -> None:
    chunks: list[Chunk | None] = [(f"m{number}", text) for number, message in enumerate(messages) for text in message]
    assert together(*chunks).finish() == PARAGRAPH.join("".join(message) for message in messages).strip()


@pytest.mark.parametrize(
    ("chunks", "is_looping"),
    [
        ([(f"m{number}", "cut ") for number in range(21) for _ in range(2)], True),
        ([(f"m{number}", "cut ") for number in range(20) for _ in range(2)], False),
        ([(f"m{number}", "word ") for number in range(1000)], False),
        ([("a", "word ") for _ in range(1000)], False),
        ([*[(f"m{number}", "cut ") for number in range(21) for _ in range(2)], TOOL, ("b", "Done.")], False),
        ([], False),
    ],
)
def test_whether_it_loops(chunks: list[Chunk | None], is_looping: bool) -> None:
    assert together(*chunks).is_looping == is_looping


@given(st.lists(st.text(min_size=1, max_size=5), min_size=4, max_size=40))
def test_many_chunks_with_an_id_each_are_one_text(texts: list[str]) -> None:
    said = together(*((f"m{number}", text) for number, text in enumerate(texts)))
    assert said.finish() == "".join(texts).strip()


@given(st.text(max_size=20), st.integers(0, 20))
def test_half_an_emoji_finds_its_other_half(text: str, place: int) -> None:
    """As JSON escapes cut it: ``kit.json`` keeps the halves."""
    units = [json.decode(f'"\\u{unit:04x}"', str, keep_halves=True) for unit in _utf16(text + "\U0001f600")]
    chunks = [(None, "".join(part)) for part in (units[:place], units[place:])]
    assert together(*chunks).finish() == (text + "\U0001f600").strip()


def _utf16(text: str) -> list[int]:
    data = text.encode("utf-16-le")
    return [int.from_bytes(data[at : at + 2], "little") for at in range(0, len(data), 2)]


@pytest.mark.parametrize(("chunks", "ends"), [([], False), ([("a", "x")], True), ([("a", "x"), TOOL], False), ([TOOL], False)])
def test_whether_it_ends_in_text(chunks: list[Chunk | None], ends: bool) -> None:
    assert together(*chunks).ends_in_text == ends


def test_what_is_shown_as_it_grows_is_what_is_sent() -> None:
    said = ReplyText()
    grown = "".join(said.add(chunk(text, f"m{number}")) for number, text in enumerate(["Hel", "lo ", "wor", "ld"]))
    assert grown.replace(PARAGRAPH, "") == said.finish() == "Hello world"
