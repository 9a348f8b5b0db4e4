"""chat.startStream, .appendStream, .stopStream (docs.slack.dev/reference/methods/chat.startStream).

A stream ends on Slack's side some 5 minutes after its start, whatever was appended since: then chat.appendStream and .stopStream
answer ``message_not_in_streaming_state`` (slackapi/node-slack-sdk, issue 2702). A reader can stop it, too: ``stopped_by_user``.
Metadata goes with the stop only.
"""

import trio

from tests.fakes.slack_platform.blocks import MAX_BLOCKS, check_blocks
from tests.fakes.slack_platform.errors import Json, SlackError, explained
from tests.fakes.slack_platform.methods.arguments import Method, needed, text
from tests.fakes.slack_platform.methods.chat import Chat, check_metadata, own, shown, with_ids
from tests.fakes.slack_platform.mrkdwn import rich_text
from tests.fakes.slack_platform.workspace import BOT, Channel, Workspace

MAX_PIECE = 12_000
STREAM_SECONDS = 300.0


class Streams:
    """Messages that grow."""

    def __init__(self, workspace: Workspace, chat: Chat) -> None:
        self._workspace = workspace
        self._chat = chat
        self._until: dict[tuple[str, str], float] = {}
        self._stopped: set[tuple[str, str]] = set()

    def methods(self) -> dict[str, Method]:
        return {"chat.startStream": self.start, "chat.appendStream": self.append, "chat.stopStream": self.stop}

    def start(self, values: Json) -> Json:
        channel = self._chat.writable(needed(values, "channel", error="channel_not_found"))
        if "thread_ts" not in values or not values["thread_ts"]:
            raise explained("invalid_arguments", "[ERROR] missing required field: thread_ts")
        if channel.kind != "im":
            for name, error in (
                ("recipient_team_id", "missing_recipient_team_id"),
                ("recipient_user_id", "missing_recipient_user_id"),
            ):
                if not values.get(name):
                    raise SlackError(error)
        if "metadata" in values:
            raise explained("invalid_arguments", "[ERROR] additional property: metadata")
        root = self._chat.root_of(channel, text(values, "thread_ts"))
        if root is None:
            raise SlackError("thread_not_found")
        words = self._piece(values, needed_here=False)
        fields = own() | {"text": words, "thread_ts": root, "streaming_state": "in_progress"}
        if words:
            fields["blocks"] = [rich_text(words)]
        message = self._workspace.post(channel, fields)
        self._until[channel.id, message["ts"]] = trio.current_time() + STREAM_SECONDS
        return {"channel": channel.id, "ts": message["ts"]}

    def append(self, values: Json) -> Json:
        channel, message = self._streaming(values)
        words = message["text"] + self._piece(values, needed_here=True)
        message.update(text=words, blocks=[rich_text(words)])
        return {"channel": channel.id, "ts": message["ts"]}

    def stop(self, values: Json) -> Json:
        channel, message = self._streaming(values)
        words = message["text"] + self._piece(values, needed_here=False)
        blocks = [rich_text(words)] if words else []
        if values.get("blocks"):
            if isinstance(values["blocks"], list) and len(values["blocks"]) > MAX_BLOCKS:
                raise SlackError("msg_blocks_too_many")
            blocks += with_ids(check_blocks(values["blocks"]))
        fields: Json = {"text": words, "blocks": blocks, "streaming_state": "completed"}
        if "metadata" in values:
            fields["metadata"] = check_metadata(values["metadata"])
        del self._until[channel.id, message["ts"]]
        changed = self._workspace.change(channel, message["ts"], fields)
        return {"channel": channel.id, "ts": message["ts"], "message": shown(changed)}

    def _streaming(self, values: Json) -> tuple[Channel, Json]:
        channel = self._chat.writable(needed(values, "channel", error="channel_not_found"), posting=False)
        message = self._workspace.message(channel, needed(values, "ts", error="message_not_found"))
        if message.get("bot_id") != BOT:
            raise SlackError("message_not_owned_by_app")
        if (channel.id, message["ts"]) in self._stopped:
            raise SlackError("stopped_by_user")
        if self._until.get((channel.id, message["ts"]), 0.0) <= trio.current_time():
            self.end(channel, message["ts"])
            raise SlackError("message_not_in_streaming_state")
        return channel, message

    def end(self, channel: Channel, ts: str) -> None:
        """Slack ends a stream by itself."""
        if self._until.pop((channel.id, ts), None) is not None:
            channel.messages[ts]["streaming_state"] = "completed"

    def stop_by_user(self, channel: Channel, ts: str) -> None:
        """A reader stops a stream: ``stopped_by_user`` from now on."""
        self.end(channel, ts)
        self._stopped.add((channel.id, ts))

    def _piece(self, values: Json, *, needed_here: bool) -> str:
        words = text(values, "markdown_text")
        for chunk in values.get("chunks") or ():
            if not isinstance(chunk, dict) or chunk.get("type") not in {"markdown_text", "task_update", "plan_update", "blocks"}:
                raise SlackError("invalid_chunks")
            if chunk["type"] == "markdown_text":
                words += chunk.get("text", "")
        if len(words) > MAX_PIECE:
            raise SlackError("msg_too_long")
        if needed_here and not words and not values.get("chunks"):
            raise SlackError("no_text")
        return words
