"""What people do in Slack, and what its apps show of it: writing, editing, pressing, commands, files, channels."""

import uuid
from collections.abc import Iterable, Sequence
from typing import Any, Literal

from tests.fakes.slack_platform.delivery.deliveries import Deliveries, Delivery
from tests.fakes.slack_platform.delivery.events import VERIFICATION_TOKEN, Events
from tests.fakes.slack_platform.errors import Json
from tests.fakes.slack_platform.methods.chat import Chat
from tests.fakes.slack_platform.methods.files import Files
from tests.fakes.slack_platform.mrkdwn import rich_text
from tests.fakes.slack_platform.responses import Responses
from tests.fakes.slack_platform.workspace import APP, BOT_USER, OTHER_TEAM, TEAM, Channel, ChannelKind, User, Workspace

TouchKind = Literal["unfurl", "thread", "language", "attachments", "pin"]


class People:
    """Users and channels are named by their ids. What writes returns the ts of the message.

    A text is as on the wire: ``<@U…>`` is a mention, and what a person types as ``&``, ``<`` or ``>`` comes escaped.
    """

    def __init__(
        self, workspace: Workspace, events: Events, files: Files, chat: Chat, responses: Responses, deliveries: Deliveries
    ) -> None:
        self._workspace = workspace
        self._events = events
        self._files = files
        self._chat = chat
        self._responses = responses
        self._deliveries = deliveries

    # Who and where

    def add_user(self, name: str, *, team: str = TEAM, real_name: str | None = None) -> str:
        """A person; of ``OTHER_TEAM`` it is one of Slack Connect."""
        return self._workspace.put_user(User(self._workspace.new_id("U"), name, real_name or name.title(), team=team)).id

    def add_stranger(self, name: str) -> str:
        """A person of another workspace (Slack Connect)."""
        return self.add_user(name, team=OTHER_TEAM)

    def add_bot(self, name: str) -> str:
        """Another app's bot; returns its user id."""
        new_id = self._workspace.new_id
        return self._workspace.put_user(User(new_id("U"), name, name.title(), bot=new_id("B"), app=new_id("A"))).id

    def add_channel(
        self,
        name: str,
        members: Iterable[str] = (),
        *,
        private: bool = False,
        with_bot: bool = True,
        shared_with: Sequence[str] = (),
    ) -> str:
        """A public or private channel with these people and, unless told otherwise, the bot."""
        kind: ChannelKind = "group" if private else "channel"
        everybody = [*members, *([BOT_USER] if with_bot else [])]
        return self._workspace.put_channel(kind, name, everybody, shared_with=tuple(shared_with)).id

    def dm(self, user: str) -> str:
        """The DM of the bot with a user."""
        return self._workspace.direct(user).id

    def group_dm(self, *users: str) -> str:
        """The group DM of the bot with these users."""
        return self._workspace.direct(*users).id

    def archive(self, channel: str) -> None:
        """Archived: nobody writes there any more; ``channel_archive`` is told."""
        there = self._channel(channel)
        self._tell(there, {"type": f"{'group' if there.kind == 'group' else 'channel'}_archive", "user": there.members[0]})
        there.archived = True

    def join(self, channel: str, user: str = BOT_USER) -> str:
        """A member joins: a ``channel_join`` message, and member_joined_channel."""
        there = self._channel(channel)
        if user not in there.members:
            there.members.append(user)
        subtype = "group_join" if there.kind == "group" else "channel_join"
        message = self._workspace.post(there, {"subtype": subtype, "user": user, "text": f"<@{user}> has joined the channel"})
        kind = "G" if there.kind == "group" else "C"
        self._tell(there, {"type": "member_joined_channel", "user": user, "channel_type": kind, "team": TEAM})
        return str(message["ts"])

    def remove(self, channel: str, user: str = BOT_USER) -> None:
        """A member leaves or is removed; the bot is told by channel_left."""
        there = self._channel(channel)
        if user == BOT_USER:
            self._tell(there, {"type": "group_left" if there.kind == "group" else "channel_left", "actor_id": there.members[0]})
        there.members.remove(user)

    # What they write

    def say(
        self,
        user: str,
        channel: str,
        text: str,
        *,
        thread: str | None = None,
        files: Sequence[Json] = (),
        subtype: str | None = None,
        broadcast: bool = False,
        fields: Json | None = None,
    ) -> str:
        """A message of a person or of another bot. ``files`` come from :meth:`file`; ``fields`` are added as they are."""
        there = self._channel(channel)
        author = self._workspace.user(user)
        message: Json = {"user": user, "text": text, "team": author.team, "blocks": [rich_text(text)]}
        if author.bot is not None:
            message |= {"bot_id": author.bot, "app_id": author.app, "bot_profile": {"id": author.bot, "name": author.name}}
        else:
            message["client_msg_id"] = str(uuid.uuid4())
        if author.team != TEAM:
            message |= {"user_team": author.team, "source_team": author.team, "user_profile": {"team": author.team}}
        if thread is not None:
            message["thread_ts"] = thread
        if files:
            message |= {"files": list(files), "upload": False, "subtype": "file_share"}
        if broadcast:
            message |= {"subtype": "thread_broadcast", "root": dict(there.messages.get(thread or "", {}))}
        if subtype is not None:
            message["subtype"] = subtype
        return str(self._workspace.post(there, message | (fields or {}))["ts"])

    def file(
        self, user: str, name: str, content: bytes = b"", *, mimetype: str | None = None, external_url: str | None = None
    ) -> Json:
        """A file that a user has uploaded, or, with ``external_url``, one that lies elsewhere (``is_external``)."""
        return self._files.make(name, content, user, mimetype=mimetype, external_url=external_url)

    def unseen_file(self, file: Json) -> Json:
        """A file as an event of Slack Connect shows it: files.info tells the rest (…/reference/objects/file-object)."""
        return {
            "id": file["id"],
            "mode": "file_access",
            "file_access": "check_file_info",
            "created": 0,
            "timestamp": 0,
            "user": "",
        }

    def edit(self, channel: str, ts: str, text: str, *, user: str | None = None) -> str:
        """The author changes the text; returns ``edited.ts``."""
        there = self._channel(channel)
        author = user or self._workspace.message(there, ts)["user"]
        edited = f"{int(self._workspace.now())}.000000"
        self._workspace.change(there, ts, {"text": text, "blocks": [rich_text(text)], "edited": {"user": author, "ts": edited}})
        return edited

    def delete(self, channel: str, ts: str) -> None:
        """The author deletes a message."""
        self._workspace.delete(self._channel(channel), ts)

    def touch(self, channel: str, ts: str, kind: TouchKind) -> None:
        """A ``message_changed`` that is no edit: a link unfurled, a reply counted, a language found, attachments, a pin."""
        there = self._channel(channel)
        fields: dict[str, Json] = {
            "unfurl": {"attachments": [{"id": 1, "from_url": "https://example.com/", "title": "Example", "fallback": "Example"}]},
            "thread": {"thread_ts": ts, "subscribed": False, "is_locked": False},
            "language": {"language": {"locale": "en", "is_reliable": True}},
            "attachments": {"attachments": [{"id": 1, "text": "more", "fallback": "more"}]},
            "pin": {"pinned_to": [channel], "pinned_info": {"channel": channel, "pinned_by": BOT_USER, "pinned_ts": 1}},
        }
        self._workspace.change(there, ts, fields[kind])

    def replied(self, channel: str, root: str) -> None:
        """``message_replied`` as the Events API sends it: without its subtype (docs.slack.dev/…/message/message_replied)."""
        there = self._channel(channel)
        message = dict(self._workspace.message(there, root))
        ts = self._workspace.next_ts(there)
        self._workspace.publish(there, {"type": "message", "message": message, "hidden": True, "ts": ts})

    def event(self, event: Json, *, channel: str | None = None) -> Delivery:
        """Any event, as it is."""
        return self._events.body(event, self._channel(channel) if channel else None)

    def payload(self, body: Json) -> Delivery:
        """Any body at all, such as app_rate_limited (docs.slack.dev/apis/events-api/#rate-limiting)."""
        return self._deliveries.add(Delivery("events_api", body))

    def assistant_thread(self, user: str, text: str) -> str:
        """A thread that a user begins in the app's assistant pane: its root has the subtype ``assistant_app_thread``."""
        there = self._workspace.direct(user)
        root = self._workspace.post(there, {"subtype": "assistant_app_thread", "user": BOT_USER, "text": "New Assistant Thread"})
        return self.say(user, there.id, text, thread=root["ts"])

    def integration_says(self, channel: str, text: str, *, username: str = "CI") -> str:
        """A message of an old integration: ``bot_message``, with no user (docs.slack.dev/…/message/bot_message)."""
        fields: Json = {"subtype": "bot_message", "text": text, "username": username, "bot_id": self._workspace.new_id("B")}
        return str(self._workspace.post(self._channel(channel), fields)["ts"])

    def react(self, user: str, channel: str, ts: str, name: str) -> None:
        """A reaction: ``reaction_added``."""
        there = self._channel(channel)
        message = self._workspace.message(there, ts)
        message.setdefault("reactions", []).append({"name": name, "users": [user], "count": 1})
        item = {"type": "message", "channel": channel, "ts": ts}
        self._tell(
            there, {"type": "reaction_added", "user": user, "reaction": name, "item": item, "item_user": message.get("user")}
        )

    # What they press and call

    def press(self, user: str, channel: str, ts: str, *, action_id: str | None = None, value: str | None = None) -> Delivery:
        """Press a button of a message: the one with this action_id or value, else the first (block_actions).

        Of a message that only one user sees, the payload has the container alone.

        :raises LookupError: the message has no such button.
        """
        there = self._channel(channel)
        private = self._chat.only_seen_by_one(channel, ts)
        message = private or self._workspace.message(there, ts)
        block_id, element = _button(message, action_id, value)
        action: Json = {
            "action_id": element["action_id"],
            "block_id": block_id,
            "text": element.get("text"),
            "type": element["type"],
            "action_ts": self._stamp(),
        }
        action |= {name: element[name] for name in ("value", "style") if name in element}
        container: Json = {"type": "message", "message_ts": ts, "channel_id": channel, "is_ephemeral": private is not None}
        if "thread_ts" in message:
            container["thread_ts"] = message["thread_ts"]
        payload = self._about(user, there) | {
            "type": "block_actions",
            "container": container,
            "state": {"values": {}},
            "response_url": self._responses.new(there, user, ts),
            "actions": [action],
            **({} if private else {"message": dict(message)}),
        }
        return self._deliveries.add(Delivery("interactive", payload))

    def shortcut(self, user: str, callback_id: str, *, channel: str | None = None, ts: str | None = None) -> Delivery:
        """A global shortcut, or, with a message, a message shortcut (``message_action``)."""
        if channel is None or ts is None:
            payload = self._about(user, None) | {"type": "shortcut", "callback_id": callback_id, "action_ts": self._stamp()}
            return self._deliveries.add(Delivery("interactive", payload))
        there = self._channel(channel)
        payload = self._about(user, there) | {
            "type": "message_action",
            "callback_id": callback_id,
            "action_ts": self._stamp(),
            "message_ts": ts,
            "message": dict(self._workspace.message(there, ts)),
            "response_url": self._responses.new(there, user, None),
        }
        return self._deliveries.add(Delivery("interactive", payload))

    def command(self, user: str, channel: str, command: str, text: str = "") -> Delivery:
        """A slash command (docs.slack.dev/interactivity/implementing-slash-commands)."""
        there = self._channel(channel)
        person = self._workspace.user(user)
        names = {"im": "directmessage", "mpim": there.name, "group": "privategroup"}
        payload: Json = {
            "token": VERIFICATION_TOKEN,
            "team_id": TEAM,
            "team_domain": self._workspace.team["domain"],
            "channel_id": channel,
            "channel_name": names.get(there.kind, there.name),
            "user_id": user,
            "user_name": person.name,
            "command": command,
            "text": text,
            "api_app_id": APP,
            "is_enterprise_install": "false",
            "response_url": self._responses.new(there, user, None),
            "trigger_id": self._trigger(),
        }
        return self._deliveries.add(Delivery("slash_commands", payload, accepts_response_payload=True))

    def _about(self, user: str, channel: Channel | None) -> Json:
        person = self._workspace.user(user)
        about: Json = {
            "user": {"id": user, "username": person.name, "name": person.name, "team_id": person.team},
            "api_app_id": APP,
            "token": VERIFICATION_TOKEN,
            "trigger_id": self._trigger(),
            "team": {"id": TEAM, "domain": self._workspace.team["domain"]},
            "enterprise": None,
            "is_enterprise_install": False,
        }
        if channel is not None:
            about["channel"] = {"id": channel.id, "name": "directmessage" if channel.kind == "im" else channel.name}
        return about

    def _trigger(self) -> str:
        return f"{self._stamp()}.{uuid.uuid4().hex}"

    def _stamp(self) -> str:
        return f"{self._workspace.now():.6f}"

    def _channel(self, channel: str) -> Channel:
        return self._workspace.channel(channel)

    def _tell(self, channel: Channel, event: Json) -> None:
        self._workspace.publish(channel, event | {"ts": self._workspace.next_ts(channel)})


def _button(message: Json, action_id: str | None, value: str | None) -> tuple[str, Any]:
    for block in message.get("blocks", []):
        elements = block.get("elements", []) if block["type"] == "actions" else [block.get("accessory")]
        for element in elements:
            if not isinstance(element, dict) or element.get("type") != "button":
                continue
            if action_id in (None, element.get("action_id")) and value in (None, element.get("value")):
                return str(block.get("block_id")), element
    raise LookupError("no such button")
