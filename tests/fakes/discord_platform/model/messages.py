"""Messages: posted, edited, deleted, pinned, and those that the platform itself writes."""

from collections.abc import Sequence

from msgspec import Struct, field

from tests.fakes.discord_platform.errors import ApiError, Json, invalid_form
from tests.fakes.discord_platform.model import mentions as naming
from tests.fakes.discord_platform.model import permissions, shapes
from tests.fakes.discord_platform.model.cdn import Cdn, Upload
from tests.fakes.discord_platform.model.guilds import Channel
from tests.fakes.discord_platform.model.world import World

NONCE_SECONDS = 300.0
"""How long a nonce is unique. The documentation says "in the past few minutes"."""

EDITABLE: Json = {"content": "", "embeds": [], "components": []}
"""What an edit may replace, and what null makes of it."""


class Draft(Struct):
    """What makes a message, whoever writes it. ``fields`` are put into it as they are."""

    content: str = ""
    uploads: Sequence[Upload] = ()
    embeds: list[Json] = field(default_factory=list)
    components: list[Json] = field(default_factory=list)
    allowed_mentions: Json | None = None
    reference: Json | None = None
    nonce: str | int | None = None
    enforce_nonce: bool = False
    fields: Json = field(default_factory=dict)


class Messages:
    """What happens to messages. ``partial_updates``: MESSAGE_UPDATE of embeds and pins has the changed fields alone, as before
    2025; else it is the whole message (change log of 2025)."""

    def __init__(self, world: World, cdn: Cdn) -> None:
        self._world = world
        self._cdn = cdn
        self._nonces: dict[tuple[str, str], tuple[float, str, str]] = {}
        self._component_id = 0
        self.places: dict[str, Channel] = {}
        """Where each message is, deleted ones included."""
        self.partial_updates = False
        self.nonce_seconds = NONCE_SECONDS

    def post(self, channel: Channel, author_id: str, draft: Draft) -> Json:
        """A message by a user or a bot. With ``enforce_nonce``, a nonce that its author used lately gives the message that it
        made then, in whatever channel ("Message Resource", Create Message).

        :raises ApiError: the reference or the allowed mentions are not right, or 10008: the message of that nonce was deleted
            meanwhile (discord-api-docs, pull request 6647).
        """
        key = (author_id, str(draft.nonce))
        if draft.enforce_nonce and draft.nonce is not None:
            earlier = self._earlier(key)
            if earlier is not None:
                return earlier
        message = self._make(channel, self._world.users[author_id], author_id, draft)
        if draft.nonce is not None:
            self._nonces[key] = (self._world.now(), channel.id, message["id"])
        self._add(channel, message, nonce=draft.nonce)
        return message

    def post_by_webhook(self, channel: Channel, webhook_id: str, author: Json, draft: Draft) -> Json:
        """A message of a webhook or an interaction; without ``allowed_mentions``, only users are mentioned ("Message Resource",
        Allowed Mentions Object)."""
        if draft.allowed_mentions is None:
            draft.allowed_mentions = {"parse": ["users"], "replied_user": True}
        message = self._make(channel, author, "", draft)
        message["webhook_id"] = webhook_id
        self._add(channel, message)
        return message

    def post_system(self, channel: Channel, author_id: str, kind: int, reference: Json | None = None) -> Json:
        """A message that the platform writes: join, pin, thread created."""
        message = shapes.make_message(
            self._world.snowflakes.make(), channel.id, self._world.users[author_id], self._world.timestamp()
        )
        message["type"] = kind
        if reference is not None:
            message["message_reference"] = reference
        self._add(channel, message)
        return message

    def _earlier(self, key: tuple[str, str]) -> Json | None:
        at, channel_id, message_id = self._nonces.get(key, (0.0, "", ""))
        if not message_id or self._world.now() - at >= self.nonce_seconds:
            return None
        return self._world.message(self._world.channel(channel_id), message_id)

    def _make(self, channel: Channel, author: Json, author_id: str, draft: Draft) -> Json:
        message = shapes.make_message(self._world.snowflakes.make(), channel.id, author, self._world.timestamp())
        message |= {
            "content": draft.content,
            "embeds": _rich(draft.embeds),
            "components": self.numbered(draft.components),
            "attachments": [self._cdn.store(channel.id, upload) for upload in draft.uploads],
        }
        replied = self._refer(channel, message, draft.reference) if draft.reference is not None else None
        self._mention(channel, message, author_id, draft, replied)
        return message | draft.fields

    def _refer(self, channel: Channel, message: Json, reference: Json) -> Json | None:
        found = channel.messages.get(int(reference.get("message_id", 0)))
        if found is None:
            if reference.get("fail_if_not_exists", True):
                raise invalid_form("message_reference", "REPLIES_UNKNOWN_MESSAGE", "Unknown message")
            return None
        if found["type"] not in {
            shapes.MESSAGE_DEFAULT,
            shapes.MESSAGE_REPLY,
            shapes.MESSAGE_COMMAND,
            shapes.MESSAGE_CONTEXT_COMMAND,
        }:
            raise invalid_form("message_reference", "REPLIES_CANNOT_REPLY_TO_SYSTEM_MESSAGE", "Cannot reply to a system message")
        message["type"] = shapes.MESSAGE_REPLY
        message["message_reference"] = {"type": 0, "message_id": found["id"], "channel_id": channel.id}
        if channel.guild is not None:
            message["message_reference"]["guild_id"] = channel.guild.id
        message["referenced_message"] = {name: value for name, value in found.items() if name != "referenced_message"}
        return found

    def _mention(self, channel: Channel, message: Json, author_id: str, draft: Draft, replied: Json | None) -> None:
        found = naming.allowed(naming.mentions_in(draft.content), draft.allowed_mentions)
        users = [self._world.users[user_id] for user_id in found.users if user_id in self._world.users]
        pings = (draft.allowed_mentions or {"replied_user": True}).get("replied_user", False)
        if replied is not None and pings and replied["author"]["id"] not in found.users and "webhook_id" not in replied:
            users.append(replied["author"])
        message["mentions"] = [self._mentioned(channel, user) for user in users]
        everyone = channel.guild is None or not author_id or channel.may(author_id, permissions.MENTION_EVERYONE)
        roles = channel.guild.roles if channel.guild is not None else {}
        message["mention_roles"] = [role for role in found.roles if role in roles and (everyone or roles[role]["mentionable"])]
        message["mention_everyone"] = found.everyone and everyone and channel.guild is not None

    def _mentioned(self, channel: Channel, user: Json) -> Json:
        member = channel.guild.members.get(user["id"]) if channel.guild is not None else None
        return user if member is None else {**user, "member": _partial(member)}

    def numbered(self, components: list[Json]) -> list[Json]:
        """The components as they come back: each with a number ("Component Reference", id)."""
        return [self._number(component) for component in components]

    def _number(self, component: Json) -> Json:
        self._component_id += 1
        numbered = {**component, "id": component.get("id", self._component_id % 1_000_000)}
        if component.get("type") in shapes.SELECTS:
            numbered = {"min_values": 1, "max_values": 1, **numbered}
        if "components" in component:
            numbered["components"] = self.numbered(component["components"])
        return numbered

    def _add(self, channel: Channel, message: Json, nonce: str | int | None = None) -> None:
        channel.messages[int(message["id"])] = message
        self.places[message["id"]] = channel
        channel.info["last_message_id"] = message["id"]
        if channel.is_thread:
            channel.info["message_count"] += 1
            channel.info["total_message_sent"] += 1
            if channel.thread_state["archived"]:
                channel.thread_state["archived"] = False
                self._world.publish_channel("THREAD_UPDATE", channel)
        extra = {} if nonce is None else {"nonce": nonce}
        self._world.publish_in(channel, "MESSAGE_CREATE", {**self.event(channel, message), **extra}, is_message=True)

    def event(self, channel: Channel, message: Json) -> Json:
        """A message with the extra fields of its events ("Gateway Events", Message Create)."""
        member = channel.guild.members.get(message["author"]["id"]) if channel.guild is not None else None
        extra: Json = {"channel_type": channel.kind}
        if member is not None and "webhook_id" not in message:
            extra["member"] = _partial(member)
        return {**self.shown(message), **extra}

    def shown(self, message: Json) -> Json:
        """A message as it goes out now: with fresh URLs."""
        attachments = [self._cdn.signed(attachment) for attachment in message["attachments"]]
        return {
            **{name: value for name, value in message.items() if not name.startswith("_")},
            "attachments": attachments,
            "mentions": [dict(user) for user in message["mentions"]],
        }

    def edit(
        self,
        channel: Channel,
        message: Json,
        changes: Json,
        uploads: Sequence[Upload] = (),
        allowed_mentions: Json | None = None,
    ) -> Json:
        """What the author changes: a new edited_timestamp and MESSAGE_UPDATE. A new content is looked into for mentions."""
        if "components" in changes:
            changes = {**changes, "components": self.numbered(changes["components"])}
        if "embeds" in changes:
            changes = {**changes, "embeds": _rich(changes["embeds"])}
        message |= changes
        message["attachments"] = [*message["attachments"], *(self._cdn.store(channel.id, upload) for upload in uploads)]
        if "content" in changes:
            found = naming.allowed(naming.mentions_in(message["content"]), allowed_mentions)
            users = [self._world.users[one] for one in found.users if one in self._world.users]
            message["mentions"] = [self._mentioned(channel, user) for user in users]
        message["edited_timestamp"] = self._world.timestamp()
        self._world.publish_in(channel, "MESSAGE_UPDATE", self.event(channel, message), is_message=True)
        return message

    def change(self, channel: Channel, message: Json, changes: Json) -> Json:
        """What the platform changes (embeds resolved, pins): MESSAGE_UPDATE, but no edit: edited_timestamp stays."""
        message |= changes
        data = self.event(channel, message)
        if self.partial_updates:
            data = {"id": message["id"], "channel_id": channel.id, **changes}
        self._world.publish_in(channel, "MESSAGE_UPDATE", data, is_message=True)
        return message

    def delete(self, channel: Channel, message_ids: Sequence[str]) -> None:
        """MESSAGE_DELETE, or MESSAGE_DELETE_BULK of several. last_message_id stays ("may not point to an existing message")."""
        for message_id in message_ids:
            channel.messages.pop(int(message_id), None)
        if len(message_ids) == 1:
            self._world.publish_in(channel, "MESSAGE_DELETE", {"id": message_ids[0], "channel_id": channel.id})
        else:
            self._world.publish_in(channel, "MESSAGE_DELETE_BULK", {"ids": list(message_ids), "channel_id": channel.id})

    def react(self, channel: Channel, message: Json, user_id: str, emoji: str, *, add: bool) -> None:
        """One reaction of one user; the emoji is a Unicode one."""
        who: set[str] = message.setdefault("_reactions", {}).setdefault(emoji, set())
        if (user_id in who) is add:
            return
        (who.add if add else who.discard)(user_id)
        message["reactions"] = [
            {
                "emoji": {"id": None, "name": name},
                "count": len(users),
                "count_details": {"burst": 0, "normal": len(users)},
                "burst_colors": [],
                "me_burst": False,
                "burst_me": False,
                "burst_count": 0,
                "me": self._world.bot_id in users,
            }
            for name, users in message["_reactions"].items()
            if users
        ]
        data = {
            "user_id": user_id,
            "message_id": message["id"],
            "channel_id": channel.id,
            "emoji": {"id": None, "name": emoji},
            "burst": False,
            "type": 0,
            "message_author_id": message["author"]["id"],
        }
        name = "MESSAGE_REACTION_ADD" if add else "MESSAGE_REACTION_REMOVE"
        self._world.publish_in(channel, name, data, reaction=True)


def _rich(embeds: list[Json]) -> list[Json]:
    """Embeds as they come back: those of a bot or a webhook are of type rich."""
    return [{"type": "rich", **embed} for embed in embeds]


def _partial(member: Json) -> Json:
    """A member as messages have it: without its user."""
    return {name: value for name, value in member.items() if name != "user"}


def check_may_post(channel: Channel, user_id: str, draft: Draft) -> None:
    """:raises ApiError: 50001, 50013, 50007, 50008, 160002, 160005."""
    if channel.is_blocked:
        raise ApiError(403, 50007, "Cannot send messages to this user")
    if not channel.may(user_id, permissions.VIEW_CHANNEL):
        raise ApiError(403, 50001, "Missing Access")
    if channel.kind in {shapes.CATEGORY, shapes.FORUM}:
        raise ApiError(400, 50008, "Cannot send messages in a non-text channel")
    needed = permissions.SEND_MESSAGES_IN_THREADS if channel.is_thread else permissions.SEND_MESSAGES
    if draft.uploads:
        needed |= permissions.ATTACH_FILES
    if not channel.may(user_id, needed):
        raise ApiError(403, 50013, "Missing Permissions")
    if draft.reference is not None and not channel.may(user_id, permissions.READ_MESSAGE_HISTORY):
        raise ApiError(400, 160002, "You cannot reply without permission to read message history")
    if channel.is_thread and channel.thread_state["locked"] and not channel.may(user_id, permissions.MANAGE_THREADS):
        raise ApiError(400, 160005, "Thread is locked")
