"""Signals: typing ("Trigger Typing Indicator"), and the answer to a press. Best effort."""

from contextlib import suppress
from typing import Final

import anyio

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.errors import DiscordError
from gatewayd.channels.discord.sending.answers import Answers
from gatewayd.channels.discord.sending.places import Places
from gatewayd.channels.discord.sending.render import escape
from gatewayd.model.errors import GatewayError
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import PressAnswer, Signal, Typing

SIGNAL_SECONDS: Final = 3.0
TYPING_EVERY_SECONDS: Final = 8.0
"""Discord shows it for ten seconds, or until the bot writes."""

_MOST: Final = 1000


class Signals:
    def __init__(self, api: DiscordApi, places: Places, answers: Answers) -> None:
        self._api = api
        self._places = places
        self._answers = answers
        self._shown_until: dict[Peer, float] = {}

    async def show(self, signal: Signal) -> None:
        """See ``ports.channel.ShowsSignals``."""
        match signal:
            case Typing(peer):
                await self._type(peer)
            case PressAnswer(_, press, text) if text:
                await self._answers.tell(press, {"content": escape(text), "allowed_mentions": {"parse": []}})

    def forget(self, peer: Peer) -> None:
        """A message was sent there: Discord shows no typing any more."""
        self._shown_until.pop(peer, None)

    async def _type(self, peer: Peer) -> None:
        now = anyio.current_time()
        if now < self._shown_until.get(peer, now):
            return
        if len(self._shown_until) >= _MOST:
            self._shown_until.clear()
        self._shown_until[peer] = now + TYPING_EVERY_SECONDS
        with suppress(GatewayError, DiscordError):
            to = route("POST /channels/{channel_id}/typing", channel_id=await self._places.find(peer))
            if not self._api.seconds_until(to):
                await self._api.call(to, repeatable=True, timeout_seconds=SIGNAL_SECONDS)
