"""chat.postMessage, .update, .delete, .postEphemeral (docs.slack.dev/reference/methods)."""

import re
from typing import Any

from tests.fakes.slack_platform.blocks import MAX_MARKDOWN, check_blocks, texts_of
from tests.fakes.slack_platform.errors import Json, SlackError, explained
from tests.fakes.slack_platform.methods.arguments import Method, flag, needed, text
from tests.fakes.slack_platform.mrkdwn import rich_text
from tests.fakes.slack_platform.workspace import APP, BOT, BOT_NAME, BOT_USER, TEAM, Channel, Workspace, event_of

MAX_TEXT = 40_000
"""chat.postMessage cuts there (…/methods/chat.postMessage#truncating)."""
MAX_UPDATE = 4_000
"""chat.update refuses more (…/methods/chat.update, msg_too_long). Slack counts bytes of UTF-8, against its documentation
(openclaw/openclaw, pull request 115027)."""
MAX_METADATA_BYTES = 8_000
TS = re.compile(r"[0-9]{10}\.[0-9]{6}")


class Chat:
    """What the bot says. ``ephemeral`` keeps what only one user sees: (channel, user, message)."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self.ephemeral: list[tuple[str, str, Json]] = []

    def methods(self) -> dict[str, Method]:
        return {
            "chat.postMessage": self.post_message,
            "chat.update": self.update,
            "chat.delete": self.delete,
            "chat.postEphemeral": self.post_ephemeral,
        }

    def post_message(self, values: Json) -> Json:
        channel = self.writable(needed(values, "channel", error="channel_not_found"))
        fields = self.content(values)
        thread = text(values, "thread_ts")
        if "thread_ts" in values:
            root = self.root_of(channel, thread)
            if root is not None:
                fields["thread_ts"] = root
        if "metadata" in values:
            fields["metadata"] = check_metadata(values["metadata"])
        if flag(values, "reply_broadcast") and thread:
            fields["subtype"] = "thread_broadcast"
        if text(values, "username") or text(values, "icon_url") or text(values, "icon_emoji"):
            fields |= {"subtype": "bot_message", "username": text(values, "username", BOT_NAME)}
            fields.pop("user", None)
        message = self._workspace.post(channel, own() | fields)
        return {"channel": channel.id, "ts": message["ts"], "message": shown(message)}

    def update(self, values: Json) -> Json:
        channel = self.writable(needed(values, "channel", error="channel_not_found"), posting=False)
        ts = needed(values, "ts", error="message_not_found")
        message = self._workspace.message(channel, ts)
        if message.get("bot_id") != BOT:
            raise SlackError("cant_update_message")
        if message.get("streaming_state") == "in_progress":
            raise SlackError("streaming_state_conflict")
        if len(text(values, "text").encode()) > MAX_UPDATE:
            raise SlackError("msg_too_long")
        fields = self.content(values, updating=True)
        if "metadata" in values:
            fields["metadata"] = check_metadata(values["metadata"])
        drop = () if "blocks" in fields else ("blocks",)
        fields["edited"] = {"user": BOT_USER, "ts": f"{int(self._workspace.now())}.000000"}
        changed = self._workspace.change(channel, ts, fields, drop=drop)
        return {"channel": channel.id, "ts": ts, "text": changed["text"], "message": shown(changed)}

    def delete(self, values: Json) -> Json:
        channel = self.writable(needed(values, "channel", error="channel_not_found"), posting=False)
        ts = needed(values, "ts", error="message_not_found")
        if self._workspace.message(channel, ts).get("bot_id") != BOT:
            raise SlackError("cant_delete_message")
        self._workspace.delete(channel, ts)
        return {"channel": channel.id, "ts": ts}

    def post_ephemeral(self, values: Json) -> Json:
        channel = self.writable(needed(values, "channel", error="channel_not_found"))
        user = needed(values, "user", error="user_not_in_channel")
        if user not in channel.members:
            raise SlackError("user_not_in_channel")
        return {"message_ts": self.whisper(channel, user, self.content(values))["ts"]}

    # What others share

    def whisper(self, channel: Channel, user: str, content: Json) -> Json:
        """Show a message to one user alone."""
        message = own() | content | {"type": "message", "ts": self._workspace.next_ts(channel)}
        self.ephemeral.append((channel.id, user, message))
        return message

    def forget(self, message: Json) -> None:
        """An ephemeral message is shown no more."""
        self.ephemeral = [entry for entry in self.ephemeral if entry[2] is not message]

    def only_seen_by_one(self, channel: str, ts: str) -> Json | None:
        """The ephemeral message with this ts."""
        for there, _, message in self.ephemeral:
            if there == channel and message["ts"] == ts:
                return message
        return None

    def writable(self, channel_id: str, *, posting: bool = True) -> Channel:
        """Where the bot may write; a user's id is the DM with that user.

        :raises SlackError: channel_not_found, not_in_channel, is_archived (of what is there already: is_inactive).
        """
        if channel_id in self._workspace.users and posting:
            return self._workspace.direct(channel_id)
        channel = self._workspace.channel(channel_id)
        if BOT_USER not in channel.members:
            raise SlackError("not_in_channel" if channel.kind == "channel" else "channel_not_found")
        if channel.archived:
            raise SlackError("is_archived" if posting else "is_inactive")
        return channel

    def root_of(self, channel: Channel, thread: str) -> str | None:
        """The root of the thread that a reply to ``thread`` joins; None when it is gone: then Slack puts the reply into the
        channel, and says so by an answer without thread_ts (slack-go/slack, issue 1571).

        :raises SlackError: invalid_thread_ts.
        """
        if not TS.fullmatch(thread):
            raise SlackError("invalid_thread_ts")
        parent = channel.messages.get(thread)
        return None if parent is None else str(parent.get("thread_ts", thread))

    def content(self, values: Json, *, updating: bool = False) -> Json:
        """Text and blocks of a message.

        :raises SlackError: no_text, invalid_blocks, msg_too_long, msg_blocks_too_long, markdown_text_conflict.
        """
        words: Any = text(values, "text")
        blocks = values.get("blocks")
        markdown = text(values, "markdown_text")
        if markdown:
            if words or blocks:
                raise SlackError("markdown_text_conflict")
            if len(markdown) > MAX_MARKDOWN:
                raise SlackError("msg_too_long")
            return {"text": markdown, "blocks": [rich_text(markdown)]}
        if not words.strip() and not blocks and not values.get("attachments"):
            raise SlackError("no_text")
        fields: Json = {"text": words if updating else words[:MAX_TEXT]}
        if blocks:
            fields["blocks"] = with_ids(check_blocks(blocks))
            fields["text"] = fields["text"] or " ".join(texts_of(blocks))[:MAX_UPDATE]
        elif words.strip():
            fields["blocks"] = [rich_text(words)]
        if values.get("attachments"):
            fields["attachments"] = values["attachments"]
        return fields


def own() -> Json:
    """What every message of the bot carries."""
    profile = {
        "id": BOT,
        "app_id": APP,
        "user_id": BOT_USER,
        "name": BOT_NAME,
        "icons": {"image_36": "https://a.slack-edge.com/bot.png"},
        "deleted": False,
        "updated": 1700000000,
        "team_id": TEAM,
    }
    return {"user": BOT_USER, "bot_id": BOT, "app_id": APP, "team": TEAM, "bot_profile": profile}


def shown(message: Json) -> Json:
    """A message in an answer to its author: with its metadata."""
    return event_of(message)


def with_ids(blocks: list[Json]) -> list[Json]:
    """Blocks as Slack keeps them: each has a block_id, and each button an action_id."""
    kept = []
    for index, block in enumerate(blocks):
        block = {"block_id": f"b{index}", **block}
        if block["type"] == "actions":
            elements = enumerate(block["elements"])
            block["elements"] = [{"action_id": f"a{number}", **element} for number, element in elements]
        kept.append(block)
    return kept


def check_metadata(metadata: object) -> Json:
    """docs.slack.dev/messaging/message-metadata.

    :raises SlackError: invalid_metadata_format, metadata_too_large.
    """
    if not isinstance(metadata, dict) or not isinstance(metadata.get("event_type"), str) or not metadata["event_type"]:
        raise SlackError("invalid_metadata_format")
    if not isinstance(metadata.get("event_payload"), dict):
        raise explained("invalid_metadata_format", "[ERROR] missing required field: event_payload")
    if len(str(metadata)) > MAX_METADATA_BYTES:
        raise SlackError("metadata_too_large")
    return metadata
