"""Interactions over HTTP ("Receiving and Responding", "Receiving an Interaction"; "Setting Up an Endpoint").

Discord signs each request, and sends wrong signatures from time to time to see that they are refused with 401. The first answer
is that of the request.
"""

from typing import TYPE_CHECKING, Final

import msgspec

from gatewayd.channels.discord.receiving.inbound import Read, Receiver
from gatewayd.channels.discord.sending.answers import DEFERRED_MESSAGE, DEFERRED_UPDATE
from gatewayd.channels.discord.wire.events import AUTOCOMPLETE, COMMAND, COMPONENT, PING, Interaction
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.network.signatures import is_ed25519
from gatewayd.ports.channel import WebhookReply, WebhookRequest

if TYPE_CHECKING:
    from structlog.typing import FilteringBoundLogger

_JSON: Final = "application/json"
_PONG: Final = {"type": 1}
_NO_CHOICES: Final = {"type": 8, "data": {"choices": []}}
_NOT_HERE: Final = {"type": 4, "data": {"content": "That cannot be done here.", "flags": 1 << 6}}


class InteractionsWebhook:
    """Checks and translates the requests of one app."""

    def __init__(self, log: "FilteringBoundLogger", receiver: Receiver, *, public_key: str) -> None:
        self._log = log
        self._receiver = receiver
        self._key = public_key

    def receive(self, request: WebhookRequest) -> WebhookReply:
        """401: it is not signed with the key of this app. 400: nobody can read it."""
        given, timestamp = request.headers.get("x-signature-ed25519"), request.headers.get("x-signature-timestamp")
        if not is_ed25519(self._key, request.body, given, timestamp=timestamp):
            return WebhookReply(status=401, body=b"not signed with the key of this app")
        try:
            interaction = decode(request.body, Interaction, lenient=True)
            if interaction.type == PING:
                return _answer(_PONG)
            read = self._receiver.interaction(request.body)
        except Malformed as malformed:
            self._log.warning("discord_interaction_skipped", reason=str(malformed))
            return WebhookReply(status=400, body=b"no interaction that can be read")
        return self._reply_of(interaction, read)

    def _reply_of(self, interaction: Interaction, read: Read) -> WebhookReply:
        if read.ignored is not None:
            self._log.debug("discord_event_ignored", reason=read.ignored)
            return _answer(_NO_CHOICES if interaction.type == AUTOCOMPLETE else _NOT_HERE)
        kind = {COMMAND: DEFERRED_MESSAGE, COMPONENT: DEFERRED_UPDATE}[interaction.type]
        reply = _answer({"type": kind})
        return msgspec.structs.replace(reply, envelopes=read.envelopes, state=read.state)


def _answer(body: object) -> WebhookReply:
    return WebhookReply(body=msgspec.json.encode(body), content_type=_JSON)
