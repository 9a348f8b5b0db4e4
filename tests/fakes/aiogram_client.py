"""A bot made with aiogram, run by test_bot_api.py as a process: what a real client library makes of the fake's bytes."""

import asyncio  # noqa: TID251 - a foreign client library, in a process of its own
import json
import sys
from datetime import datetime, timedelta
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import aiogram.methods
from aiogram import Bot
from aiogram.client.session.aiohttp import AiohttpSession
from aiogram.client.telegram import TelegramAPIServer
from aiogram.exceptions import TelegramForbiddenError, TelegramMigrateToChat, TelegramRetryAfter
from aiogram.types import InlineKeyboardButton, InlineKeyboardMarkup, LinkPreviewOptions, Message, TelegramObject, Update


async def describe_message(bot: Bot, message: Message) -> str:
    parts = [str(message.text or message.caption)]
    if message.entities:
        parts.append(str([f"{entity.type} {entity.offset} {entity.length}" for entity in message.entities]).replace("'", ""))
    if message.is_topic_message:
        parts.append(f"thread {message.message_thread_id}")
    if message.photo:
        parts.append(f"photo {len(message.photo)}")
    if message.document:
        content = await bot.download(message.document)
        assert content is not None
        parts.append(f"document {message.document.file_name} {content.read().decode()}")
    if message.voice:
        parts.append(f"voice {message.voice.duration}")
    if message.migrate_to_chat_id:
        parts.append(f"migrate_to {message.migrate_to_chat_id}")
    if message.migrate_from_chat_id:
        parts.append(f"migrate_from {message.migrate_from_chat_id}")
    return " ".join(parts)


async def describe(bot: Bot, update: Update) -> str:
    message = update.message or update.edited_message or update.channel_post
    if message is not None:
        return f"{update.event_type}: {await describe_message(bot, message)}"
    if update.callback_query is not None:
        await update.callback_query.answer().as_(bot)
        return f"callback_query: {update.callback_query.data}"
    if update.my_chat_member is not None:
        return f"my_chat_member: {update.my_chat_member.new_chat_member.status}"
    return "unknown"


async def poll(bot: Bot) -> list[str]:
    """Everything that waits, confirmed as it goes."""
    seen: list[str] = []
    offset: int | None = None
    while updates := await bot.get_updates(offset=offset, limit=4, timeout=1):
        seen += [await describe(bot, update) for update in updates]
        offset = updates[-1].update_id + 1
    return seen


async def talk(bot: Bot, chat_id: int) -> dict[str, Any]:
    """Send, edit and provoke refusals."""
    seen: dict[str, Any] = {}
    html = '<a href="https://example.org">link</a> <b>bold</b>'
    markup = InlineKeyboardMarkup(inline_keyboard=[[InlineKeyboardButton(text="yes", callback_data="y")]])
    try:
        await bot.send_message(chat_id, html, parse_mode="HTML")
    except TelegramRetryAfter as error:
        seen["retry_after"] = error.retry_after
    try:
        await bot.send_message(-4002, "old group")
    except TelegramMigrateToChat as error:
        seen["migrate_to"] = error.migrate_to_chat_id
    try:
        await bot.send_message(4712, "blocked")
    except TelegramForbiddenError as error:
        seen["forbidden"] = str(error)
    await bot.send_chat_action(chat_id, "typing")
    preview = LinkPreviewOptions(is_disabled=True)
    sent = await bot.send_message(chat_id, html, parse_mode="HTML", reply_markup=markup, link_preview_options=preview)
    seen["sent"] = [entity.type for entity in sent.entities or []]
    await bot.edit_message_text("final", chat_id=chat_id, message_id=sent.message_id)
    seen["chat"] = (await bot.get_chat(chat_id)).type
    return seen


async def use_webhook(bot: Bot) -> list[Any]:
    await bot.set_webhook("http://127.0.0.1:9/hook", secret_token="s", max_connections=7, allowed_updates=["message"])
    info = await bot.get_webhook_info()
    await bot.delete_webhook(drop_pending_updates=True)
    return [info.url, info.max_connections, (await bot.get_webhook_info()).url]


async def main(url: str, token: str, chat_id: int) -> None:
    async with Bot(token, session=AiohttpSession(api=TelegramAPIServer.from_base(url))) as bot:
        seen: dict[str, Any] = {"me": (await bot.get_me()).username, "updates": await poll(bot)}
        seen.update(await talk(bot, chat_id))
        seen["webhook"] = await use_webhook(bot)
    sys.stdout.write(json.dumps(seen))


def parameters(names: list[str]) -> dict[str, dict[str, list[str]]]:
    """The parameters that the library knows of each method, without the deprecated ones."""
    found: dict[str, dict[str, list[str]]] = {}
    for name in names:
        fields = getattr(aiogram.methods, name[0].upper() + name[1:]).model_fields
        kept = {key: field for key, field in fields.items() if not (field.json_schema_extra or {}).get("deprecated")}
        found[name] = {
            "required": sorted(key for key, field in kept.items() if field.is_required()),
            "optional": sorted(key for key, field in kept.items() if not field.is_required()),
        }
    return found


def samples() -> dict[str, dict[str, Any]]:
    """A value for each field of a Message and of an Update that the library knows."""
    return {
        kind.__name__: {field.alias or name: sample(field.annotation, 1) for name, field in kind.model_fields.items()}
        for kind in (Message, Update)
    }


def sample(kind: Any, depth: int) -> Any:
    """JSON of this type: a model's optional fields, too, down to a depth."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return sample(args[0], depth)
    if origin in (Union, UnionType):
        return sample(next(arg for arg in args if arg is not NoneType), depth)
    if origin is Literal:
        return args[0]
    if origin is list:
        return [sample(args[0], depth)]
    if isinstance(kind, type) and issubclass(kind, TelegramObject):
        fields = kind.model_fields.items()
        return {f.alias or name: sample(f.annotation, depth + 1) for name, f in fields if f.is_required() or depth < 3}
    if isinstance(kind, type) and issubclass(kind, Enum):
        return next(iter(kind)).value
    return {int: 7, float: 7.5, bool: True, datetime: 1_790_000_000, timedelta: 60}.get(kind, "word")


if __name__ == "__main__":
    if sys.argv[1] == "--parameters":
        sys.stdout.write(json.dumps(parameters(sys.argv[2:])))
    elif sys.argv[1] == "--samples":
        sys.stdout.write(json.dumps(samples()))
    else:
        asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
