"""The slash commands that Discord offers ("Application Commands", "Bulk Overwrite Global Application Commands")."""

from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

import msgspec

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.errors import DiscordError, gateway_error
from gatewayd.model.errors import GatewayError
from gatewayd.model.message.commands import COMMANDS
from gatewayd.ports.store import State

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_STATE: Final = "commands"
_CHAT_INPUT, _STRING = 1, 3
_LONGEST_DESCRIPTION: Final = 100
_IN_GUILDS, _IN_DIRECT_MESSAGES = 0, 1


def commands() -> list[dict[str, Any]]:
    """As Discord wants them. The field of those that take words is called ``text``."""
    return [
        {
            "type": _CHAT_INPUT,
            "name": command.name.removeprefix("/"),
            "description": _short(command.help),
            "contexts": [_IN_GUILDS, _IN_DIRECT_MESSAGES],
            "integration_types": [0],
            **({"options": [_option(command.argument)]} if command.argument else {}),
        }
        for command in COMMANDS
        if command.menu
    ]


async def register(api: DiscordApi, state: State, log: "FilteringBoundLogger", application_id: str) -> None:
    """Tell Discord of the commands, when they are others than it was told of. A bot without them works as well.

    :raises StoreRefused: what it was told of cannot be read.
    """
    wanted = commands()
    digest = f"{application_id}:{sha256(msgspec.json.encode(wanted)).hexdigest()[:32]}"
    if await state.load(_STATE) == digest:
        return
    to = route("PUT /applications/{application_id}/commands", application_id=application_id)
    try:
        await api.call(to, body=wanted, repeatable=True)
    except DiscordError as refused:
        log.warning("discord_commands_not_registered", reason=gateway_error(refused, "fetch").reason)
        return
    except GatewayError as error:
        log.warning("discord_commands_not_registered", reason=error.reason)
        return
    await state.save(_STATE, digest)


def _option(argument: str) -> dict[str, Any]:
    is_optional = argument.startswith("[")
    return {"type": _STRING, "name": "text", "description": _short(argument.strip("[]")), "required": not is_optional}


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_DESCRIPTION else text[: _LONGEST_DESCRIPTION - 1] + "…"
