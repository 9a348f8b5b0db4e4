"""What people, other bots and webhooks do, and what a person sees."""

from collections.abc import Callable, Iterable

from tests.fakes.discord_platform.errors import Json
from tests.fakes.discord_platform.model import permissions, shapes
from tests.fakes.discord_platform.model.cdn import Upload
from tests.fakes.discord_platform.model.events import GUILD_MEMBERS, GUILDS, Event
from tests.fakes.discord_platform.model.guilds import Channel
from tests.fakes.discord_platform.model.interactions import Interaction, Interactions, find_component
from tests.fakes.discord_platform.model.messages import Draft, Messages
from tests.fakes.discord_platform.model.world import World


class People:
    """Users, guilds, channels, messages, presses and commands are named by their ids."""

    def __init__(self, world: World, messages: Messages, interactions: Interactions) -> None:
        self._world = world
        self._messages = messages
        self._interactions = interactions

    # Places

    def add_user(self, name: str, *, bot: bool = False) -> str:
        """A person, or another bot; they are in no guild yet."""
        return self._world.add_user(name, bot=bot)

    def add_guild(self, name: str = "Home", *, members: Iterable[str] = ()) -> str:
        """A guild with the bot in it: GUILD_CREATE."""
        return self._world.add_guild(name, members).id

    def join(self, user: str, guild: str, *, roles: Iterable[str] = ()) -> None:
        """A user joins: GUILD_MEMBER_ADD, and the system message of a join when the guild has a system channel."""
        place = self._world.guilds[guild]
        self._world.add_member(place, user, roles)
        self._world.publish(Event("GUILD_MEMBER_ADD", {**place.members[user], "guild_id": guild}, GUILD_MEMBERS))
        if place.info["system_channel_id"] is not None:
            self._messages.post_system(self._world.channel(place.info["system_channel_id"]), user, shapes.MESSAGE_JOIN)

    def add_role(self, guild: str, name: str, *, allow: Iterable[str] = (), mentionable: bool = True) -> str:
        """A role; ``allow`` names permissions."""
        return self._world.add_role(self._world.guilds[guild], name, permissions.bits_of(allow), mentionable=mentionable)

    def give_role(self, user: str, guild: str, role: str) -> None:
        self._world.guilds[guild].members[user]["roles"].append(role)

    def add_channel(
        self, guild: str, name: str = "general", *, kind: int = shapes.TEXT, parent: str | None = None, topic: str | None = None
    ) -> str:
        """A channel of a guild: CHANNEL_CREATE. The first text channel is where joins are told."""
        place = self._world.guilds[guild]
        channel = self._world.add_channel(place, name, kind, parent, topic)
        if kind == shapes.TEXT and place.info["system_channel_id"] is None:
            place.info["system_channel_id"] = channel.id
        return channel.id

    def add_forum(self, guild: str, name: str = "forum") -> str:
        return self.add_channel(guild, name, kind=shapes.FORUM)

    def open_thread(
        self, user: str, channel: str, name: str, text: str = "", *, private: bool = False, from_message: str | None = None
    ) -> str:
        """A thread in a text channel or, with its first message ``text``, a post in a forum. THREAD_CREATE, and in a text channel
        the message that tells of it."""
        parent = self._world.channel(channel)
        kind = shapes.PRIVATE_THREAD if private else shapes.PUBLIC_THREAD
        is_post = parent.kind == shapes.FORUM
        thread = self._world.add_thread(parent, name, user, kind, from_message)
        if not is_post and from_message is None and not private:
            reference = {"type": 0, "channel_id": thread.id, **({"guild_id": parent.guild.id} if parent.guild else {})}
            self._messages.post_system(parent, user, shapes.MESSAGE_THREAD_CREATED, reference)
        if text:
            self.say(user, thread.id, text)
        return thread.id

    def add_to_thread(self, user: str, thread: str) -> None:
        self._world.channel(thread).thread_members.add(user)

    def archive(self, thread: str, *, locked: bool = False) -> None:
        """THREAD_UPDATE."""
        place = self._world.channel(thread)
        place.thread_state.update(archived=True, locked=locked, archive_timestamp=self._world.timestamp())
        self._world.publish_channel("THREAD_UPDATE", place)

    def dm(self, user: str) -> str:
        """The DM channel of the bot with a user."""
        return self._world.dm_with(user).id

    def block(self, user: str, *, blocked: bool = True) -> None:
        """The user takes no messages of the bot: 50007."""
        self._world.dm_with(user).is_blocked = blocked

    def set_permissions(
        self, channel: str, target: str | None = None, *, allow: Iterable[str] = (), deny: Iterable[str] = ()
    ) -> None:
        """An overwrite for a role or a user (None: @everyone), by names of permissions: CHANNEL_UPDATE."""
        place = self._world.channel(channel)
        assert place.guild is not None
        target_id = target or place.guild.id
        kept = [one for one in place.info["permission_overwrites"] if one["id"] != target_id]
        overwrite = {
            "id": target_id,
            "type": 0 if target_id in place.guild.roles else 1,
            "allow": str(permissions.bits_of(allow)),
            "deny": str(permissions.bits_of(deny)),
        }
        saw = place.may(self._world.bot_id, permissions.VIEW_CHANNEL)
        place.info["permission_overwrites"] = [*kept, overwrite]
        if saw and not place.may(self._world.bot_id, permissions.VIEW_CHANNEL):
            self._world.publish(Event("CHANNEL_DELETE", place.info, GUILDS))
        else:
            self._world.publish_channel("CHANNEL_UPDATE", place)

    def rename_channel(self, channel: str, name: str) -> None:
        """CHANNEL_UPDATE or THREAD_UPDATE."""
        place = self._world.channel(channel)
        place.info["name"] = name
        self._world.publish_channel("THREAD_UPDATE" if place.is_thread else "CHANNEL_UPDATE", place)

    def delete_channel(self, channel: str) -> None:
        """CHANNEL_DELETE or THREAD_DELETE."""
        place = self._world.channel(channel)
        del self._world.channels[channel]
        if place.guild is not None:
            del place.guild.channels[channel]
        self._world.publish_channel("THREAD_DELETE" if place.is_thread else "CHANNEL_DELETE", place)

    def remove_bot(self, guild: str) -> None:
        """The bot is kicked: GUILD_DELETE."""
        del self._world.guilds[guild].members[self._world.bot_id]
        self._world.publish(Event("GUILD_DELETE", {"id": guild}, GUILDS))

    def guild_fails(self, guild: str) -> None:
        """An outage of one guild: GUILD_DELETE with ``unavailable``."""
        self._world.guilds[guild].is_available = False
        self._world.publish(Event("GUILD_DELETE", {"id": guild, "unavailable": True}, GUILDS))

    def guild_returns(self, guild: str) -> None:
        """GUILD_CREATE."""
        place = self._world.guilds[guild]
        place.is_available = True
        self._world.publish(Event("GUILD_CREATE", self._world.guild_create(place), GUILDS))

    # Messages

    def say(
        self,
        user: str,
        channel: str,
        text: str = "",
        *,
        reply_to: str | None = None,
        ping: bool = True,
        files: Iterable[tuple[str, bytes]] = (),
        embeds: Iterable[Json] = (),
    ) -> str:
        """A message of a person or another bot; its id. ``ping`` False: a reply that does not mention its author."""
        draft = Draft(
            content=text,
            uploads=[Upload(name, content if isinstance(content, bytes) else str(content).encode()) for name, content in files],
            embeds=list(embeds),
            reference={"message_id": reply_to} if reply_to else None,
            allowed_mentions=None if ping else {"parse": ["users", "roles", "everyone"], "replied_user": False},
        )
        return str(self._messages.post(self._world.channel(channel), user, draft)["id"])

    def say_by_webhook(self, channel: str, text: str, *, name: str = "Hook") -> str:
        """A message of an incoming webhook of the channel."""
        place = self._world.channel(channel)
        webhook_id = self._world.add_webhook(place, name)
        author = shapes.make_user(webhook_id, name, bot=True)
        return str(self._messages.post_by_webhook(place, webhook_id, author, Draft(content=text))["id"])

    def edit(self, message: str, text: str) -> None:
        """Its author changes the text: MESSAGE_UPDATE with a new edited_timestamp."""
        channel, found = self._find(message)
        self._messages.edit(channel, found, {"content": text})

    def resolve_embeds(self, message: str, url: str = "https://example.org/") -> None:
        """The platform adds the preview of a link: MESSAGE_UPDATE, but no edit."""
        channel, found = self._find(message)
        self._messages.change(channel, found, {"embeds": [{"type": "link", "url": url, "title": "Example"}]})

    def pin(self, user: str, message: str) -> None:
        """MESSAGE_UPDATE, CHANNEL_PINS_UPDATE and the system message that tells of it."""
        channel, found = self._find(message)
        self._messages.change(channel, found, {"pinned": True})
        channel.info["last_pin_timestamp"] = self._world.timestamp()
        pins = {"channel_id": channel.id, "last_pin_timestamp": channel.info["last_pin_timestamp"]}
        self._world.publish(Event("CHANNEL_PINS_UPDATE", pins, GUILDS if channel.guild else 0))
        reference = {"type": 0, "message_id": found["id"], "channel_id": channel.id}
        self._messages.post_system(channel, user, shapes.MESSAGE_PINNED, reference)

    def delete(self, *messages: str) -> None:
        """MESSAGE_DELETE, or MESSAGE_DELETE_BULK of several in one channel."""
        channel, _ = self._find(messages[0])
        self._messages.delete(channel, messages)

    def react(self, user: str, message: str, emoji: str = "👍", *, add: bool = True) -> None:
        channel, found = self._find(message)
        self._messages.react(channel, found, user, emoji, add=add)

    def partial_updates(self, *, on: bool = True) -> None:
        """MESSAGE_UPDATE of embeds and pins has the changed fields alone, as before 2025."""
        self._messages.partial_updates = on

    def _find(self, message: str) -> tuple[Channel, Json]:
        channel = self._messages.places[message]
        return channel, channel.messages[int(message)]

    # Interactions

    def press(self, user: str, message: str, button: str, values: list[str] | None = None) -> str:
        """Press a button, or choose ``values`` in a menu, by custom_id or label; the interaction's id.

        :raises KeyError: there is no such component, or it is disabled.
        """
        channel, found = self._find(message)
        labelled = [one["custom_id"] for one in self.buttons(message) if one.get("label") == button and "custom_id" in one]
        is_id = find_component(found["components"], button) is not None
        custom_id = button if is_id or not labelled else labelled[0]
        return self._interactions.press(user, channel, found, custom_id, values).id

    def command(
        self,
        user: str,
        channel: str,
        name: str,
        options: Json | None = None,
        *,
        target_user: str | None = None,
        target_message: str | None = None,
    ) -> str:
        """Use a registered slash, user or message command; the interaction's id.

        :raises KeyError: it is not registered.
        """
        target = self._find(target_message)[1] if target_message else None
        place = self._world.channel(channel)
        return self._interactions.command(user, place, name, options, target_user=target_user, target_message=target).id

    def interaction(self, interaction: str) -> Interaction:
        return self._interactions.all[interaction]

    def redeliver(self, interaction: str) -> None:
        """Send an interaction once more."""
        self._interactions.deliver(self._interactions.all[interaction])

    async def wait_answer(self, interaction: str) -> int:
        """Wait for the callback of an interaction; its type."""
        await self.wait_until(lambda: self._interactions.all[interaction].answer is not None)
        answer = self._interactions.all[interaction].answer
        assert answer is not None
        return answer

    # What can be seen

    def messages(self, channel: str) -> list[Json]:
        """All messages of a channel, oldest first, as they read now."""
        return [self._messages.shown(message) for message in self._world.channel(channel).messages.values()]

    def message(self, message: str) -> Json:
        """:raises KeyError: there is none, or no longer."""
        return self._messages.shown(self._find(message)[1])

    def texts(self, channel: str) -> list[str]:
        """The texts of the bot's own messages in a channel, oldest first, edits applied."""
        return [message["content"] for message in self._own(channel)]

    def _own(self, channel: str) -> list[Json]:
        messages = self._world.channel(channel).messages.values()
        return [message for message in messages if message["author"]["id"] == self._world.bot_id]

    def buttons(self, message: str) -> list[Json]:
        """The components of a message that can be pressed."""
        return [one for row in self._find(message)[1]["components"] for one in row.get("components", ())]

    async def wait_texts(self, channel: str, count: int) -> list[str]:
        """Wait until the bot has at least ``count`` messages in a channel."""
        await self.wait_until(lambda: len(self.texts(channel)) >= count)
        return self.texts(channel)

    async def wait_text(self, channel: str, words: str) -> str:
        """Wait until one of the bot's messages has these words, perhaps by an edit; the id of the message."""
        found: list[str] = []

        def said() -> bool:
            found[:] = [message["id"] for message in self._own(channel) if words in message["content"]]
            return bool(found)

        await self.wait_until(said)
        return found[0]

    async def wait_until(self, condition: Callable[[], bool]) -> None:
        """Return as soon as ``condition`` holds; it is looked at after each change."""
        while not condition():
            await self._world.changed.wait()

    # Other events

    def publish(self, name: str, data: Json, intent: int = 0) -> None:
        """Any event, perhaps of a kind that nobody knows yet."""
        self._world.publish(Event(name, data, intent))
