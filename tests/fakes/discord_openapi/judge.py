"""Runs the schemas of npm's discord-api-spec over calls."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import trio
from msgspec import Struct

from tests import npm
from tests.fakes.discord_platform.rest.routing import Call

HERE = Path(__file__).parent
_CHANNEL = "/channels/{channel_id}"
_GUILD = "/guilds/{guild_id}"
_WEBHOOK = "/webhooks/{webhook_id}/{webhook_token}"
_APP = "/applications/{application_id}"
_COMMANDS = [f"{_APP}/commands", f"{_APP}{_GUILD}/commands"]
_CHANNELS = ("GuildChannelResponse", "PrivateChannelResponse", "ThreadResponse")


class Schema(Struct):
    """The names of schemas of which a value must fit one; with ``many`` it is a list of such values."""

    names: tuple[str, ...]
    many: bool = False


ONE_MESSAGE = Schema(("MessageResponse",))
ANSWERS: dict[str, Schema] = {
    "GET /gateway": Schema(("GatewayResponse",)),
    "GET /gateway/bot": Schema(("GatewayBotResponse",)),
    "GET /users/@me": Schema(("UserPIIResponse",)),
    "GET /users/{user_id}": Schema(("UserResponse",)),
    "GET /users/@me/guilds": Schema(("MyGuildResponse",), many=True),
    "POST /users/@me/channels": Schema(("PrivateChannelResponse",)),
    "GET /applications/@me": Schema(("PrivateApplicationResponse",)),
    "GET /oauth2/applications/@me": Schema(("PrivateApplicationResponse",)),
    f"GET {_CHANNEL}": Schema(_CHANNELS),
    f"GET {_CHANNEL}/messages": Schema(("MessageResponse",), many=True),
    f"POST {_CHANNEL}/messages": ONE_MESSAGE,
    f"GET {_CHANNEL}/messages/{{message_id}}": ONE_MESSAGE,
    f"PATCH {_CHANNEL}/messages/{{message_id}}": ONE_MESSAGE,
    f"GET {_CHANNEL}/threads/archived/public": Schema(("ThreadsResponse",)),
    f"GET {_CHANNEL}/threads/archived/private": Schema(("ThreadsResponse",)),
    f"GET {_CHANNEL}/users/@me/threads/archived/private": Schema(("ThreadsResponse",)),
    f"GET {_GUILD}": Schema(("GuildWithCountsResponse",)),
    f"GET {_GUILD}/channels": Schema(_CHANNELS, many=True),
    f"GET {_GUILD}/roles": Schema(("GuildRoleResponse",), many=True),
    f"GET {_GUILD}/members/{{user_id}}": Schema(("GuildMemberResponse",)),
    f"GET {_GUILD}/threads/active": Schema(("ThreadsResponse",)),
    f"POST {_WEBHOOK}": ONE_MESSAGE,
    f"GET {_WEBHOOK}/messages/@original": ONE_MESSAGE,
    f"PATCH {_WEBHOOK}/messages/@original": ONE_MESSAGE,
    f"GET {_WEBHOOK}/messages/{{message_id}}": ONE_MESSAGE,
    f"PATCH {_WEBHOOK}/messages/{{message_id}}": ONE_MESSAGE,
    "POST /interactions/{interaction_id}/{interaction_token}/callback": Schema(("InteractionCallbackResponse",)),
    **{f"{method} {path}": Schema(("ApplicationCommandResponse",), many=True) for path in _COMMANDS for method in ("GET", "PUT")},
    **{f"POST {path}": Schema(("ApplicationCommandResponse",)) for path in _COMMANDS},
}
"""By route, as the description has it for the statuses 200 and 201."""
REQUESTS: dict[str, Schema] = {
    "POST /users/@me/channels": Schema(("CreatePrivateChannelRequest",)),
    f"POST {_CHANNEL}/messages": Schema(("MessageCreateRequest",)),
    f"PATCH {_CHANNEL}/messages/{{message_id}}": Schema(("MessageEditRequestPartial",)),
    f"POST {_WEBHOOK}": Schema(("IncomingWebhookRequestPartial", "IncomingWebhookUpdateRequestPartial")),
    f"PATCH {_WEBHOOK}/messages/@original": Schema(("IncomingWebhookUpdateRequestPartial",)),
    f"PATCH {_WEBHOOK}/messages/{{message_id}}": Schema(("IncomingWebhookUpdateRequestPartial",)),
    "POST /interactions/{interaction_id}/{interaction_token}/callback": Schema(
        (
            "ApplicationCommandAutocompleteCallbackRequest",
            "CreateMessageInteractionCallbackRequest",
            "LaunchActivityInteractionCallbackRequest",
            "ModalInteractionCallbackRequest",
            "PongInteractionCallbackRequest",
            "UpdateMessageInteractionCallbackRequest",
        )
    ),
    **{f"PUT {path}": Schema(("ApplicationCommandUpdateRequest",), many=True) for path in _COMMANDS},
    **{f"POST {path}": Schema(("ApplicationCommandCreateRequest",)) for path in _COMMANDS},
}


async def broken_requests(calls: Iterable[Call]) -> list[str]:
    """What the description says against the bodies of these calls, fields included that it does not know."""
    return await _broken(
        [(call.route, REQUESTS[call.route], call.body.value) for call in calls if call.route in REQUESTS], "strict"
    )


async def broken_answers(calls: Iterable[Call]) -> list[str]:
    """What it says against the answers."""
    return await _broken(
        [(call.route, ANSWERS[call.route], call.answer) for call in calls if call.answer is not None and call.route in ANSWERS]
    )


async def _broken(values: list[tuple[str, Schema, Any]], *arguments: str) -> list[str]:
    home = await trio.to_thread.run_sync(npm.installed, HERE / "package.json", "discord-api-spec", _adapt)
    lines = [
        msgspec.json.encode({"name": name, "schemas": schema.names, "many": schema.many, "value": value})
        for name, schema, value in values
    ]
    # As an argument, the script finds its packages from the working directory.
    command = ["node", "--input-type=module", "--eval", (HERE / "check.mjs").read_text(), "--", *arguments]
    done = await trio.run_process(command, cwd=home, stdin=b"\n".join(lines), capture_stdout=True)
    return done.stdout.decode().splitlines()


def _adapt(home: Path) -> None:
    """The schemas with timestamps as Discord writes them (+00:00), which on demand refuse fields that they do not know."""
    source = (home / "node_modules/discord-api-spec/build/discord-api-spec.zod.js").read_text()
    for before, after in (("iso.datetime()", "iso.datetime({ offset: true })"), ("let zObject = z.object;", _STRICT)):
        assert before in source
        source = source.replace(before, after)
    (home / "spec.mjs").write_text(source)


_STRICT = 'let zObject = process.argv.includes("strict") ? z.strictObject : z.object;'
