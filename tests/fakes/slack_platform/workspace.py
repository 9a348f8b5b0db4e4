"""The workspace: team, people, conversations, messages, files. It tells what happens there as Events API events."""

import copy
from collections.abc import Callable, Iterable
from typing import Any, Literal

from msgspec import Struct, field

from tests.fakes.slack_platform.errors import Json, SlackError

TEAM = "T0HOME0000"
OTHER_TEAM = "T0OTHER000"
APP = "A0GATEWAY0"
BOT_USER = "U0GATEBOT0"
BOT = "B0GATEBOT0"
BOT_NAME = "gatebot"

ChannelKind = Literal["channel", "group", "im", "mpim"]
SCOPE_PREFIXES: dict[str, str] = {"channel": "channels", "group": "groups", "im": "im", "mpim": "mpim"}
"""The part of a scope's name before the colon, by the kind of conversation (docs.slack.dev/reference/scopes)."""


class User(Struct):
    """A person, or a bot's user."""

    id: str
    name: str
    real_name: str
    team: str = TEAM
    bot: str | None = None
    app: str | None = None
    deleted: bool = False
    tz: str = "Europe/Amsterdam"

    def answer(self) -> Json:
        """As users.info gives it (docs.slack.dev/reference/objects/user-object)."""
        profile = {"real_name": self.real_name, "display_name": self.name, "team": self.team}
        if self.bot is not None:
            profile |= {"bot_id": self.bot, "api_app_id": self.app or ""}
        return {
            "id": self.id,
            "team_id": self.team,
            "name": self.name,
            "deleted": self.deleted,
            "real_name": self.real_name,
            "tz": self.tz,
            "profile": profile,
            "is_bot": self.bot is not None,
            "is_app_user": False,
            "is_stranger": False,
            "updated": 1700000000,
        }


class Channel(Struct):
    """A conversation. ``messages`` are as Slack gives them, by ts, in order."""

    id: str
    name: str
    kind: ChannelKind
    members: list[str]
    created: int
    archived: bool = False
    shared_with: tuple[str, ...] = ()
    messages: dict[str, Json] = field(default_factory=dict)
    last: int = 0

    @property
    def event_type(self) -> str:
        """``channel_type`` of a message event (docs.slack.dev/reference/events/message)."""
        return self.kind

    def answer(self) -> Json:
        """As conversations.info gives it (docs.slack.dev/reference/objects/conversation-object)."""
        shape: Json = {
            "id": self.id,
            "created": self.created,
            "updated": self.created * 1000,
            "is_archived": self.archived,
            "is_im": self.kind == "im",
            "is_org_shared": False,
            "context_team_id": TEAM,
        }
        if self.kind == "im":
            return shape | {"user": self.other(BOT_USER), "is_user_deleted": False, "priority": 0, "is_open": True}
        return shape | {
            "name": self.name,
            "name_normalized": self.name,
            "is_channel": self.kind == "channel",
            "is_group": self.kind == "group",
            "is_mpim": self.kind == "mpim",
            "is_private": self.kind != "channel",
            "is_general": False,
            "is_shared": bool(self.shared_with),
            "is_ext_shared": bool(self.shared_with),
            "is_pending_ext_shared": False,
            "shared_team_ids": [TEAM, *self.shared_with],
            "connected_team_ids": list(self.shared_with),
            "is_member": BOT_USER in self.members,
            "creator": self.members[0] if self.members else BOT_USER,
            "topic": {"value": "", "creator": "", "last_set": 0},
            "purpose": {"value": "", "creator": "", "last_set": 0},
            "num_members": len(self.members),
        }

    def other(self, user: str) -> str:
        """The other one of a DM."""
        return next((member for member in self.members if member != user), user)


class Workspace:
    """``publish`` gets each event that the app may see, without ``event_ts`` and envelope; ``now`` is Unix time in seconds."""

    def __init__(self, now: Callable[[], float], publish: Callable[[Channel, Json], None]) -> None:
        self.now = now
        self._publish = publish
        self._ids = 0
        self.users: dict[str, User] = {}
        self.channels: dict[str, Channel] = {}
        self.files: dict[str, Json] = {}
        self.contents: dict[str, bytes] = {}
        self.team: Json = {"id": TEAM, "name": "Home", "domain": "home", "email_domain": "", "icon": {"image_default": True}}
        self.is_organisation = False
        self.put_user(User("USLACKBOT", "slackbot", "Slackbot"))
        self.put_user(User(BOT_USER, BOT_NAME, "Gate Bot", bot=BOT, app=APP))

    def new_id(self, kind: str) -> str:
        """An id of Slack's form: a letter for the kind, then capitals and digits."""
        self._ids += 1
        return f"{kind}0{self._ids:08d}"

    # People and places

    def put_user(self, user: User) -> User:
        self.users[user.id] = user
        return user

    def user(self, user: str) -> User:
        """:raises SlackError: user_not_found."""
        if user not in self.users:
            raise SlackError("user_not_found")
        return self.users[user]

    def put_channel(
        self, kind: ChannelKind, name: str, members: Iterable[str], *, shared_with: tuple[str, ...] = (), id: str | None = None
    ) -> Channel:
        letter = {"channel": "C", "group": "C", "im": "D", "mpim": "C"}[kind]
        channel = Channel(id or self.new_id(letter), name, kind, list(members), int(self.now()), shared_with=shared_with)
        self.channels[channel.id] = channel
        return channel

    def channel(self, channel: str) -> Channel:
        """:raises SlackError: channel_not_found."""
        if channel not in self.channels:
            raise SlackError("channel_not_found")
        return self.channels[channel]

    def direct(self, *users: str) -> Channel:
        """The DM or group DM of the bot with these people; made when there is none."""
        kind: ChannelKind = "im" if len(users) == 1 else "mpim"
        wanted = {BOT_USER, *users}
        for channel in self.channels.values():
            if channel.kind == kind and set(channel.members) == wanted:
                return channel
        name = "" if kind == "im" else "mpdm-" + "--".join([self.users[user].name for user in users] + [BOT_NAME]) + "-1"
        return self.put_channel(kind, name, [*users, BOT_USER])

    # Messages

    def next_ts(self, channel: Channel) -> str:
        """Unique in the channel and growing (docs.slack.dev/messaging/retrieving-messages: a ts is the id of a message)."""
        channel.last = max(int(self.now() * 1_000_000), channel.last + 1)
        return f"{channel.last // 1_000_000}.{channel.last % 1_000_000:06d}"

    def message(self, channel: Channel, ts: str) -> Json:
        """:raises SlackError: message_not_found."""
        if ts not in channel.messages:
            raise SlackError("message_not_found")
        return channel.messages[ts]

    def post(self, channel: Channel, fields: Json) -> Json:
        """Put a message there; its event is published. ``fields`` lack type and ts."""
        ts = self.next_ts(channel)
        message = channel.messages[ts] = {"type": "message", **fields, "ts": ts}
        self._count_reply(channel, message)
        self._publish(channel, event_of(message))
        return message

    def change(self, channel: Channel, ts: str, fields: Json, *, drop: tuple[str, ...] = ()) -> Json:
        """Change a message; ``message_changed`` is published (docs.slack.dev/reference/events/message/message_changed)."""
        message = self.message(channel, ts)
        before = event_of(message)
        for name in drop:
            message.pop(name, None)
        message.update(fields)
        self._publish(
            channel,
            {
                "type": "message",
                "subtype": "message_changed",
                "message": event_of(message) | {"source_team": TEAM, "user_team": TEAM},
                "previous_message": before,
                "hidden": True,
                "ts": self.next_ts(channel),
            },
        )
        return message

    def delete(self, channel: Channel, ts: str) -> None:
        """Delete; a root with replies stays as a tombstone, as Slack's clients show it."""
        message = self.message(channel, ts)
        if message.get("reply_count"):
            gone = {"subtype": "tombstone", "text": "This message was deleted.", "user": "USLACKBOT", "hidden": True}
            self.change(channel, ts, gone, drop=("blocks", "files", "attachments", "metadata", "client_msg_id", "edited"))
            return
        del channel.messages[ts]
        self._uncount_reply(channel, message)
        self._publish(
            channel,
            {
                "type": "message",
                "subtype": "message_deleted",
                "previous_message": event_of(message),
                "deleted_ts": ts,
                "hidden": True,
                "ts": self.next_ts(channel),
            },
        )

    def publish(self, channel: Channel, event: Json) -> None:
        """Publish an event that leaves no message behind."""
        self._publish(channel, event)

    def replies(self, channel: Channel, root: str) -> list[Json]:
        """The replies of a thread, oldest first, without the root."""
        return [message for ts, message in channel.messages.items() if message.get("thread_ts") == root != ts]

    def _count_reply(self, channel: Channel, message: Json) -> None:
        root = channel.messages.get(message.get("thread_ts", ""))
        if root is None or root is message:
            return
        author = message.get("user") or message.get("bot_id")
        users = [*root.get("reply_users", [])]
        root.update(
            thread_ts=root["ts"],
            reply_count=root.get("reply_count", 0) + 1,
            reply_users=users if author in users else [*users, author],
            latest_reply=message["ts"],
            is_locked=False,
            subscribed=False,
        )
        root["reply_users_count"] = len(root["reply_users"])
        message["parent_user_id"] = root.get("user", "")

    def _uncount_reply(self, channel: Channel, message: Json) -> None:
        root = channel.messages.get(message.get("thread_ts", ""))
        if root is None or "reply_count" not in root:
            return
        left = self.replies(channel, root["ts"])
        root["reply_count"] = len(left)
        if left:
            root["latest_reply"] = left[-1]["ts"]
        else:
            for name in (
                "thread_ts",
                "reply_count",
                "reply_users",
                "reply_users_count",
                "latest_reply",
                "is_locked",
                "subscribed",
            ):
                root.pop(name, None)

    # Files

    def put_file(self, file: Json, content: bytes) -> Json:
        self.files[file["id"]] = file
        self.contents[file["id"]] = content
        return file

    def file(self, file: str) -> Json:
        """:raises SlackError: file_not_found."""
        if file not in self.files:
            raise SlackError("file_not_found")
        return self.files[file]


def event_of(message: Json) -> Json:
    """A message as an event shows it: a copy, without what only conversations.history and .replies tell."""
    hidden = {"reply_count", "reply_users", "reply_users_count", "latest_reply", "is_locked", "subscribed", "reactions"}
    shown: Any = copy.deepcopy({name: value for name, value in message.items() if name not in hidden})
    if shown.get("thread_ts") == shown["ts"] and "reply_count" not in message:
        del shown["thread_ts"]
    return dict(shown)
