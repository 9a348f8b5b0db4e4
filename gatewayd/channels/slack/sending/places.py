"""Where messages go, and how they are named: ``{channel}:{ts}``, because a ``ts`` is unique in its channel only
("Retrieving messages", "Individual messages")."""

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from msgspec import Raw, Struct

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.wire.answers import Posted
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.message.envelope import InboundEnvelope, Peer

MOST_DIRECT_MESSAGES: Final = 10_000

_MESSAGE_ID: Final = re.compile(r"([CDG][A-Z0-9]{1,40}):([0-9]{1,12}\.[0-9]{1,9})", re.ASCII)


class MessageId(NamedTuple):
    """One message of Slack: its channel (C…, G… or D…) and its timestamp, which is its id there."""

    channel: str
    ts: str

    def __str__(self) -> str:
        return f"{self.channel}:{self.ts}"

    @classmethod
    def parse(cls, text: str | None) -> "MessageId | None":
        """None: it is no id of a message."""
        found = _MESSAGE_ID.fullmatch(text or "")
        return None if found is None else cls(found[1], found[2])


def message_in(answer: Raw, channel: str) -> MessageId | None:
    """Which message an answer says that it became. None: it said ok, so the message is out, but not which it is."""
    try:
        posted = decode(answer, Posted)
    except Malformed:
        return None
    return MessageId.parse(f"{posted.channel or channel}:{posted.ts}")


class _Conversation(Struct, frozen=True):
    id: str


class _Opened(Struct, frozen=True):
    channel: _Conversation


class Places:
    """The channels of peers. A direct message is named by its user (U…, W…), and goes to the channel of both (D…)."""

    def __init__(self, api: SlackApi) -> None:
        self._api = api
        self._by_user: dict[str, str] = {}

    def known(self, peer: Peer) -> str | None:
        """The channel of a peer, if it is known without a question."""
        return self._by_user.get(peer.id) if peer.kind == "dm" else peer.id

    def learn(self, peer: Peer, message: MessageId | None) -> None:
        """A message is in the conversation with this peer."""
        if peer.kind == "dm" and message is not None and message.channel.startswith("D"):
            self._note(peer.id, message.channel)

    def learn_from(self, envelopes: Sequence[InboundEnvelope]) -> None:
        """These have come: who is answered in a direct message needs no conversations.open, of which Slack takes 50 a minute."""
        for envelope in envelopes:
            self.learn(envelope.peer, MessageId.parse(envelope.message_id))

    async def find(self, peer: Peer) -> str:
        """The channel of a peer: for a user conversations.open, which opens a direct message or finds the one that there is.

        :raises SendRejected: there is no such user, or we may not write to them. :raises TryAgain, NeedsOperator: as
            SlackApi.ask.
        """
        if (channel := self.known(peer)) is not None:
            return channel
        opened = await self._api.ask("conversations.open", {"users": peer.id}, _Opened, purpose="send")
        self._note(peer.id, opened.channel.id)
        return opened.channel.id

    def _note(self, user: str, channel: str) -> None:
        if len(self._by_user) >= MOST_DIRECT_MESSAGES:
            self._by_user.clear()
        self._by_user[user] = channel
