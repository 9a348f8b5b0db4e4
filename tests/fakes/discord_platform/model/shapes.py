"""The JSON objects of Discord's documentation (User, Guild, Channel, Message and Application Resources), made from little."""

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.model import permissions

TEXT = 0
DM = 1
CATEGORY = 4
PUBLIC_THREAD = 11
PRIVATE_THREAD = 12
FORUM = 15
THREADS = frozenset({10, PUBLIC_THREAD, PRIVATE_THREAD})
"""Channel types."""

MESSAGE_DEFAULT = 0
MESSAGE_PINNED = 6
MESSAGE_JOIN = 7
MESSAGE_THREAD_CREATED = 18
MESSAGE_REPLY = 19
MESSAGE_COMMAND = 20
MESSAGE_CONTEXT_COMMAND = 23
"""Message types."""

SELECTS = frozenset({3, 5, 6, 7, 8})
"""Component types of select menus."""

EPHEMERAL = 1 << 6
LOADING = 1 << 7
"""Message flags."""


def make_user(user_id: str, name: str, *, bot: bool = False) -> Json:
    user: Json = {
        "id": user_id,
        "username": name,
        "discriminator": "0",
        "global_name": None if bot else name.capitalize(),
        "avatar": None,
        "public_flags": 0,
        "flags": 0,
        "banner": None,
        "accent_color": None,
        "avatar_decoration_data": None,
        "collectibles": None,
        "primary_guild": None,
        "clan": None,
    }
    return {**user, "bot": True} if bot else user


def make_member(user: Json, joined_at: str, roles: list[str]) -> Json:
    return {
        "user": user,
        "nick": None,
        "avatar": None,
        "banner": None,
        "roles": roles,
        "joined_at": joined_at,
        "premium_since": None,
        "deaf": False,
        "mute": False,
        "flags": 0,
        "pending": False,
        "communication_disabled_until": None,
    }


def make_role(role_id: str, name: str, bits: int, *, position: int, mentionable: bool, managed_by: str | None = None) -> Json:
    """``managed_by``: the bot whose own role it is."""
    role: Json = {
        "id": role_id,
        "name": name,
        "description": None,
        "color": 0,
        "colors": {"primary_color": 0, "secondary_color": None, "tertiary_color": None},
        "hoist": False,
        "icon": None,
        "unicode_emoji": None,
        "position": position,
        "permissions": str(bits),
        "managed": managed_by is not None,
        "mentionable": mentionable,
        "flags": 0,
    }
    return role if managed_by is None else {**role, "tags": {"bot_id": managed_by}}


def make_guild(guild_id: str, name: str, owner_id: str) -> Json:
    """A guild without its roles, channels and members. The role @everyone has the id of the guild."""
    return {
        "id": guild_id,
        "name": name,
        "icon": None,
        "description": None,
        "home_header": None,
        "splash": None,
        "discovery_splash": None,
        "features": [],
        "banner": None,
        "owner_id": owner_id,
        "application_id": None,
        "region": "deprecated",
        "afk_channel_id": None,
        "afk_timeout": 300,
        "system_channel_id": None,
        "system_channel_flags": 0,
        "widget_enabled": False,
        "widget_channel_id": None,
        "verification_level": 0,
        "default_message_notifications": 0,
        "mfa_level": 0,
        "explicit_content_filter": 0,
        "max_presences": None,
        "max_members": 25000000,
        "max_stage_video_channel_users": 50,
        "max_video_channel_users": 25,
        "vanity_url_code": None,
        "premium_tier": 0,
        "premium_subscription_count": 0,
        "preferred_locale": "en-US",
        "rules_channel_id": None,
        "safety_alerts_channel_id": None,
        "public_updates_channel_id": None,
        "premium_progress_bar_enabled": False,
        "nsfw": False,
        "nsfw_level": 0,
        "emojis": [],
        "stickers": [],
        "incidents_data": None,
    }


def make_channel(channel_id: str, kind: int, name: str, guild_id: str, *, parent: str | None, position: int) -> Json:
    """A channel of a guild."""
    channel: Json = {
        "id": channel_id,
        "type": kind,
        "guild_id": guild_id,
        "name": name,
        "position": position,
        "flags": 0,
        "parent_id": parent,
        "permission_overwrites": [],
        "nsfw": False,
    }
    if kind != CATEGORY:
        channel |= {"topic": None, "last_message_id": None, "last_pin_timestamp": None, "rate_limit_per_user": 0}
    if kind == FORUM:
        channel |= {
            "available_tags": [],
            "default_reaction_emoji": None,
            "default_sort_order": None,
            "default_forum_layout": 0,
            "template": "",
        }
    return channel


def make_thread(channel_id: str, kind: int, name: str, parent: Json, owner_id: str, created_at: str) -> Json:
    return {
        "id": channel_id,
        "type": kind,
        "guild_id": parent["guild_id"],
        "parent_id": parent["id"],
        "owner_id": owner_id,
        "name": name,
        "flags": 0,
        "last_message_id": None,
        "last_pin_timestamp": None,
        "rate_limit_per_user": 0,
        "message_count": 0,
        "member_count": 1,
        "total_message_sent": 0,
        "thread_metadata": {
            "archived": False,
            "archive_timestamp": created_at,
            "auto_archive_duration": 1440,
            "locked": False,
            "create_timestamp": created_at,
            **({"invitable": True} if kind == PRIVATE_THREAD else {}),
        },
    }


def make_dm(channel_id: str, user: Json) -> Json:
    return {
        "id": channel_id,
        "type": DM,
        "flags": 0,
        "last_message_id": None,
        "last_pin_timestamp": None,
        "recipients": [user],
    }


def make_message(message_id: str, channel_id: str, author: Json, timestamp: str) -> Json:
    """An empty message of type DEFAULT."""
    return {
        "id": message_id,
        "type": MESSAGE_DEFAULT,
        "channel_id": channel_id,
        "author": author,
        "content": "",
        "timestamp": timestamp,
        "edited_timestamp": None,
        "tts": False,
        "mention_everyone": False,
        "mentions": [],
        "mention_roles": [],
        "attachments": [],
        "embeds": [],
        "components": [],
        "pinned": False,
        "flags": 0,
    }


def everyone_role(guild_id: str) -> Json:
    return make_role(guild_id, "@everyone", permissions.DEFAULT, position=0, mentionable=False)
