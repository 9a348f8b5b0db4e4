"""Endpoints of messages, reactions and typing ("Message Resource", "Channel Resource")."""

from urllib.parse import unquote

from tests.fakes.discord_platform.errors import ApiError, Json, missing_access, missing_permissions
from tests.fakes.discord_platform.model import permissions
from tests.fakes.discord_platform.model.events import without_content
from tests.fakes.discord_platform.model.guilds import Channel
from tests.fakes.discord_platform.model.messages import EDITABLE, Draft, Messages, check_may_post
from tests.fakes.discord_platform.model.world import World
from tests.fakes.discord_platform.rest.routing import NO_CONTENT, Answer, Call, Endpoint
from tests.fakes.discord_platform.rest.validation import check_message

CHANNEL = "/channels/{channel_id}"
MESSAGE = CHANNEL + "/messages/{message_id}"


class MessageRoutes:
    """What a bot does with messages."""

    def __init__(self, world: World, messages: Messages) -> None:
        self._world = world
        self._messages = messages
        self.typing: list[tuple[float, str]] = []
        """When (Unix seconds) and in which channel the bot typed."""

    def endpoints(self) -> dict[str, Endpoint]:
        return {
            f"GET {CHANNEL}/messages": self._list,
            f"POST {CHANNEL}/messages": self._create,
            f"POST {CHANNEL}/messages/bulk-delete": self._bulk_delete,
            f"GET {MESSAGE}": self._get,
            f"PATCH {MESSAGE}": self._edit,
            f"DELETE {MESSAGE}": self._delete,
            f"PUT {MESSAGE}/reactions/{{emoji_name}}/@me": self._react,
            f"DELETE {MESSAGE}/reactions/{{emoji_name}}/@me": self._unreact,
            f"POST {CHANNEL}/typing": self._type,
        }

    def _channel(self, call: Call, *needed: int) -> Channel:
        """:raises ApiError: 10003, 50001, 50013."""
        channel = self._world.channel(call.ids["channel_id"])
        if not channel.may(self._world.bot_id, permissions.VIEW_CHANNEL):
            raise missing_access()
        for bit in needed:
            if not channel.may(self._world.bot_id, bit):
                raise missing_permissions()
        return channel

    def _shown(self, channel: Channel, message: Json) -> Json:
        """A message as REST gives it. What the portal has switched off is blank here, too ("Gateway", HTTP Restrictions)."""
        shown = self._messages.shown(message)
        if "message_content" in self._world.application.privileged or channel.guild is None:
            return shown
        censored = without_content({**shown, "guild_id": channel.guild.id}, self._world.bot_id)
        censored.pop("guild_id")
        return censored

    def _list(self, call: Call) -> Answer:
        channel = self._channel(call)
        limit = call.number("limit", 50, 1, 100)
        if not channel.may(self._world.bot_id, permissions.READ_MESSAGE_HISTORY):
            return Answer([])
        page = channel.page(
            before=call.snowflake("before"), after=call.snowflake("after"), around=call.snowflake("around"), limit=limit
        )
        return Answer([self._shown(channel, message) for message in page])

    def _get(self, call: Call) -> Answer:
        channel = self._channel(call, permissions.READ_MESSAGE_HISTORY)
        return Answer(self._shown(channel, self._world.message(channel, call.ids["message_id"])))

    def _create(self, call: Call) -> Answer:
        channel = self._world.channel(call.ids["channel_id"])
        fields = call.fields
        draft = Draft(
            content=fields.get("content") or "",
            uploads=call.body.uploads,
            embeds=fields.get("embeds") or [],
            components=fields.get("components") or [],
            allowed_mentions=fields.get("allowed_mentions"),
            reference=fields.get("message_reference"),
            nonce=fields.get("nonce"),
            enforce_nonce=bool(fields.get("enforce_nonce")),
            fields={"flags": int(fields.get("flags") or 0) & 0x1004, "tts": bool(fields.get("tts"))},
        )
        check_may_post(channel, self._world.bot_id, draft)
        check_message(call.body)
        message = self._messages.post(channel, self._world.bot_id, draft)
        extra = {} if draft.nonce is None else {"nonce": draft.nonce}
        return Answer({**self._messages.shown(message), **extra})

    def _own(self, call: Call) -> tuple[Channel, Json]:
        channel = self._channel(call)
        return channel, self._world.message(channel, call.ids["message_id"])

    def _edit(self, call: Call) -> Answer:
        channel, message = self._own(call)
        if message["author"]["id"] != self._world.bot_id:
            raise ApiError(403, 50005, "Cannot edit a message authored by another user")
        if channel.is_thread and channel.thread_state["archived"]:
            raise ApiError(400, 50083, "Thread is archived")
        check_message(call.body, is_edit=True)
        fields = call.fields
        changes: Json = {name: fields[name] or blank for name, blank in EDITABLE.items() if name in fields}
        if "flags" in fields:
            changes["flags"] = fields["flags"]
        if "attachments" in fields:
            kept = {str(one.get("id")) for one in fields["attachments"] or ()}
            changes["attachments"] = [one for one in message["attachments"] if one["id"] in kept]
        after = {**message, **changes}
        if not (after["content"].strip() or after["embeds"] or after["components"] or after["attachments"] or call.body.uploads):
            raise ApiError(400, 50006, "Cannot send an empty message")
        edited = self._messages.edit(channel, message, changes, call.body.uploads, fields.get("allowed_mentions"))
        return Answer(self._messages.shown(edited))

    def _delete(self, call: Call) -> Answer:
        channel, message = self._own(call)
        if message["author"]["id"] != self._world.bot_id and not (
            channel.guild is not None and channel.may(self._world.bot_id, permissions.MANAGE_MESSAGES)
        ):
            raise missing_permissions()
        self._messages.delete(channel, [message["id"]])
        return NO_CONTENT

    def _bulk_delete(self, call: Call) -> Answer:
        channel = self._channel(call, permissions.MANAGE_MESSAGES)
        self._messages.delete(channel, [str(one) for one in call.fields["messages"]])
        return NO_CONTENT

    def _react(self, call: Call) -> Answer:
        channel = self._channel(call, permissions.READ_MESSAGE_HISTORY, permissions.ADD_REACTIONS)
        message = self._world.message(channel, call.ids["message_id"])
        self._messages.react(channel, message, self._world.bot_id, unquote(call.ids["emoji_name"]), add=True)
        return NO_CONTENT

    def _unreact(self, call: Call) -> Answer:
        channel, message = self._own(call)
        self._messages.react(channel, message, self._world.bot_id, unquote(call.ids["emoji_name"]), add=False)
        return NO_CONTENT

    def _type(self, call: Call) -> Answer:
        channel = self._channel(call, permissions.SEND_MESSAGES)
        self.typing.append((self._world.now(), channel.id))
        return NO_CONTENT
