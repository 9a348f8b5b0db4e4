"""What was said in a thread before a message, for ``ports.channel.RecallsThreads``."""

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.receiving.inbound import SAID, Receiver
from gatewayd.channels.slack.receiving.people import People
from gatewayd.channels.slack.sending.places import MessageId, Places
from gatewayd.channels.slack.wire.events import HistoryPage, Message, decode_message
from gatewayd.kit.json import Malformed
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import InboundEnvelope

PAGE: Final = 1000
"""The default of conversations.replies. Some apps get 15 ("Rate limits"), and one call a minute."""
MOST_PAGES: Final = 5
NAMES_SECONDS: Final = 1.5
"""A turn waits for it: names that are not known within this time are left out."""


class Recall:
    """Reads threads back, for the first turn of a session."""

    def __init__(self, api: SlackApi, places: Places, receiver: Receiver, people: People) -> None:
        self._api = api
        self._places = places
        self._receiver = receiver
        self._people = people

    async def earlier(self, envelope: InboundEnvelope, *, at_most: int) -> Sequence[Earlier]:
        """See ``ports.channel.RecallsThreads``. What apps wrote belongs to it: a thread may be about an app's message."""
        thread = envelope.peer.thread
        if thread is None:
            return ()
        asked = MessageId.parse(envelope.message_id)
        channel = await self._places.find(envelope.peer) if asked is None else asked.channel
        messages = await self._read(channel, thread, None if asked is None else asked.ts, at_most)
        users = [message.user for message in messages if message.user]
        await self._people.learn(users, within_seconds=NAMES_SECONDS)
        return [self._receiver.earlier(message) for message in messages]

    async def _read(self, channel: str, thread: str, before: str | None, at_most: int) -> Sequence[Message]:
        """The newest messages before this one. The pages begin with the oldest, so all of them are read; when there are too many
        calls for Slack, those that are read count."""
        found: list[Message] = []
        params: dict[str, Any] = {"channel": channel, "ts": thread, "limit": PAGE}
        if before is not None:
            params |= {"latest": before, "inclusive": False}
        for number in range(MOST_PAGES):
            try:
                page = await self._api.ask("conversations.replies", params, HistoryPage, purpose="fetch")
            except TryAgain:
                if number:
                    break
                raise
            told = [message for raw in page.messages if (message := self._told(raw, before)) is not None]
            found = [*found, *told][-at_most:]
            if not (cursor := page.response_metadata.next_cursor):
                break
            params["cursor"] = cursor
        return found

    def _told(self, raw: Raw, before: str | None) -> Message | None:
        try:
            message = decode_message(raw)
        except Malformed:
            return None
        is_earlier = bool(message.ts) and (before is None or float(message.ts) < float(before))
        return message if is_earlier and message.subtype in {*SAID, "bot_message"} else None
