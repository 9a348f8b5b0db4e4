"""The lists of commands: one for each scope and language (core.telegram.org/bots/api#setmycommands; the checks and their words:
tdlib, BotCommand.cpp and BotCommandScope.cpp; telegram-bot-api, Client.cpp)."""

import re

from tests.fakes.bot_api.bot import Bot
from tests.fakes.bot_api.errors import Json, bad_request
from tests.fakes.bot_api.result import Result

_ALONE = ("default", "all_private_chats", "all_group_chats", "all_chat_administrators")
_IN_A_CHAT = ("chat", "chat_administrators", "chat_member")
_COMMANDS_MAX = 100


async def set_my_commands(bot: Bot, params: Json) -> Result:
    place = _place(bot, params)
    commands = [_command(command) for command in params.get("commands", [])]
    if len(commands) > _COMMANDS_MAX:
        raise bad_request("BOT_COMMANDS_TOO_MUCH")
    if not all(re.fullmatch("[a-z0-9_]+", command["command"]) for command in commands):
        raise bad_request("BOT_COMMAND_INVALID")
    bot.menus[place] = commands
    return Result(True)


async def get_my_commands(bot: Bot, params: Json) -> Result:
    return Result(bot.menus.get(_place(bot, params), []))


async def delete_my_commands(bot: Bot, params: Json) -> Result:
    bot.menus.pop(_place(bot, params), None)
    return Result(True)


def _place(bot: Bot, params: Json) -> str:
    scope, language = params.get("scope", {"type": "default"}), params.get("language_code", "")
    kind = scope.get("type")
    if kind is None:
        raise bad_request("can't parse BotCommandScope: Can't find field \"type\"")
    if kind not in (*_ALONE, *_IN_A_CHAT):
        raise bad_request("can't parse BotCommandScope: Unsupported type specified")
    if kind in _IN_A_CHAT:
        if "chat_id" not in scope:
            raise bad_request("can't parse BotCommandScope: Can't find field \"chat_id\"")
        bot.chats.find(scope["chat_id"])
    if language and not re.fullmatch("[a-z]{2}", language):
        raise bad_request("invalid language code specified")
    return ":".join([kind, *(str(scope[key]) for key in ("chat_id", "user_id") if key in scope), language])


def _command(given: object) -> Json:
    if not isinstance(given, dict) or not all(isinstance(given.get(key), str) for key in ("command", "description")):
        raise bad_request("can't parse BotCommand")
    command, description = given["command"].strip().removeprefix("/"), given["description"].strip()
    for name, text, most in (("command", command, 32), ("command description", description, 256)):
        if not text:
            raise bad_request(f"{name} must be non-empty")
        if len(text) > most:
            raise bad_request(f"{name} length must not exceed {most}")
    return {"command": command, "description": description}
