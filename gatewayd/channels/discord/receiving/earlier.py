"""What was said in a thread before a message, for ``ports.channel.RecallsThreads``."""

from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from msgspec import Raw

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.ids import MessageId
from gatewayd.channels.discord.receiving.inbound import SAID, Receiver
from gatewayd.channels.discord.wire.events import Message, decode_message
from gatewayd.kit.json import Malformed
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope

PAGE: Final = 100
"""The most that "Get Channel Messages" gives. All of it is asked for: some may be news that nobody said."""


class Recall:
    """Reads threads back, for the first turn of a session."""

    def __init__(self, api: DiscordApi, receiver: Receiver) -> None:
        self._api = api
        self._receiver = receiver

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        """See ``ports.channel.RecallsThreads``. A thread that was begun from a message has the id of that message, which is in
        the channel of the thread ("Start Thread from Message")."""
        thread = envelope.peer.thread
        if thread is None or at_most <= 0:
            return ()
        asked = MessageId.parse(envelope.message_id)
        before = asked.message if asked is not None and asked.channel == thread else None
        query: dict[str, str | int] = {"limit": PAGE, **({} if before is None else {"before": before})}
        to = route("GET /channels/{channel_id}/messages", channel_id=thread)
        page = await self._api.ask(to, list[Raw], purpose="fetch", query=query)
        found = [it for it in map(_told, page) if it is not None]
        if len(page) < PAGE and (first := await self._beginning(envelope.peer.id, thread)) is not None:
            found.append(first)
        return [self._receiver.earlier(message) for message in sorted(found, key=lambda it: int(it.id))][-at_most:]

    async def _beginning(self, channel: str, thread: str) -> Message | None:
        """The message from which the thread was begun; None: there is none, or it cannot be read."""
        to = route("GET /channels/{channel_id}/messages/{message_id}", channel_id=channel, message_id=thread)
        with suppress(SendRejected):
            message = await self._api.ask(to, Message, purpose="fetch")
            return message if MessageId.parse(f"{message.channel_id}:{message.id}") is not None else None
        return None


def _told(raw: Raw) -> Message | None:
    try:
        message = decode_message(raw)
    except Malformed:
        return None
    is_said = message.type in SAID or message.webhook_id is not None
    return message if is_said and MessageId.parse(f"{message.channel_id}:{message.id}") is not None else None
