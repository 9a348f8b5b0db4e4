"""What happens, as the gateway tells it ("Gateway", List of Intents), before a session's intents are looked at."""

from msgspec import Struct

from tests.fakes.discord_platform.errors import Json

GUILDS = 1 << 0
GUILD_MEMBERS = 1 << 1
GUILD_PRESENCES = 1 << 8
GUILD_MESSAGES = 1 << 9
GUILD_MESSAGE_REACTIONS = 1 << 10
DIRECT_MESSAGES = 1 << 12
DIRECT_MESSAGE_REACTIONS = 1 << 13
MESSAGE_CONTENT = 1 << 15
PRIVILEGED = {"presences": GUILD_PRESENCES, "members": GUILD_MEMBERS, "message_content": MESSAGE_CONTENT}
"""Intents that are switched on in the developer portal, by the names that tests use."""
ALL_INTENTS = (1 << 17) - 1 | 1 << 20 | 1 << 21 | 1 << 24 | 1 << 25


class Event(Struct):
    """One event. ``intent`` is the bit that a session needs, 0 for an event that all get; ``is_message`` says that its data is a
    message, whose content is blanked without MESSAGE_CONTENT."""

    name: str
    data: Json
    intent: int = 0
    is_message: bool = False


def without_content(message: Json, own_id: str) -> Json:
    """A message as an app gets it that has no MESSAGE_CONTENT ("Gateway", Message Content Intent): blank, except its own ones,
    those in DMs and those that mention it. The message that is replied to has a rule of its own."""
    shown = dict(message)
    replied = shown.get("referenced_message")
    if replied is not None:
        shown["referenced_message"] = without_content({**replied, "guild_id": message.get("guild_id")}, own_id)
        shown["referenced_message"].pop("guild_id", None)
    is_own = shown.get("author", {}).get("id") == own_id or shown.get("application_id") == own_id
    is_mentioned = any(user["id"] == own_id for user in shown.get("mentions", ()))
    if shown.get("guild_id") is None or is_own or is_mentioned:
        return shown
    for name, blank in (("content", ""), ("embeds", []), ("attachments", []), ("components", [])):
        if name in shown:
            shown[name] = blank
    shown.pop("poll", None)
    return shown
