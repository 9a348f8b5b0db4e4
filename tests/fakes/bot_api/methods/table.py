"""The table of methods, and the small ones: identity, files, chats, commands."""

from collections.abc import Awaitable, Callable

from tests.fakes.bot_api.bot import Bot
from tests.fakes.bot_api.errors import Json, bad_request
from tests.fakes.bot_api.methods import menus, receiving, sending
from tests.fakes.bot_api.result import Result

FILE_LIMIT_BYTES = 20 * 1024 * 1024


async def get_me(bot: Bot, params: Json) -> Result:
    return Result(bot.user)


async def get_file(bot: Bot, params: Json) -> Result:
    """getFile: at most 20 MB; the path is fetched at ``/file/bot<token>/<file_path>``."""
    if not params.get("file_id"):
        raise bad_request("file_id not specified")
    stored = bot.files.get(params["file_id"])
    if stored is None:
        raise bad_request("invalid file_id")
    if stored.file["file_size"] > FILE_LIMIT_BYTES:
        raise bad_request("file is too big")
    return Result(stored.file)


async def get_chat(bot: Bot, params: Json) -> Result:
    """getChat: ChatFullInfo"""
    info = bot.chats.find(params.get("chat_id")).info
    gifts = dict.fromkeys(
        ("unlimited_gifts", "limited_gifts", "unique_gifts", "premium_subscription", "gifts_from_channels"), False
    )
    return Result({**info, "accent_color_id": 0, "max_reaction_count": 11, "accepted_gift_types": gifts})


async def leave_chat(bot: Bot, params: Json) -> Result:
    bot.chats.find_writable(params.get("chat_id"))
    return Result(True)


async def end_session(bot: Bot, params: Json) -> Result:
    """logOut and close: of no consequence here."""
    return Result(True)


HANDLERS: dict[str, Callable[[Bot, Json], Awaitable[Result]]] = {
    "getMe": get_me,
    "logOut": end_session,
    "close": end_session,
    "getUpdates": receiving.get_updates,
    "setWebhook": receiving.set_webhook,
    "deleteWebhook": receiving.delete_webhook,
    "getWebhookInfo": receiving.get_webhook_info,
    "sendMessage": sending.send_message,
    "sendPhoto": sending.send_photo,
    "sendDocument": sending.send_document,
    "sendVoice": sending.send_voice,
    "sendMessageDraft": sending.send_message_draft,
    "sendChatAction": sending.send_chat_action,
    "setMessageReaction": sending.set_message_reaction,
    "editMessageText": sending.edit_message_text,
    "editMessageReplyMarkup": sending.edit_message_reply_markup,
    "deleteMessage": sending.delete_message,
    "answerCallbackQuery": sending.answer_callback_query,
    "getFile": get_file,
    "getChat": get_chat,
    "leaveChat": leave_chat,
    "setMyCommands": menus.set_my_commands,
    "getMyCommands": menus.get_my_commands,
    "deleteMyCommands": menus.delete_my_commands,
}
