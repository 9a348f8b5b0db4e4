import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.telegram.errors import Fallback
from gatewayd.channels.telegram.sending.html import written_out
from gatewayd.channels.telegram.sending.outbound import (
    MAX_TEXT_BYTES,
    MOST_BUTTONS,
    SPLIT_FROM,
    answer_from,
    chat_id_of,
    from_edit,
    from_outbound,
    halves_of,
    keyboard_of,
    typing_in,
)
from gatewayd.channels.telegram.wire import (
    AnswerCallbackQuery,
    EditMessageText,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    ReplyParameters,
    SendChatAction,
    SendMessage,
)
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, EditText, PressAnswer, RichText, SendText, Span
from tests.fakes.bot_api.methods.keyboards import violations_in
from tests.kit.text.texts import rich_texts

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
    assert from_outbound(payload, chat_id=4711, link_previews=False, without=frozenset({"markup"})) == SendMessage(
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


def test_buttons_are_an_inline_keyboard() -> None:
    choices = ((Choice("Allow  once\n", "a:1"), Choice("Deny", "d:1")), (), (Choice("\u202e \n", "x" * 60),))
    expected = InlineKeyboardMarkup(
        (
            (InlineKeyboardButton("Allow once", "a:1"), InlineKeyboardButton("Deny", "d:1")),
            (InlineKeyboardButton("x" * 60, "x" * 60),),
        )
    )
    assert keyboard_of(choices) == expected
    payload = SendText(Peer("dm", "1"), RichText("?"), choices=choices)
    assert from_outbound(payload, chat_id=1, link_previews=True).reply_markup == expected
    assert keyboard_of(()) is None
    assert keyboard_of(((),)) is None


def test_a_wide_row_goes_on_in_the_next() -> None:
    keyboard = keyboard_of((tuple(Choice(str(n), str(n)) for n in range(20)), (Choice("last", "last"),)))
    assert keyboard is not None
    assert [[button.text for button in row] for row in keyboard.inline_keyboard] == [
        [str(n) for n in range(8)],
        [str(n) for n in range(8, 16)],
        ["16", "17", "18", "19"],
        ["last"],
    ]


def test_a_button_is_never_left_out_in_silence() -> None:
    rows = tuple((Choice(str(n), str(n)),) for n in range(MOST_BUTTONS))
    keyboard = keyboard_of(rows)
    assert keyboard is not None
    assert len(keyboard.inline_keyboard) == MOST_BUTTONS
    with pytest.raises(SendRejected, match="too many buttons: 101, at most 100"):
        keyboard_of((*rows, (Choice("one more", "x"),)))


def test_a_long_label_is_cut_and_says_so() -> None:
    keyboard = keyboard_of(((Choice("a" * 64, "1"), Choice("a" * 65, "2"), Choice("a\ud83d", "3")),))
    assert keyboard is not None
    assert [button.text for button in keyboard.inline_keyboard[0]] == ["a" * 64, "a" * 63 + "…", "a\ufffd"]


def test_an_edit_is_formatted_as_a_message() -> None:
    payload = EditText(Peer("group", "-100500", "77"), BOLD, of=3, message_id="8", choices=((Choice("Yes", "y"),),))
    assert from_edit(payload, chat_id=-100500, message_id=8, link_previews=False) == EditMessageText(
        -100500,
        8,
        "<b>a &amp; b</b>",
        "HTML",
        NO_PREVIEW,
        InlineKeyboardMarkup(((InlineKeyboardButton("Yes", "y"),),)),
    )
    plain = from_edit(
        EditText(Peer("dm", "1"), BOLD, of=3), chat_id=1, message_id=8, link_previews=True, without=frozenset({"markup"})
    )
    assert plain == EditMessageText(1, 8, "a & b")


@pytest.mark.parametrize(
    ("text", "sent", "alert"),
    [
        ("", "", False),
        ("Allowed.", "Allowed.", False),
        ("a" * 100, "a" * 100, False),
        ("a" * 101, "a" * 101, True),
        ("a" * 300, "a" * 200, True),
        ("a" + "😀" * 100, "a" + "😀" * 99, False),
    ],
)
def test_the_answer_to_a_press(text: str, sent: str, alert: bool) -> None:
    assert answer_from(PressAnswer(Peer("dm", "1"), "q1", text)) == AnswerCallbackQuery("q1", sent, show_alert=alert)


@given(st.lists(st.lists(st.builds(Choice, st.text(), st.text("ab:-", min_size=1, max_size=60)), max_size=30), max_size=3))
def test_the_server_takes_any_keyboard_as_it_is(choices: list[list[Choice]]) -> None:
    keyboard = keyboard_of(choices)
    if keyboard is None:
        assert not any(choices)
        return
    markup = msgspec.json.decode(msgspec.json.encode(keyboard))
    assert violations_in(markup) == []
    assert [button["callback_data"] for row in markup["inline_keyboard"] for button in row] == [
        choice.data for row in choices for choice in row
    ]


def test_what_a_message_goes_without() -> None:
    choices = ((Choice("Yes", "y"),),)
    body = RichText("see docs", (Span("link", 4, 8, "https://e.org/a_b"), Span("bold", 0, 8)))
    payload = SendText(Peer("group", "-1", "77"), body, reply_to="5", choices=choices, instead="Answer with /yes.")
    everything: frozenset[Fallback] = frozenset({"markup", "topic", "reply", "buttons"})
    sent = from_outbound(payload, chat_id=-1, link_previews=True, without=everything)
    assert sent == SendMessage(-1, "see docs (https://e.org/a_b)\n\nAnswer with /yes.")
    edit = EditText(Peer("dm", "1"), body, of=3, choices=choices, instead="Answer with /yes.")
    edited = from_edit(edit, chat_id=1, message_id=8, link_previews=True, without=everything)
    assert (edited.text, edited.reply_markup) == (sent.text, None)


def test_targets_that_make_a_text_too_long_are_left_out() -> None:
    text = "docs " + "a" * 4090
    payload = SendText(Peer("dm", "1"), RichText(text, (Span("link", 0, 4, "https://e.org"),)))
    sent = from_outbound(payload, chat_id=1, link_previews=True, without=frozenset({"markup"}))
    assert sent.text == text


@given(rich_texts())
def test_written_out_is_the_text_with_the_targets_of_its_links(rich: RichText) -> None:
    plain = written_out(rich)
    assert plain.replace(" (https://example.org)", "") == rich.text.replace(" (https://example.org)", "")


def test_a_text_that_is_found_too_long_is_sent_in_halves() -> None:
    payload = SendText(Peer("dm", "1"), RichText("word " * 800), reply_to="5", choices=((Choice("Yes", "y"),),))
    first, *_, last = halves = halves_of(payload)
    assert len(halves) == 2
    assert max(len(half.body.text) for half in halves) <= 2001
    assert (first.reply_to, first.choices, first.part) == ("5", (), 1)
    assert (last.reply_to, last.choices, last.part) == (None, payload.choices, 2)
    assert halves_of(SendText(Peer("dm", "1"), RichText("a" * SPLIT_FROM))) == []
