"""Receiving by HTTP (Slack, "Events API", "Handling user interaction", "Slash commands")."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio

from gatewayd.kit.network.signatures import is_signed_v0
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import ChannelServices, WebhookReply, WebhookRequest


class EventsWebhook:
    """Checks and translates the requests of one app."""

    def __init__(self, services: ChannelServices, *, signing_secret: Secret) -> None:
        self._services = services
        self._secret = signing_secret

    def receive(self, request: WebhookRequest) -> WebhookReply:
        """401 for what is not signed by Slack."""
        given, timestamp = request.headers.get("x-slack-signature"), request.headers.get("x-slack-request-timestamp")
        if not is_signed_v0(self._secret, request.body, given, timestamp=timestamp, now=self._services.now()):
            return WebhookReply(status=401, body=b"not signed with the signing secret of this app, or more than five minutes old")
        return WebhookReply()

    def received(self) -> None:
        """After the answer: the transport is alive."""
        self._services.connection.heard()

    async def watch(self, catch_up: Callable[[], Awaitable[None]]) -> NoReturn:
        """Call ``catch_up`` when Slack has said that it left events out."""
        await anyio.sleep_forever()
        raise AssertionError
