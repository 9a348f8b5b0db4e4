"""response_url: answers to a press or a command, without a token, 5 times within 30 minutes
(docs.slack.dev/interactivity/handling-user-interaction#message_responses)."""

import secrets
from collections.abc import Callable

import msgspec
import trio
from msgspec import Struct

from tests.fakes.bot_api.http_server import Request, Response
from tests.fakes.slack_platform.errors import Json, SlackError
from tests.fakes.slack_platform.methods.arguments import flag, text
from tests.fakes.slack_platform.methods.chat import Chat, own
from tests.fakes.slack_platform.workspace import BOT_USER, Channel, Workspace

USES = 5
SECONDS = 1800.0


class ResponseUrl(Struct):
    """One URL: who pressed or called, where, and on which message (None: a command)."""

    channel: Channel
    user: str
    ts: str | None
    expires: float
    uses: int = 0


class Responses:
    """``answers`` are all that arrived, with the channel's id, in order."""

    def __init__(self, workspace: Workspace, chat: Chat, url: Callable[[], str]) -> None:
        self._workspace = workspace
        self._chat = chat
        self._url = url
        self._open: dict[str, ResponseUrl] = {}
        self.answers: list[tuple[str, Json]] = []

    def new(self, channel: Channel, user: str, ts: str | None) -> str:
        """A fresh URL."""
        path = f"/actions/{secrets.token_urlsafe(18)}"
        self._open[path] = ResponseUrl(channel, user, ts, trio.current_time() + SECONDS)
        return self._url() + path

    def receive(self, request: Request) -> Response:
        """The POST of an answer: ``ok``, else 404 with expired_url or used_url."""
        url = self._open.get(request.path)
        if url is None or url.expires <= trio.current_time():
            return _refused(SlackError("expired_url", status=404))
        if url.uses >= USES:
            return _refused(SlackError("used_url", status=404))
        try:
            values = msgspec.json.decode(request.body, type=Json)
            self._apply(url, values)
        except msgspec.DecodeError:
            return _refused(SlackError("invalid_payload", status=400))
        except SlackError as error:
            return _refused(SlackError(error.name, status=error.status if error.status != 200 else 400, fields=error.fields))
        url.uses += 1
        self.answers.append((url.channel.id, values))
        return Response(200, b"ok", "text/plain")

    def _apply(self, url: ResponseUrl, values: Json) -> None:
        private = self._chat.only_seen_by_one(url.channel.id, url.ts or "")
        if private is not None and flag(values, "delete_original"):
            self._chat.forget(private)
            return
        if flag(values, "delete_original"):
            if url.ts is not None and url.ts in url.channel.messages:
                self._workspace.delete(url.channel, url.ts)
            return
        fields = self._chat.content(values)
        if private is not None and flag(values, "replace_original"):
            private.pop("blocks", None)
            private.update(fields)
            return
        if flag(values, "replace_original") and url.ts is not None:
            if url.ts in url.channel.messages:
                drop = () if "blocks" in fields else ("blocks",)
                edited = {"user": BOT_USER, "ts": f"{int(self._workspace.now())}.000000"}
                self._workspace.change(url.channel, url.ts, fields | {"edited": edited}, drop=drop)
            return
        message = own() | fields
        if text(values, "thread_ts"):
            message["thread_ts"] = text(values, "thread_ts")
        if text(values, "response_type", "ephemeral") == "in_channel":
            self._workspace.post(url.channel, message)
        else:
            self._chat.whisper(url.channel, url.user, message)


def _refused(error: SlackError) -> Response:
    return Response(error.status, msgspec.json.encode(error.answer()))
