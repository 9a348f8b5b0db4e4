"""Webhooks of a platform, at ``/v1/webhooks/{channel}/{account}``."""

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from msgspec import Struct

from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.model.message.report import DeliveryReport
from gatewayd.ports.channel.services import NO_STATE


class WebhookRequest(Struct, frozen=True):
    """One HTTP request. Header names are lower case; the body is size-checked already."""

    method: str
    headers: Mapping[str, str]
    query: str
    body: bytes


class WebhookReply(Struct, frozen=True):
    """What to journal, and what to answer after the commit. A status of 400 and up journals nothing. ``state`` is
    stored in the same transaction as the envelopes and reports, also without any."""

    status: int = 200
    body: bytes = b""
    content_type: str = "text/plain"
    envelopes: tuple[InboundEnvelope, ...] = ()
    state: Mapping[str, str] = NO_STATE
    reports: tuple[DeliveryReport, ...] = ()


@runtime_checkable
class ReceivesWebhooks(Protocol):
    """A channel with a webhook. ``receive`` is pure and quick: check the signature or secret in constant time, parse."""

    def receive(self, request: WebhookRequest) -> WebhookReply: ...

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        """Called in the background after the commit and the answer, e.g. to answer a callback. Best effort."""


@runtime_checkable
class ChecksHeaders(Protocol):
    """A channel with a webhook whose secret is in a header. A wrong secret is refused before the body is read."""

    def check_headers(self, headers: Mapping[str, str]) -> WebhookReply | None:
        """Pure and quick, as ``receive``, which has to check the headers, too. None: they are good, read the body."""
