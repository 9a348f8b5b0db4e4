"""Where messages go: the channels of peers."""

from collections.abc import Sequence
from typing import Final

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.ids import MessageId
from gatewayd.channels.discord.wire.answers import Channel
from gatewayd.model.message.envelope import InboundEnvelope, Peer

MOST_DIRECT_MESSAGES: Final = 10_000


class Places:
    """A direct message is named by its user, and goes to the channel of both. A thread is a channel of its own."""

    def __init__(self, api: DiscordApi) -> None:
        self._api = api
        self._by_user: dict[str, str] = {}

    def learn_from(self, envelopes: Sequence[InboundEnvelope]) -> None:
        """These have come: who is answered in a direct message needs no question."""
        for envelope in envelopes:
            message = MessageId.parse(envelope.message_id)
            if envelope.peer.kind == "dm" and message is not None:
                self._note(envelope.peer.id, message.channel)

    async def find(self, peer: Peer) -> str:
        """The channel of a peer; for a user "Create DM", which opens a direct message or finds the one that there is.

        :raises SendRejected: there is no such user, or we may not write to them. :raises TryAgain, NeedsOperator: as
            DiscordApi.ask.
        """
        if peer.kind != "dm":
            return peer.thread or peer.id
        if (known := self._by_user.get(peer.id)) is not None:
            return known
        body = {"recipient_id": peer.id}
        channel = await self._api.ask(route("POST /users/@me/channels"), Channel, purpose="send", body=body)
        self._note(peer.id, channel.id)
        return channel.id

    def _note(self, user: str, channel: str) -> None:
        if len(self._by_user) >= MOST_DIRECT_MESSAGES:
            self._by_user.clear()
        self._by_user[user] = channel
