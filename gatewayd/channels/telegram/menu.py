"""The menu of commands that Telegram shows beside the text field (core.telegram.org/bots/api#setmycommands, #botcommandscope)."""

from msgspec import Struct

from gatewayd.channels.telegram.api import BotApi
from gatewayd.channels.telegram.errors import ApiError
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.errors import GatewayError
from gatewayd.model.message.commands import COMMANDS

MENU_SECONDS = 3.0
"""For each call: nothing depends on them."""
_SCOPES = ("default", "all_group_chats")


class BotCommand(Struct, frozen=True):
    """``command`` has no slash: 1-32 of a-z, 0-9 and _; ``description`` has 1-256 characters."""

    command: str
    description: str


class Scope(Struct, frozen=True):
    type: str


class GetMyCommands(Struct, frozen=True):
    scope: Scope


class SetMyCommands(Struct, frozen=True):
    """At most 100 commands."""

    commands: tuple[BotCommand, ...]
    scope: Scope


def menu() -> tuple[BotCommand, ...]:
    """The same for everybody: Telegram cannot know who has a role where."""
    return tuple(BotCommand(command.name.removeprefix("/"), command.help) for command in COMMANDS if command.menu)


async def show_menu(api: BotApi) -> list[str]:
    """Set the menu of each scope, if it is another one now. getMyCommands gives the list of just that scope. Returns what went
    wrong, for the log: a bot without a menu works as well."""
    return [why for scope in _SCOPES if (why := await _show(api, Scope(scope))) is not None]


async def _show(api: BotApi, scope: Scope) -> str | None:
    try:
        found = await api.call("getMyCommands", GetMyCommands(scope), timeout_seconds=MENU_SECONDS)
        if tuple(decode(found, list[BotCommand])) != menu():
            await api.call("setMyCommands", SetMyCommands(menu(), scope), timeout_seconds=MENU_SECONDS)
    except ApiError as refused:
        return str(refused)
    except Malformed as malformed:
        return f"getMyCommands: {malformed}"
    except GatewayError as error:
        return error.reason
    return None
