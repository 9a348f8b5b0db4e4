"""Endpoints of the application, its commands, and the gateway's address."""

import re
from typing import Any

from tests.fakes.discord_platform.errors import ApiError, Json, bad_length, invalid_form, missing_access, required, unknown
from tests.fakes.discord_platform.gateway.starts import SessionStarts
from tests.fakes.discord_platform.model.world import World
from tests.fakes.discord_platform.rest.routing import Answer, Call, Endpoint

CHAT_INPUT = 1
_NAME = re.compile(r"[-_'\w]{1,32}")
"""CHAT_INPUT command names ("Application Commands", Naming), letters of all scripts."""
_APP = "/applications/{application_id}"


class ApplicationRoutes:
    """``gateway_url`` is told by GET /gateway."""

    def __init__(self, world: World, starts: SessionStarts, gateway_url: str) -> None:
        self._world = world
        self._starts = starts
        self._gateway_url = gateway_url

    def endpoints(self) -> dict[str, Endpoint]:
        routes: dict[str, Endpoint] = {
            "GET /gateway": lambda _: Answer({"url": self._gateway_url}),
            "GET /gateway/bot": self._gateway_bot,
            "GET /applications/@me": lambda _: Answer(self._application()),
            "GET /oauth2/applications/@me": lambda _: Answer(self._application()),
        }
        for scope in ("", "/guilds/{guild_id}"):
            base = f"{_APP}{scope}/commands"
            routes |= {
                f"GET {base}": self._commands,
                f"PUT {base}": self._overwrite,
                f"POST {base}": self._create,
                f"DELETE {base}/{{command_id}}": self._delete,
            }
        return routes

    def _application(self) -> Json:
        return self._world.application.as_json(self._world.users[self._world.owner_id])

    def _gateway_bot(self, _: Call) -> Answer:
        """ "Gateway", Get Gateway Bot."""
        return Answer({"url": self._gateway_url, "shards": 1, "session_start_limit": self._starts.as_json()})

    def _scope(self, call: Call) -> str:
        if call.ids["application_id"] != self._world.application.id:
            raise ApiError(403, 20012, "You are not authorized to perform this action on this application")
        guild_id = call.ids.get("guild_id", "")
        if guild_id and guild_id not in self._world.guilds:
            raise missing_access()
        return guild_id

    def _commands(self, call: Call) -> Answer:
        return Answer(self._world.application.commands.get(self._scope(call), []))

    def _overwrite(self, call: Call) -> Answer:
        """Bulk overwrite: those with the name and type of an old one keep its id."""
        scope = self._scope(call)
        if not isinstance(call.body.value, list):
            raise invalid_form("", "LIST_TYPE_CONVERT", "Only iterables may be used in a ListType")
        commands = [self._made(scope, one, f"{index}.") for index, one in enumerate(call.body.value)]
        names = [(one["name"], one["type"]) for one in commands]
        for index, name in enumerate(names):
            if name in names[:index]:
                raise invalid_form(f"{index}", "APPLICATION_COMMANDS_DUPLICATE_NAME", "Application command names must be unique")
        self._world.application.commands[scope] = commands
        self._world.changed.notify()
        return Answer(commands)

    def _create(self, call: Call) -> Answer:
        scope = self._scope(call)
        command = self._made(scope, call.fields, "")
        commands = self._world.application.commands.setdefault(scope, [])
        same = [one for one in commands if one["id"] == command["id"]]
        commands[:] = [one for one in commands if one["id"] != command["id"]] + [command]
        return Answer(command, 200 if same else 201)

    def _delete(self, call: Call) -> Answer:
        commands = self._world.application.commands.get(self._scope(call), [])
        kept = [one for one in commands if one["id"] != call.ids["command_id"]]
        if len(kept) == len(commands):
            raise unknown("application command")
        commands[:] = kept
        return Answer(None, 204)

    def _made(self, scope: str, asked: Json, path: str) -> Json:
        """A registered command from a body ("Application Commands", Application Command Structure)."""
        kind = asked.get("type", CHAT_INPUT)
        name = asked.get("name")
        if not isinstance(name, str) or not name:
            raise required(f"{path}name")
        if kind == CHAT_INPUT and (not _NAME.fullmatch(name) or name != name.lower()):
            raise invalid_form(f"{path}name", "APPLICATION_COMMAND_INVALID_NAME", "Command name is invalid")
        description = asked.get("description", "")
        if kind == CHAT_INPUT and not 1 <= len(description) <= 100:
            raise bad_length(f"{path}description", 1, 100) if description else required(f"{path}description")
        _check_options(asked.get("options") or [], f"{path}options")
        old = [one for one in self._world.application.commands.get(scope, ()) if (one["name"], one["type"]) == (name, kind)]
        command_id = old[0]["id"] if old else self._world.snowflakes.make()
        return {
            "id": command_id,
            "application_id": self._world.application.id,
            "version": self._world.snowflakes.make(),
            "default_member_permissions": asked.get("default_member_permissions"),
            "type": kind,
            "name": name,
            "name_localizations": asked.get("name_localizations"),
            "description": description,
            "description_localizations": asked.get("description_localizations"),
            "dm_permission": True,
            "contexts": asked.get("contexts"),
            "integration_types": asked.get("integration_types", [0]),
            "nsfw": bool(asked.get("nsfw")),
            **({"options": asked["options"]} if asked.get("options") else {}),
            **({"guild_id": scope} if scope else {}),
        }


def _check_options(options: list[Any], path: str) -> None:
    if len(options) > 25:
        raise bad_length(path, 0, 25)
    optional = False
    for index, option in enumerate(options):
        for name, most in (("name", 32), ("description", 100)):
            if not option.get(name):
                raise required(f"{path}.{index}.{name}")
            if len(option[name]) > most:
                raise bad_length(f"{path}.{index}.{name}", 1, most)
        if option.get("type") not in range(1, 12):
            raise invalid_form(f"{path}.{index}.type", "BASE_TYPE_CHOICES", "Value must be one of {1, …, 11}.")
        if option.get("required") and optional:
            raise invalid_form(
                f"{path}.{index}",
                "APPLICATION_COMMAND_OPTIONS_REQUIRED_INVALID",
                "Required options must be placed before non-required options",
            )
        optional = optional or not option.get("required")
