"""Permissions (discord.com/developers/docs, "Permissions"): roles first, then the overwrites of a channel."""

from collections.abc import Iterable

from tests.fakes.discord_platform.errors import Json

ADD_REACTIONS = 1 << 6
ADMINISTRATOR = 1 << 3
VIEW_CHANNEL = 1 << 10
SEND_MESSAGES = 1 << 11
MANAGE_MESSAGES = 1 << 13
EMBED_LINKS = 1 << 14
ATTACH_FILES = 1 << 15
READ_MESSAGE_HISTORY = 1 << 16
MENTION_EVERYONE = 1 << 17
MANAGE_THREADS = 1 << 34
SEND_MESSAGES_IN_THREADS = 1 << 38

ALL = (1 << 50) - 1
DEFAULT = (
    ADD_REACTIONS | VIEW_CHANNEL | SEND_MESSAGES | EMBED_LINKS | ATTACH_FILES | READ_MESSAGE_HISTORY | SEND_MESSAGES_IN_THREADS
)
"""What @everyone may do in a new guild here."""
NAMES = {
    "add_reactions": ADD_REACTIONS,
    "administrator": ADMINISTRATOR,
    "view_channel": VIEW_CHANNEL,
    "send_messages": SEND_MESSAGES,
    "manage_messages": MANAGE_MESSAGES,
    "embed_links": EMBED_LINKS,
    "attach_files": ATTACH_FILES,
    "read_message_history": READ_MESSAGE_HISTORY,
    "mention_everyone": MENTION_EVERYONE,
    "manage_threads": MANAGE_THREADS,
    "send_messages_in_threads": SEND_MESSAGES_IN_THREADS,
}


def bits_of(names: Iterable[str]) -> int:
    """The bits of named permissions."""
    bits = 0
    for name in names:
        bits |= NAMES[name]
    return bits


def base_permissions(guild_id: str, owner_id: str, roles: Iterable[Json], member: Json) -> int:
    """What a member may do in the guild: the sum of the roles; the owner and administrators may do all."""
    if member["user"]["id"] == owner_id:
        return ALL
    held = {guild_id, *member["roles"]}
    bits = 0
    for role in roles:
        if role["id"] in held:
            bits |= int(role["permissions"])
    return ALL if bits & ADMINISTRATOR else bits


def with_overwrites(bits: int, guild_id: str, member: Json, overwrites: Iterable[Json]) -> int:
    """What is left in a channel: @everyone's overwrite, then those of roles together, then the member's own."""
    if bits & ADMINISTRATOR:
        return bits
    by_id = {overwrite["id"]: overwrite for overwrite in overwrites}
    layers = [
        [by_id[guild_id]] if guild_id in by_id else [],
        [by_id[role] for role in member["roles"] if role in by_id],
        [by_id[member["user"]["id"]]] if member["user"]["id"] in by_id else [],
    ]
    for layer in layers:
        deny = allow = 0
        for overwrite in layer:
            deny |= int(overwrite["deny"])
            allow |= int(overwrite["allow"])
        bits = (bits & ~deny) | allow
    return bits
