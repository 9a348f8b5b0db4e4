"""Inline keyboards: what the server takes, what it leaves out without a word, and the buttons that people then see.

Facts: core.telegram.org/bots/api#inlinekeyboardmarkup and #inlinekeyboardbutton; the words are those of tdlib/telegram-bot-api
(``Client.cpp``: get_inline_keyboard_button, get_reply_markup) and of tdlib/td (``ReplyMarkup.cpp``). The platform's own servers
are not open: that they refuse data of more than 64 bytes, more than 100 buttons and more than about 10,000 bytes is what bot
authors report (rubenlagus/TelegramBots 218, tginfo/Telegram-Limits 187 and 228).
"""

import msgspec

from tests.fakes.bot_api.errors import Json, bad_request

LONGEST_DATA_BYTES = 64
MOST_BUTTONS = 100
MOST_PER_ROW = 8
LONGEST_MARKUP_BYTES = 10_000
_TYPES = frozenset(
    {
        "url",
        "callback_data",
        "web_app",
        "login_url",
        "switch_inline_query",
        "switch_inline_query_current_chat",
        "switch_inline_query_chosen_chat",
        "copy_text",
        "callback_game",
        "pay",
    }
)
_FIELDS = _TYPES | {"text", "icon_custom_emoji_id", "style"}


def violations_in(markup: Json) -> list[str]:
    """What no correct client sends, though the server would overlook it or leave it out without a word."""
    rows = markup.get("inline_keyboard")
    if not isinstance(rows, list):
        return []
    found = [f"reply_markup: {name} is not a field of InlineKeyboardMarkup" for name in markup if name != "inline_keyboard"]
    for row in rows:
        if not isinstance(row, list):
            continue
        found += ["reply_markup: a row without buttons"] if not row else []
        found += [f"reply_markup: {len(row)} buttons in a row, apps show {MOST_PER_ROW}"] if len(row) > MOST_PER_ROW else []
        for button in row:
            unknown = sorted(button.keys() - _FIELDS) if isinstance(button, dict) else []
            found += [f"reply_markup: {name} is not a field of InlineKeyboardButton" for name in unknown]
            if isinstance(button, dict) and button.get("text") == "":
                found.append("reply_markup: a button without a text, which the server leaves out")
    return found


def checked_markup(markup: Json, *, inline_only: bool = False) -> Json | None:
    """The markup as the message then has it; None when no button is left.

    :raises ApiError: 400, the server does not take it.
    """
    rows = markup.get("inline_keyboard")
    if rows is None:
        if inline_only:
            raise bad_request("inline keyboard expected")
        return markup
    if not isinstance(rows, list):
        raise bad_request('field "inline_keyboard" must be of type Array')
    kept = [[button for button in _row(row) if button["text"]] for row in rows]
    kept = [row for row in kept if row]
    buttons = [button for row in kept for button in row]
    if any(len(button.get("callback_data", "").encode()) > LONGEST_DATA_BYTES for button in buttons):
        raise bad_request("BUTTON_DATA_INVALID")
    if len(buttons) > MOST_BUTTONS or len(msgspec.json.encode({"inline_keyboard": kept})) > LONGEST_MARKUP_BYTES:
        raise bad_request("reply markup is too long")
    return {"inline_keyboard": kept} if kept else None


def _row(row: object) -> list[Json]:
    if not isinstance(row, list):
        raise bad_request('field "inline_keyboard" of the InlineKeyboardMarkup must be an Array of Arrays')
    for button in row:
        if not isinstance(button, dict):
            raise bad_request("can't parse inline keyboard button: InlineKeyboardButton must be an Object")
        if not isinstance(button.get("text"), str):
            raise bad_request("can't parse inline keyboard button: Can't find field \"text\"")
        if not any(button.get(kind) not in (None, "") for kind in _TYPES):
            raise bad_request("can't parse inline keyboard button: Text buttons are unallowed in the inline keyboard")
    return row


def buttons_of(message: Json) -> list[list[Json]]:
    """The rows of buttons under a message."""
    rows: list[list[Json]] = message.get("reply_markup", {}).get("inline_keyboard", [])
    return rows


def data_behind(message: Json, label: str) -> str:
    """What a press of the first button with this label sends.

    :raises KeyError: there is no such button.
    """
    for row in buttons_of(message):
        for button in row:
            if button["text"] == label and "callback_data" in button:
                data: str = button["callback_data"]
                return data
    raise KeyError(label)
