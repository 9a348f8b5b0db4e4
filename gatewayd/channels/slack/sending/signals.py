"""Signals: the status of an assistant's thread (assistant.threads.setStatus), and the answer to a press. Best effort."""

from contextlib import suppress
from typing import Final

import anyio

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.errors import SlackError
from gatewayd.channels.slack.sending.places import Places
from gatewayd.channels.slack.sending.render import blocks_of, text_of
from gatewayd.model.errors import GatewayError
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import PressAnswer, RichText, Signal, Typing

SIGNAL_SECONDS: Final = 3.0
STATUS: Final = "is thinking..."
"""Slack writes the app's name in front of it."""
STATUS_EVERY_SECONDS: Final = 30.0
"""Slack takes a status off after two minutes, and when the app writes into the thread (assistant.threads.setStatus)."""

_MOST: Final = 1000


class Signals:
    """Shows them where Slack takes them. A channel in which a status was refused is not asked again."""

    def __init__(self, api: SlackApi, places: Places) -> None:
        self._api = api
        self._places = places
        self._shown_until: dict[Peer, float] = {}
        self._refused: set[str] = set()

    async def show(self, signal: Signal) -> None:
        """See ``ports.channel.ShowsSignals``."""
        match signal:
            case Typing(peer):
                await self._think(peer)
            case PressAnswer(peer, press, text) if text:
                await self._answer(peer, press, text)

    def forget(self, peer: Peer) -> None:
        """A message was sent there: Slack has taken the status off."""
        self._shown_until.pop(peer, None)

    async def clear(self, peer: Peer) -> None:
        """Take the status off: the message that grew there has its end, and that is no new message."""
        if self._shown_until.pop(peer, None) is not None:
            await self._set(peer, "")

    async def _think(self, peer: Peer) -> None:
        now = anyio.current_time()
        if peer.thread is None or peer.id in self._refused or now < self._shown_until.get(peer, now):
            return
        if len(self._shown_until) >= _MOST:
            self._shown_until.clear()
        self._shown_until[peer] = now + STATUS_EVERY_SECONDS
        await self._set(peer, STATUS)

    async def _set(self, peer: Peer, status: str) -> None:
        with suppress(GatewayError):
            channel = await self._places.find(peer)
            params = {"channel_id": channel, "thread_ts": peer.thread, "status": status}
            try:
                await self._api.call(
                    "assistant.threads.setStatus", params, repeatable=True, resource=channel, timeout_seconds=SIGNAL_SECONDS
                )
            except SlackError:
                if len(self._refused) < _MOST:
                    self._refused.add(peer.id)

    async def _answer(self, peer: Peer, press: str, text: str) -> None:
        """To who has pressed: ``press`` is ``{user}:…``. The message with the button is ours, so the app is in its channel."""
        with suppress(GatewayError, SlackError):
            channel = await self._places.find(peer)
            where = {"channel": channel} if peer.thread is None else {"channel": channel, "thread_ts": peer.thread}
            params = {
                **where,
                "user": press.partition(":")[0],
                "text": text_of(RichText(text)),
                "blocks": blocks_of(RichText(text)),
            }
            await self._api.call("chat.postEphemeral", params, repeatable=False, resource=channel, timeout_seconds=SIGNAL_SECONDS)
