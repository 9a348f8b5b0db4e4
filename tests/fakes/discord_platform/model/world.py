"""All that there is, and who hears of its changes."""

from collections.abc import Callable, Iterable

from tests.fakes.bot_api.bot import Signal
from tests.fakes.discord_platform.errors import Json, unknown
from tests.fakes.discord_platform.model import permissions, shapes
from tests.fakes.discord_platform.model.application import Application
from tests.fakes.discord_platform.model.events import (
    DIRECT_MESSAGE_REACTIONS,
    DIRECT_MESSAGES,
    GUILD_MESSAGE_REACTIONS,
    GUILD_MESSAGES,
    GUILDS,
    Event,
)
from tests.fakes.discord_platform.model.guilds import Channel, Guild
from tests.fakes.discord_platform.model.snowflakes import Snowflakes, iso


class World:
    """Users, guilds, channels and one application. Everything is synchronous; a change is published at once."""

    def __init__(self, now: Callable[[], float], snowflakes: Snowflakes, bot_name: str) -> None:
        self.now = now
        self.snowflakes = snowflakes
        self.users: dict[str, Json] = {}
        self.guilds: dict[str, Guild] = {}
        self.channels: dict[str, Channel] = {}
        self._dms: dict[str, Channel] = {}
        self.webhooks: dict[str, Json] = {}
        self.listeners: list[Callable[[Event], None]] = []
        self.changed = Signal()
        self.owner_id = self.add_user("owner")
        # Since 2016, a bot user has the id of its application.
        app_id = self.add_user(bot_name, bot=True)
        self.application = Application(app_id, self.users[app_id])

    @property
    def bot_id(self) -> str:
        return str(self.application.bot["id"])

    def timestamp(self) -> str:
        return iso(self.now())

    def publish(self, event: Event) -> None:
        for listener in self.listeners:
            listener(event)
        self.changed.notify()

    # Finding

    def channel(self, channel_id: str) -> Channel:
        """:raises ApiError: 10003."""
        found = self.channels.get(channel_id)
        if found is None:
            raise unknown("Channel")
        return found

    def message(self, channel: Channel, message_id: str) -> Json:
        """:raises ApiError: 10008."""
        found = channel.messages.get(int(message_id)) if message_id.isdigit() else None
        if found is None:
            raise unknown("Message")
        return found

    # Making

    def add_user(self, name: str, *, bot: bool = False) -> str:
        user_id = self.snowflakes.make()
        self.users[user_id] = shapes.make_user(user_id, name, bot=bot)
        return user_id

    def add_guild(self, name: str, members: Iterable[str]) -> Guild:
        """A guild with the bot in it; the bot's own role has the permissions of its invitation."""
        guild_id = self.snowflakes.make()
        guild = Guild(shapes.make_guild(guild_id, name, self.owner_id), self.timestamp())
        own_role = self.add_role(guild, self.application.bot["username"], permissions.DEFAULT, managed_by=self.bot_id)
        for user_id in (self.owner_id, *members):
            self.add_member(guild, user_id)
        self.add_member(guild, self.bot_id, [own_role])
        self.guilds[guild_id] = guild
        self.publish(Event("GUILD_CREATE", self.guild_create(guild), GUILDS))
        return guild

    def add_role(self, guild: Guild, name: str, bits: int, *, mentionable: bool = False, managed_by: str | None = None) -> str:
        role_id = self.snowflakes.make()
        role = shapes.make_role(role_id, name, bits, position=len(guild.roles), mentionable=mentionable, managed_by=managed_by)
        guild.roles[role_id] = role
        if guild.id in self.guilds:
            self.publish(Event("GUILD_ROLE_CREATE", {"guild_id": guild.id, "role": role}, GUILDS))
        return role_id

    def add_member(self, guild: Guild, user_id: str, roles: Iterable[str] = ()) -> None:
        guild.members[user_id] = shapes.make_member(self.users[user_id], self.timestamp(), list(roles))

    def add_channel(self, guild: Guild, name: str, kind: int, parent: str | None = None, topic: str | None = None) -> Channel:
        channel_id = self.snowflakes.make()
        info = shapes.make_channel(channel_id, kind, name, guild.id, parent=parent, position=len(guild.channels))
        channel = self.channels[channel_id] = guild.channels[channel_id] = Channel(info, guild)
        if kind != shapes.CATEGORY:
            info["topic"] = topic
        self.publish_channel("CHANNEL_CREATE", channel)
        return channel

    def add_thread(self, parent: Channel, name: str, owner_id: str, kind: int, thread_id: str | None = None) -> Channel:
        """``thread_id``: the message that it starts from; a thread has that message's id ("Threads")."""
        thread_id = thread_id or self.snowflakes.make()
        info = shapes.make_thread(thread_id, kind, name, parent.info, owner_id, self.timestamp())
        thread = self.channels[thread_id] = Channel(info, parent.guild, parent)
        if parent.guild is not None:
            parent.guild.channels[thread_id] = thread
        thread.thread_members.add(owner_id)
        if parent.kind == shapes.FORUM:
            parent.info["last_message_id"] = thread_id  # "Channel Resource": of a forum, the last thread
        self.publish_channel("THREAD_CREATE", thread, newly_created=True)
        return thread

    def dm_with(self, user_id: str) -> Channel:
        """The DM of the bot with a user, made when there is none.

        :raises ApiError: 10013.
        """
        known = self._dms.get(user_id)
        if known is not None:
            return known
        if user_id not in self.users:
            raise unknown("User")
        channel_id = self.snowflakes.make()
        channel = self.channels[channel_id] = self._dms[user_id] = Channel(shapes.make_dm(channel_id, self.users[user_id]))
        self.changed.notify()
        return channel

    def add_webhook(self, channel: Channel, name: str) -> str:
        webhook_id = self.snowflakes.make()
        self.webhooks[webhook_id] = {
            "id": webhook_id,
            "type": 1,
            "guild_id": channel.guild.id if channel.guild else None,
            "channel_id": channel.id,
            "name": name,
            "avatar": None,
            "application_id": None,
            "token": f"webhook-token-{webhook_id}",
        }
        return webhook_id

    # Telling

    def publish_channel(self, name: str, channel: Channel, **extra: object) -> None:
        """CHANNEL_… and THREAD_… of what the bot can see."""
        if channel.guild is None or channel.may(self.bot_id, permissions.VIEW_CHANNEL):
            self.publish(Event(name, {**channel.info, **extra}, GUILDS))

    def publish_in(self, channel: Channel, name: str, data: Json, *, is_message: bool = False, reaction: bool = False) -> None:
        """An event of messages or reactions in a channel, if the bot can see it."""
        if channel.guild is None:
            intent = DIRECT_MESSAGE_REACTIONS if reaction else DIRECT_MESSAGES
            self.publish(Event(name, data, intent, is_message))
        elif channel.may(self.bot_id, permissions.VIEW_CHANNEL):
            intent = GUILD_MESSAGE_REACTIONS if reaction else GUILD_MESSAGES
            self.publish(Event(name, {**data, "guild_id": channel.guild.id}, intent, is_message))
        else:
            self.changed.notify()

    def channels_of(self, guild: Guild, *, threads: bool) -> list[Channel]:
        """Those that the bot can see."""
        return [
            channel
            for channel in guild.channels.values()
            if channel.is_thread is threads and channel.may(self.bot_id, permissions.VIEW_CHANNEL)
        ]

    def guild_create(self, guild: Guild) -> Json:
        """GUILD_CREATE with all of its extra fields ("Gateway Events", Guild Create); the members are those that a bot without
        GUILD_MEMBERS gets: itself."""
        if not guild.is_available:
            return {"id": guild.id, "unavailable": True}
        return {
            **guild.info,
            "roles": list(guild.roles.values()),
            "joined_at": guild.joined_at,
            "large": len(guild.members) > 250,
            "unavailable": False,
            "member_count": len(guild.members),
            "voice_states": [],
            "members": [guild.members[self.bot_id]] if self.bot_id in guild.members else [],
            "channels": [channel.info for channel in self.channels_of(guild, threads=False)],
            "threads": [thread.info for thread in self.channels_of(guild, threads=True) if not thread.thread_state["archived"]],
            "presences": [],
            "stage_instances": [],
            "guild_scheduled_events": [],
            "soundboard_sounds": [],
        }
