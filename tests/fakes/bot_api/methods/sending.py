"""The methods that write into a chat: parameters in, the Message out, ApiError when the platform would refuse.

Rules: core.telegram.org/bots/api#available-methods; the words of the refusals are those of the Bot API server
(tdlib/telegram-bot-api, ``Client.cpp``). Each function names its method.
"""

from tests.fakes.bot_api import updates as shapes
from tests.fakes.bot_api.body import Upload
from tests.fakes.bot_api.bot import Bot
from tests.fakes.bot_api.chats import Chat
from tests.fakes.bot_api.errors import Json, bad_request
from tests.fakes.bot_api.methods.entities import (
    CAPTION_LIMIT_UTF16,
    RAW_LIMIT_BYTES,
    TEXT_LIMIT_UTF16,
    find_entities,
    parse_html,
    utf16_length,
)
from tests.fakes.bot_api.methods.keyboards import checked_markup
from tests.fakes.bot_api.result import Result

CHAT_ACTIONS = frozenset(
    {
        "typing",
        "upload_photo",
        "record_video",
        "upload_video",
        "record_voice",
        "upload_voice",
        "upload_document",
        "choose_sticker",
        "find_location",
        "record_video_note",
        "upload_video_note",
    }
)
LONGEST_ANSWER = 200
NOT_MODIFIED = (
    "message is not modified: specified new message content and reply markup are exactly the same as a current content "
    "and reply markup of the message"
)


def _formatted(params: Json, field: str, entities_field: str) -> tuple[str, list[Json]]:
    """The text after entities parsing, trimmed as the server trims it."""
    raw = params.get(field, "")
    if len(raw.encode()) > RAW_LIMIT_BYTES:
        raise bad_request("text is too long")
    mode = params.get("parse_mode", "").lower()
    if mode == "html":
        text, entities = parse_html(raw)
    elif mode in {"", "none"}:
        text, entities = raw, params.get(entities_field) or []
    else:
        raise bad_request("unsupported parse_mode")
    stripped = text.rstrip()
    lead = len(stripped) - len(stripped.lstrip(" \n")) if not entities else 0
    return stripped[lead:], entities or find_entities(stripped[lead:])


def _text_content(params: Json) -> Json:
    if not params.get("text"):
        raise bad_request("message text is empty")
    text, entities = _formatted(params, "text", "entities")
    if not text:
        raise bad_request("text must be non-empty")
    if utf16_length(text) > TEXT_LIMIT_UTF16:
        raise bad_request("message is too long")
    return {"text": text, **({"entities": entities} if entities else {})}


def _caption_content(params: Json) -> Json:
    caption, entities = _formatted(params, "caption", "caption_entities")
    if utf16_length(caption) > CAPTION_LIMIT_UTF16:
        raise bad_request("message caption is too long")
    if not caption:
        return {}
    return {"caption": caption, **({"caption_entities": entities} if entities else {})}


def _markup_content(params: Json, *, inline_only: bool = False) -> Json:
    markup = checked_markup(params["reply_markup"], inline_only=inline_only) if "reply_markup" in params else None
    return {} if markup is None else {"reply_markup": markup}


def _post(bot: Bot, chat: Chat, params: Json, content: Json) -> Result:
    """Put a message of the bot into the chat, as a reply and in its topic when that is asked for."""
    thread = params.get("message_thread_id")
    if thread is not None and thread not in chat.topics:
        raise bad_request("message thread not found")
    reply = params.get("reply_parameters") or {}
    replied = chat.messages.get(reply.get("message_id", 0))
    if "message_id" in reply and replied is None and not reply.get("allow_sending_without_reply"):
        raise bad_request("message to be replied not found")
    content = {**content, **_markup_content(params)}
    message = shapes.make_message(
        bot.chats.number(),
        chat.info,
        bot.unix_time(),
        sender=None if chat.info["type"] == "channel" else shapes.as_sender(bot.user),
        thread=thread,
        reply_to=replied,
        content=content,
    )
    chat.messages[message["message_id"]] = message
    return Result(message)


async def send_message(bot: Bot, params: Json) -> Result:
    """sendMessage"""
    content = _text_content(params)
    return _post(bot, bot.chats.find_writable(params.get("chat_id")), params, content)


async def send_photo(bot: Bot, params: Json) -> Result:
    """sendPhoto: an upload, or the file_id of a known file."""
    file = _file(bot, params.get("photo"), "photos", "file_*.jpg")
    content = {**shapes.photo_content([file]), **_caption_content(params)}
    return _post(bot, bot.chats.find_writable(params.get("chat_id")), params, content)


async def send_document(bot: Bot, params: Json) -> Result:
    """sendDocument"""
    document = params.get("document")
    name = document.filename if isinstance(document, Upload) else "document"
    kind = document.content_type if isinstance(document, Upload) else "application/octet-stream"
    file = _file(bot, document, "documents", "file_*.bin")
    content = {**shapes.document_content(file, name, kind), **_caption_content(params)}
    return _post(bot, bot.chats.find_writable(params.get("chat_id")), params, content)


async def send_voice(bot: Bot, params: Json) -> Result:
    """sendVoice"""
    file = _file(bot, params.get("voice"), "voice", "file_*.oga")
    content = {**shapes.voice_content(file, params.get("duration", 1)), **_caption_content(params)}
    return _post(bot, bot.chats.find_writable(params.get("chat_id")), params, content)


def _file(bot: Bot, given: object, folder: str, name: str) -> Json:
    if isinstance(given, Upload):
        if not given.content:
            raise bad_request("file must be non-empty")
        return bot.store_file(folder, name, given.content)
    stored = bot.files.get(str(given))
    if stored is None:
        raise bad_request("wrong file identifier/HTTP URL specified")
    return stored.file


async def send_message_draft(bot: Bot, params: Json) -> Result:
    """sendMessageDraft: a text that grows in a private chat and is never stored."""
    chat = bot.chats.find_writable(params.get("chat_id"))
    if chat.info["type"] != "private" or not params.get("draft_id"):
        raise bad_request("RANDOM_ID_INVALID" if not params.get("draft_id") else "PEER_ID_INVALID")
    if params.get("text"):
        _text_content(params)
    return Result(True)


async def send_chat_action(bot: Bot, params: Json) -> Result:
    """sendChatAction"""
    if params.get("action") not in CHAT_ACTIONS:
        raise bad_request("wrong parameter action in request")
    bot.chats.find_writable(params.get("chat_id"))
    return Result(True)


def _message(bot: Bot, params: Json, kind: str) -> tuple[Chat, Json]:
    chat = bot.chats.find_writable(params.get("chat_id"))
    message = chat.messages.get(params.get("message_id", 0))
    if message is None:
        raise bad_request(f"{kind} not found")
    return chat, message


async def set_message_reaction(bot: Bot, params: Json) -> Result:
    """setMessageReaction"""
    _message(bot, params, "message to react")
    return Result(True)


async def edit_message_text(bot: Bot, params: Json) -> Result:
    """editMessageText: the bot's own messages only, and the text or the buttons must change."""
    content = _text_content(params)
    return _edit(bot, params, content, gone=("text", "entities", "reply_markup"))


async def edit_message_reply_markup(bot: Bot, params: Json) -> Result:
    """editMessageReplyMarkup: without ``reply_markup`` the buttons go."""
    return _edit(bot, params, {}, gone=("reply_markup",))


def _edit(bot: Bot, params: Json, content: Json, *, gone: tuple[str, ...]) -> Result:
    chat, message = _message(bot, params, "message to edit")
    if message.get("from", {}).get("id", bot.user["id"]) != bot.user["id"]:
        raise bad_request("message can't be edited")
    if "text" in gone and "text" not in message:
        raise bad_request("there is no text in the message to edit")
    content = {**content, **_markup_content(params, inline_only=True)}
    if content == {key: message[key] for key in gone if key in message}:
        raise bad_request(NOT_MODIFIED)
    edited = {**{key: value for key, value in message.items() if key not in gone}, **content}
    edited["edit_date"] = bot.unix_time()
    chat.messages[message["message_id"]] = edited
    return Result(edited)


async def delete_message(bot: Bot, params: Json) -> Result:
    """deleteMessage"""
    chat, message = _message(bot, params, "message to delete")
    del chat.messages[message["message_id"]]
    return Result(True)


async def answer_callback_query(bot: Bot, params: Json) -> Result:
    """answerCallbackQuery: each query once."""
    if len(params.get("text", "")) > LONGEST_ANSWER:
        raise bad_request("MESSAGE_TOO_LONG")
    query_id = params.get("callback_query_id", "")
    if bot.presses.get(query_id, params) is not None:
        raise bad_request("query is too old and response timeout expired or query ID is invalid")
    bot.presses[query_id] = params
    return Result(True)
