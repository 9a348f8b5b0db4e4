"""Payloads to the parameters of methods. Pure."""

import re
from collections.abc import Sequence
from typing import Final

from msgspec.structs import replace

from gatewayd.channels.telegram.errors import Fallback
from gatewayd.channels.telegram.sending.html import to_html, written_out
from gatewayd.channels.telegram.wire import (
    AnswerCallbackQuery,
    EditMessageText,
    InlineKeyboardButton,
    InlineKeyboardMarkup,
    LinkPreviewOptions,
    ReplyParameters,
    SendChatAction,
    SendMessage,
    SendMessageDraft,
)
from gatewayd.kit.text import compose, is_blank, sanitise
from gatewayd.kit.text.split import size_of, split
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import Choice, Draft, EditText, PressAnswer, RichText, SendText
from gatewayd.ports.channel import TextLimit

MAX_TEXT_BYTES = 32_768
"""The server refuses a longer text before it looks at the markup in it (Client.cpp, get_formatted_text)."""

BUTTONS_PER_ROW = 8
"""Apps show no more side by side, and of more than 12 in a row the server leaves the others out without a word (tdlib,
ReplyMarkup.cpp). The Bot API documents no limit; bot authors report this one (tginfo/Telegram-Limits, issue 228)."""

MOST_BUTTONS = 100
"""Under one message: reported there, too."""

LONGEST_LABEL = 64
"""Characters. Apps show far fewer, and the server refuses a keyboard of about 10,000 bytes ("reply markup is too long")."""

LONGEST_ANSWER = 200
"""answerCallbackQuery, parameter text: 0-200 characters. Counted in UTF-16 units, which are never fewer."""

LONGEST_TEXT = TextLimit(4096, "utf16")
"""sendMessage, editMessageText and sendMessageDraft, parameter text: 4096 characters after entities parsing."""

SPLIT_FROM = 1024
"""UTF-16 units. A text that is not longer and is refused as too long is not refused for its length."""

NOTHING: Final[frozenset[Fallback]] = frozenset()
"""Of what a message may go without: nothing."""

LONGEST_TOAST = 100
"""Characters. A toast is gone after a few seconds; what takes longer to read is shown until it is dismissed."""

_NUMBER = re.compile(r"-?[0-9]{1,18}")


def from_outbound(
    payload: SendText, *, chat_id: int | str, link_previews: bool, without: frozenset[Fallback] = NOTHING
) -> SendMessage:
    """sendMessage with parse_mode HTML; without markup also when there is none, or when it would be too long."""
    text, parse_mode = _formatted(_in_words(payload, without), plain="markup" in without)
    return SendMessage(
        chat_id=chat_id,
        text=text,
        parse_mode=parse_mode,
        message_thread_id=None if "topic" in without else thread_of(payload.peer),
        # A reply is a courtesy: when the message is gone, the text must arrive all the same.
        reply_parameters=None if "reply" in without else _reply_to(payload, chat_id),
        link_preview_options=None if link_previews else LinkPreviewOptions(is_disabled=True),
        reply_markup=None if "buttons" in without else keyboard_of(payload.choices),
    )


def from_edit(
    payload: EditText, *, chat_id: int | str, message_id: int, link_previews: bool, without: frozenset[Fallback] = NOTHING
) -> EditMessageText:
    """editMessageText, its text as in :func:`from_outbound`."""
    text, parse_mode = _formatted(_in_words(payload, without), plain="markup" in without)
    return EditMessageText(
        chat_id=chat_id,
        message_id=message_id,
        text=text,
        parse_mode=parse_mode,
        link_preview_options=None if link_previews else LinkPreviewOptions(is_disabled=True),
        reply_markup=None if "buttons" in without else keyboard_of(payload.choices),
    )


def halves_of(payload: SendText) -> list[SendText]:
    """What the server finds too long, in shorter messages: the first is the reply, the last has the buttons. None when it is not
    long."""
    size = size_of(payload.body.text, LONGEST_TEXT.unit)
    bodies = split(payload.body, TextLimit(size // 2 + 1, LONGEST_TEXT.unit)) if size > SPLIT_FROM else []
    last = len(bodies) - 1
    return [
        replace(
            payload,
            body=body,
            reply_to=payload.reply_to if at == 0 else None,
            part=payload.part if at == 0 else payload.part + 1,
            choices=payload.choices if at == last else (),
        )
        for at, body in enumerate(bodies)
    ]


def _in_words(payload: SendText | EditText, without: frozenset[Fallback]) -> RichText:
    """The text, and what to write where there are no buttons to press."""
    if "buttons" not in without or not payload.instead:
        return payload.body
    return RichText(f"{payload.body.text}\n\n{payload.instead}", payload.body.spans)


def _reply_to(payload: SendText, chat_id: int | str) -> ReplyParameters | None:
    replied = number_in(chat_id, payload.reply_to, home=chat_id_of(payload.peer))
    return None if replied is None else ReplyParameters(replied)


def keyboard_of(choices: Sequence[Sequence[Choice]]) -> InlineKeyboardMarkup | None:
    """An inline keyboard; a row that is too wide goes on in the next one. None without a button.

    :raises SendRejected: more than ``MOST_BUTTONS``.
    """
    if (count := sum(map(len, choices))) > MOST_BUTTONS:
        raise SendRejected(f"too many buttons: {count}, at most {MOST_BUTTONS}")
    rows = tuple(
        tuple(InlineKeyboardButton(_label(choice), choice.data) for choice in row[at : at + BUTTONS_PER_ROW])
        for row in choices
        for at in range(0, len(row), BUTTONS_PER_ROW)
    )
    return InlineKeyboardMarkup(rows) if rows else None


def answer_from(answer: PressAnswer) -> AnswerCallbackQuery:
    """answerCallbackQuery: a toast, a long text an alert."""
    text = _encodable(answer.text).encode("utf-16-le")[: 2 * LONGEST_ANSWER].decode("utf-16-le", "ignore")
    return AnswerCallbackQuery(answer.press, text, show_alert=len(text) > LONGEST_TOAST)


def typing_in(peer: Peer, *, chat_id: int | str) -> SendChatAction | None:
    """sendChatAction, or None where it is not supported: in channels."""
    return None if peer.kind == "channel" else SendChatAction(chat_id, "typing", thread_of(peer))


def draft_in(draft: Draft, *, chat_id: int, draft_id: int) -> SendMessageDraft | None:
    """sendMessageDraft with the end of the text so far; None while there is nothing to see."""
    bodies = compose(draft.text, text_format="rich", text_limit=LONGEST_TEXT)
    if not bodies:
        return None
    text, parse_mode = _formatted(bodies[-1], plain=False)
    return SendMessageDraft(chat_id, draft_id, text, thread_of(draft.peer), parse_mode)


def chat_id_of(peer: Peer) -> int | str:
    """chat_id: a number, or @username of a public channel or group."""
    number = number_of(peer.id)
    return peer.id if number is None else number


def thread_of(peer: Peer) -> int | None:
    return number_of(peer.thread)


def number_in(chat_id: int | str, message_id: str | None, *, home: int | str) -> int | None:
    """The number of a message, which stands alone or as NUMBER@CHAT (see ``state.Migrations``), if it is in this chat.
    ``home`` is the chat of a number that stands alone."""
    number, _, place = (message_id or "").partition("@")
    return number_of(number) if (number_of(place) if place else home) == chat_id else None


def number_of(text: str | None) -> int | None:
    return int(text) if text is not None and _NUMBER.fullmatch(text) else None


def _formatted(body: RichText, *, plain: bool) -> tuple[str, str | None]:
    """The parameters text and parse_mode."""
    if body.spans and not plain:
        html = to_html(body)
        if len(html.encode("utf-8", "replace")) <= MAX_TEXT_BYTES:
            return _encodable(html), "HTML"
    text = written_out(body)
    fits = size_of(text, LONGEST_TEXT.unit) <= LONGEST_TEXT.size
    return _encodable(text if fits else body.text), None


def _label(choice: Choice) -> str:
    """One line, in which there is something to read: a button without a text is left out by the server without a word."""
    words = choice.data if is_blank(choice.label) else " ".join(sanitise(choice.label).split())
    return words if len(words) <= LONGEST_LABEL else words[: LONGEST_LABEL - 1] + "…"


def _encodable(text: str) -> str:
    """Half a surrogate pair cannot be written as JSON."""
    return text.encode("utf-8", "replace").decode()
