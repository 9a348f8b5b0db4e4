"""Payloads to messages of Slack: chat.postMessage, chat.postEphemeral and chat.update."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Raw

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.errors import SlackError, gateway_error
from gatewayd.channels.slack.sending.answers import Answers
from gatewayd.channels.slack.sending.find import Finder, metadata_of
from gatewayd.channels.slack.sending.growth import Streams
from gatewayd.channels.slack.sending.places import MessageId, Places, message_in
from gatewayd.channels.slack.sending.render import blocks_of, text_of
from gatewayd.channels.slack.sending.signals import Signals
from gatewayd.channels.slack.wire.answers import AuthTest
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendText, Signal
from gatewayd.ports.channel import ChannelServices

STREAM_EVERY_SECONDS: Final = 1.0
UPDATE_EVERY_SECONDS: Final = 2.0

UPDATES_LEFT: Final = 20
"""So many calls of chat.update growth leaves to the ends of replies, and to prompts: all messages of a workspace share them. What
is not shown is shown by the next call, or by the end."""

_ABOUT_BLOCKS: Final = ("invalid_blocks", "invalid_blocks_format", "msg_blocks_too_long", "msg_blocks_too_many", "block_mismatch")


class Sender:
    """Sends what one account says. ``me`` is who it is, as far as Slack has told it."""

    def __init__(
        self,
        api: SlackApi,
        services: ChannelServices,
        me: Callable[[], AuthTest | None],
        *,
        streaming: bool,
        link_previews: bool,
    ) -> None:
        self._api = api
        self._log = services.log
        self._places = Places(api)
        self._answers = Answers(api)
        self._signals = Signals(api, self._places)
        self._finder = Finder(api, self._places, me, services)
        self._streams = Streams(api, self._finder, me, services.log)
        self._streaming = streaming
        self._previews = {"unfurl_links": link_previews, "unfurl_media": link_previews}

    @property
    def places(self) -> Places:
        """The channels of its peers."""
        return self._places

    async def send(self, payload: SendText, *, key: str) -> Receipt:
        """See ``ports.channel.Channel.send``. An answer by ``response_url`` has no id, so a reply that grows is none."""
        self._places.learn(payload.peer, MessageId.parse(payload.reply_to))
        params = {**_thread_of(payload.peer), **self._previews, "metadata": metadata_of(key)}
        if payload.answer_with is not None and not payload.grows:
            message = {**params, "text": text_of(payload.body), "blocks": blocks_of(payload.body, payload.choices)}
            await self._answers.send(payload.answer_with, message, private=payload.only_for is not None)
            return Receipt()
        channel = await self._places.find(payload.peer)
        if payload.only_for is not None:
            return await self._whisper(payload, channel, payload.only_for)
        receipt = await self._streams.begin(payload, channel) if self._streaming and payload.grows else None
        if receipt is None:
            receipt = await self._post(payload, channel, params)
        self._signals.forget(payload.peer)
        return receipt

    async def edit(self, payload: EditText) -> Receipt:
        """Replace the text and the buttons of a message. The same edit twice is as good as once.

        :raises SendRejected: it cannot be changed (any more). :raises TryAgain, NeedsOperator: as SlackApi.call.
        """
        message = _named(payload.message_id)
        self._places.learn(payload.peer, message)
        await self._update(message, payload)
        await self._signals.clear(payload.peer)
        return Receipt(payload.message_id)

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        """See ``ports.channel.Reconciles``."""
        return await self._finder.find_sent(payload, key=key, since=since)

    def grows_every(self, peer: Peer) -> float:
        """See ``ports.channel.ShowsGrowth``."""
        return STREAM_EVERY_SECONDS if self._streaming and peer.thread is not None else UPDATE_EVERY_SECONDS

    async def grow(self, peer: Peer, message_id: str, text: RichText) -> None:
        """See ``ports.channel.ShowsGrowth``."""
        message = _named(message_id)
        if await self._streams.append(message, text):
            return
        if not self._api.limits.seconds_until("chat.update", leave=UPDATES_LEFT):
            await self._update(message, EditText(peer, text, of=0, message_id=message_id))

    async def signal(self, signal: Signal) -> None:
        """See ``ports.channel.ShowsSignals``."""
        await self._signals.show(signal)

    async def _post(self, payload: SendText, channel: str, params: Mapping[str, Any]) -> Receipt:
        try:
            answer = await self._write("chat.postMessage", {"channel": channel, **params}, payload)
        except SlackError as refused:
            raise gateway_error(refused, "send") from None
        message = message_in(answer, channel)
        self._places.learn(payload.peer, message)
        return Receipt(None if message is None else str(message))

    async def _whisper(self, payload: SendText, channel: str, person: str) -> Receipt:
        """A message for one person (chat.postEphemeral). It has no key, is in no history, and cannot be changed. In a thread it
        is shown only when the thread has replies already, so the first answer to a message is shown in the channel."""
        asked = MessageId.parse(payload.reply_to)
        is_first = asked is not None and asked.ts == payload.peer.thread
        params = {"channel": channel, "user": person, **({} if is_first else _thread_of(payload.peer))}
        try:
            await self._write("chat.postEphemeral", params, payload)
        except SlackError as refused:
            raise gateway_error(refused, "send") from None
        return Receipt()

    async def _update(self, message: MessageId, payload: EditText) -> None:
        if message in self._streams:
            await self._streams.stop(message)
        params = {"channel": message.channel, "ts": message.ts, "parse": "none"}
        try:
            try:
                await self._write("chat.update", params, payload)
            except SlackError as refused:
                if refused.name != "streaming_state_conflict":
                    raise
                await self._streams.stop(message)  # an earlier life has begun it
                await self._write("chat.update", params, payload)
        except SlackError as refused:
            raise gateway_error(refused, "send") from None

    async def _write(self, method: str, params: Mapping[str, Any], payload: SendText | EditText) -> Raw:
        """The message with its blocks. If these are refused, once more in words, which say what to write instead of a press."""
        blocks = blocks_of(payload.body, payload.choices)
        channel, is_edit = str(params["channel"]), isinstance(payload, EditText)
        try:
            shown = {**params, "text": text_of(payload.body), "blocks": blocks}
            return await self._api.call(method, shown, repeatable=is_edit, resource=channel)
        except SlackError as refused:
            if refused.name not in _ABOUT_BLOCKS or (payload.choices and not payload.instead):
                raise
            self._log.warning("slack_blocks_refused", reason=str(refused), details=refused.messages)
        words = text_of(payload.body, instead=payload.instead if payload.choices else "")
        return await self._api.call(method, {**params, "text": words, "blocks": []}, repeatable=is_edit, resource=channel)


def _named(message_id: str | None) -> MessageId:
    """:raises SendRejected: Slack gave no id for it."""
    message = MessageId.parse(message_id)
    if message is None:
        raise SendRejected("not known: Slack gave no id for the message that is to change")
    return message


def _thread_of(peer: Peer) -> dict[str, str]:
    return {} if peer.thread is None else {"thread_ts": peer.thread}
