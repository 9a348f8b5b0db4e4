"""Replies that grow: by a stream (chat.startStream, appendStream, stopStream), else by chat.update.

A stream ends five minutes after its start, whatever is appended (slackapi/node-slack-sdk, issue 2702), and answers
``message_not_in_streaming_state`` from then on. It stays the same message, which chat.update can change when it is no stream any
more (slackapi/python-slack-sdk, pull request 1880); before, that is a ``streaming_state_conflict``.

All replies of a workspace share the limits of a method (see ``limits``). Growth goes without a call that would have to wait.
"""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import anyio
from msgspec import Struct

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.errors import SlackError, gateway_error
from gatewayd.channels.slack.sending.find import Finder
from gatewayd.channels.slack.sending.places import MessageId, message_in
from gatewayd.channels.slack.sending.streamed import settled, to_markdown
from gatewayd.channels.slack.wire.answers import AuthTest
from gatewayd.model.errors import GatewayError, SendRejected, TryAgain
from gatewayd.model.message.payload import Receipt, RichText, SendText

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

STREAM_SECONDS: Final = 240.0
MOST_STREAMS: Final = 10
"""At once: their ends share chat.stopStream's 20 calls a minute."""
_OVER_SECONDS: Final = 600.0
_OVER: Final = ("message_not_in_streaming_state", "message_not_found", "stopped_by_user")
_MOST_REFUSALS: Final = 1000


class _Stream(Struct):
    """``text[:shown]`` was appended. ``is_sure`` False: an append was cut, so it is not known what is shown."""

    began_at: float
    text: str
    shown: int
    is_sure: bool = True


class Streams:
    """The streams of one account that are open. One that an earlier life has begun is not among them; ``stop`` ends it, too."""

    def __init__(
        self,
        api: SlackApi,
        finder: Finder,
        me: Callable[[], AuthTest | None],
        log: "FilteringBoundLogger",
    ) -> None:
        self._api = api
        self._finder = finder
        self._me = me
        self._log = log
        self._open: dict[MessageId, _Stream] = {}
        self._refused: set[str] = set()

    def __contains__(self, message: MessageId) -> bool:
        return message in self._open

    async def begin(self, payload: SendText, channel: str) -> Receipt | None:
        """Begin a reply as a stream. None: it is to be sent as a message, because no stream is to be had for it.

        :raises OutcomeUnknown: it was perhaps begun. :raises NeedsOperator, SendRejected: nothing was begun.
        """
        thread, end, now = payload.peer.thread, settled(payload.body), anyio.current_time()
        begun = to_markdown(payload.body, 0, end)
        self._open = {message: stream for message, stream in self._open.items() if now - stream.began_at < _OVER_SECONDS}
        if thread is None or not begun or payload.peer.id in self._refused:
            return None
        if len(self._open) >= MOST_STREAMS or self._api.limits.seconds_until("chat.startStream"):
            return None
        recipient = await self._recipient(payload, channel, thread)
        if recipient is None:
            return None
        params = {"channel": channel, "thread_ts": thread, "markdown_text": begun, **recipient}
        try:
            answer = await self._api.call("chat.startStream", params, repeatable=False, resource=channel)
        except SlackError as refused:
            if not refused.name:
                raise gateway_error(refused, "send") from None
            self._log.info("slack_stream_refused", reason=str(refused))
            if len(self._refused) < _MOST_REFUSALS:
                self._refused.add(payload.peer.id)
            return None
        except TryAgain:
            return None
        message = message_in(answer, channel)
        if message is None:
            return Receipt()
        self._open[message] = _Stream(anyio.current_time(), payload.body.text, end)
        return Receipt(str(message))

    async def append(self, message: MessageId, text: RichText) -> bool:
        """Append what is new and settled. False: it is no stream, or cannot go on as one.

        :raises SendRejected: its reader has stopped it. :raises OutcomeUnknown: it was perhaps appended.
        """
        stream, now, end = self._open.get(message), anyio.current_time(), settled(text)
        if stream is None or not stream.is_sure or now - stream.began_at >= STREAM_SECONDS:
            return False
        if text.text[: stream.shown] != stream.text[: stream.shown]:
            return False
        if end <= stream.shown or self._api.limits.seconds_until("chat.appendStream"):
            return True
        added = to_markdown(text, stream.shown, end)
        if added is None:
            return False
        stream.is_sure = False
        try:
            await self._api.call(
                "chat.appendStream",
                {"channel": message.channel, "ts": message.ts, "markdown_text": added},
                repeatable=False,
                resource=message.channel,
            )
        except SlackError as refused:
            self._log.info("slack_stream_over", reason=str(refused))
            if refused.name == "stopped_by_user":
                raise SendRejected("its reader has stopped this reply") from None
            return False
        except TryAgain:
            stream.is_sure = True  # and its end has not to wait for that
            return True
        stream.is_sure, stream.text, stream.shown = True, text.text, end
        return True

    async def stop(self, message: MessageId) -> None:
        """End a stream, so that its message can be changed. It may have ended long ago.

        :raises TryAgain: not now. :raises GatewayError: as gateway_error says.
        """
        try:
            await self._api.call(
                "chat.stopStream", {"channel": message.channel, "ts": message.ts}, repeatable=True, resource=message.channel
            )
        except SlackError as refused:
            if refused.name not in _OVER:
                raise gateway_error(refused, "send") from None
        self._open.pop(message, None)

    async def _recipient(self, payload: SendText, channel: str, thread: str) -> Mapping[str, Any] | None:
        """Who is answered, whom chat.startStream wants to know. None: it cannot be told."""
        me = self._me()
        if me is None:
            return None
        if payload.peer.kind == "dm":
            return {"recipient_user_id": payload.peer.id, "recipient_team_id": me.team_id}
        asked = MessageId.parse(payload.reply_to)
        if asked is None or asked.channel != channel:
            return None
        try:
            author = await self._finder.author(channel, thread, asked.ts)
        except GatewayError:
            return None
        return None if author is None else {"recipient_user_id": author[0], "recipient_team_id": author[1] or me.team_id}
