"""Which scope a call needs (docs.slack.dev/reference/methods, "Required scopes")."""

from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.methods.arguments import text
from tests.fakes.slack_platform.methods.conversations import KINDS
from tests.fakes.slack_platform.workspace import SCOPE_PREFIXES, Workspace

ALL_SCOPES = frozenset(
    {
        "app_mentions:read",
        "assistant:write",
        "channels:history",
        "channels:read",
        "chat:write",
        "commands",
        "files:read",
        "files:write",
        "groups:history",
        "groups:read",
        "im:history",
        "im:read",
        "im:write",
        "mpim:history",
        "mpim:read",
        "mpim:write",
        "reactions:write",
        "team:read",
        "users:read",
    }
)
_FIXED = {
    "chat.postMessage": "chat:write",
    "chat.update": "chat:write",
    "chat.delete": "chat:write",
    "chat.postEphemeral": "chat:write",
    "chat.startStream": "chat:write",
    "chat.appendStream": "chat:write",
    "chat.stopStream": "chat:write",
    "assistant.threads.setStatus": "chat:write",
    "users.info": "users:read",
    "users.list": "users:read",
    "bots.info": "users:read",
    "team.info": "team:read",
    "reactions.add": "reactions:write",
    "reactions.remove": "reactions:write",
    "files.delete": "files:write",
    "files.info": "files:read",
    "files.getUploadURLExternal": "files:write",
    "files.completeUploadExternal": "files:write",
}
_BY_KIND = {
    "conversations.history": "history",
    "conversations.replies": "history",
    "conversations.info": "read",
    "conversations.members": "read",
}


def check_scope(method: str, values: Json, scopes: frozenset[str], workspace: Workspace) -> None:
    """:raises SlackError: missing_scope, with ``needed`` and ``provided``."""
    for scope in _wanted(method, values, workspace):
        if scope not in scopes:
            raise SlackError("missing_scope", fields={"needed": scope, "provided": ",".join(sorted(scopes))})


def _wanted(method: str, values: Json, workspace: Workspace) -> list[str]:
    if method in _FIXED:
        return [_FIXED[method]]
    if method in _BY_KIND:
        channel = workspace.channels.get(text(values, "channel"))
        return [f"{SCOPE_PREFIXES[channel.kind]}:{_BY_KIND[method]}"] if channel else []
    if method in {"conversations.list", "users.conversations"}:
        kinds = [KINDS.get(name.strip(), "") for name in text(values, "types", "public_channel").split(",")]
        return [f"{SCOPE_PREFIXES[kind]}:read" for kind in kinds if kind]
    if method == "conversations.open":
        users = values.get("users", "")
        several = (isinstance(users, list) and len(users) > 1) or (isinstance(users, str) and "," in users)
        return ["mpim:write" if several else "im:write"]
    return []
