import pytest

from gatewayd.channels.telegram.outbound import MAX_TEXT_BYTES, chat_id_of, from_outbound, typing_in
from gatewayd.channels.telegram.wire import LinkPreviewOptions, ReplyParameters, SendChatAction, SendMessage
from gatewayd.model.envelope import Peer
from gatewayd.model.payload import RichText, SendText, Span

BOLD = RichText("a & b", (Span("bold", 0, 5),))
NO_PREVIEW = LinkPreviewOptions(is_disabled=True)


def test_formatted_text_is_html() -> None:
    payload = SendText(Peer("group", "-100500", "77"), BOLD, reply_to="5")
    assert from_outbound(payload, chat_id=-100500, link_previews=False) == SendMessage(
        -100500, "<b>a &amp; b</b>", "HTML", 77, ReplyParameters(5, allow_sending_without_reply=True), NO_PREVIEW
    )


def test_text_without_formats_has_no_markup() -> None:
    payload = SendText(Peer("dm", "4711"), RichText("a & b"))
    assert from_outbound(payload, chat_id=4711, link_previews=True) == SendMessage(4711, "a & b")


def test_plain_when_asked_for() -> None:
    payload = SendText(Peer("dm", "4711"), BOLD)
    assert from_outbound(payload, chat_id=4711, link_previews=False, plain=True) == SendMessage(
        4711, "a & b", link_preview_options=NO_PREVIEW
    )


def test_markup_that_the_server_would_not_read_is_left_out() -> None:
    link = "https://example.org/" + "x" * 1000
    text = "ab" * 50
    spans = tuple(Span("link", at, at + 1, link) for at in range(0, 100, 2))
    sent = from_outbound(SendText(Peer("dm", "1"), RichText(text, spans)), chat_id=1, link_previews=False)
    assert len(link) * 50 > MAX_TEXT_BYTES
    assert (sent.text, sent.parse_mode) == (text, None)


def test_what_cannot_be_encoded_is_replaced() -> None:
    assert from_outbound(SendText(Peer("dm", "1"), RichText("a\ud83db")), chat_id=1, link_previews=False).text == "a?b"


@pytest.mark.parametrize("reply_to", [None, "", "in-12", "1" * 30, "٣"])
def test_a_reply_to_no_message_number_is_no_reply(reply_to: str | None) -> None:
    payload = SendText(Peer("dm", "1"), RichText("x"), reply_to=reply_to)
    assert from_outbound(payload, chat_id=1, link_previews=False).reply_parameters is None


def test_chat_ids() -> None:
    assert [chat_id_of(Peer("group", text)) for text in ("-100500", "7", "@news")] == [-100500, 7, "@news"]


def test_typing_is_shown_where_it_can_be() -> None:
    assert typing_in(Peer("group", "-1", "77"), chat_id=-1) == SendChatAction(-1, "typing", 77)
    assert typing_in(Peer("channel", "-1"), chat_id=-1) is None
