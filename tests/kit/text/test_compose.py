import pytest
from hypothesis import given

from gatewayd.kit.text import compose, is_blank
from gatewayd.kit.text.split import size_of
from gatewayd.model.message.payload import RichText, Span
from gatewayd.ports.channel import TextFormat, TextLimit
from tests.kit.text.texts import limits, wild_texts

TELEGRAM = TextLimit(4096, "utf16")


def test_the_three_formats() -> None:
    assert compose("**hi**\r\n", text_format="markdown", text_limit=None) == [RichText("**hi**\n")]
    assert compose("**hi**", text_format="plain", text_limit=None) == [RichText("hi")]
    assert compose("**hi**", text_format="rich", text_limit=TELEGRAM) == [RichText("hi", (Span("bold", 0, 2),))]


@pytest.mark.parametrize("text", ["", " \n ", "\u200b", "\x00\x01", "\u202e\ufe0f"])
@pytest.mark.parametrize("text_format", ["markdown", "plain", "rich"])
def test_nothing_to_see_is_nothing_to_send(text: str, text_format: TextFormat) -> None:
    assert compose(text, text_format=text_format, text_limit=TELEGRAM) == []


@pytest.mark.parametrize("text", ["#", "[a]: https://e.org", "**\u200b**", ">"])
def test_markup_alone_is_shown_as_it_was_written(text: str) -> None:
    [piece] = compose(text, text_format="rich", text_limit=TELEGRAM)
    assert piece == RichText(text)


def test_a_long_reply_comes_in_pieces() -> None:
    pieces = compose("para **bold** graph. " * 1000, text_format="rich", text_limit=TELEGRAM)
    assert len(pieces) == 5
    assert sum(len(piece.spans) for piece in pieces) == 1000


@given(wild_texts, limits)
def test_any_text_is_composed_into_pieces_that_can_be_sent(text: str, limit: TextLimit) -> None:
    formats: tuple[TextFormat, ...] = ("markdown", "plain", "rich")
    for text_format in formats:
        pieces = compose(text, text_format=text_format, text_limit=limit)
        assert bool(pieces) is not is_blank(text)
        for piece in pieces:
            piece.text.encode()
            assert not is_blank(piece.text)
            assert size_of(piece.text, limit.unit) <= limit.size
