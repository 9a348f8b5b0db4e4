"""A channel whose platform is a webhook with a shared secret: the smallest driver with everything the HTTP front meets."""

import hmac
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import msgspec
import trio
from msgspec import Struct

from gatewayd.model.message.envelope import InboundEnvelope, Peer, Sender
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import (
    AccountConfig,
    ChannelPlugin,
    ChannelServices,
    Deliver,
    DeliveryReport,
    WebhookReply,
    WebhookRequest,
)

PLUGIN = ChannelPlugin(
    id="hook",
    label="Hook",
    settings="tests.web.hook:HookSettings",
    open="tests.web.hook:open_hook",
    webhook=True,
    webhook_methods=("GET", "POST"),
    webhook_answer_seconds=3.0,
)
SECRET = "the-secret-of-the-hook"


class HookSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Without a secret there is no webhook. ``down``: the platform cannot be reached."""

    secret: str | None = SECRET
    down: bool = False


class Update(Struct, frozen=True):
    """What the platform posts. ``read``: this message of ours was read. ``cursor`` is kept as state. ``crash`` and ``status`` are
    for tests of what drivers do wrong or refuse."""

    key: str = ""
    text: str = ""
    read: str | None = None
    cursor: str | None = None
    crash: bool = False
    status: int = 200


class HookChannel:
    """``seen`` are the requests that ``receive`` was shown, ``followed_up`` the keys that ``received`` was. ``send`` waits for
    ``on_send``, if that is set."""

    def __init__(self, account: AccountConfig, services: ChannelServices) -> None:
        assert isinstance(account.settings, HookSettings)
        self._settings = account.settings
        self._account = account.account
        self.services = services
        self.seen: list[WebhookRequest] = []
        self.followed_up: list[str] = []
        self.on_follow_up: trio.Event | None = None
        self.ignores_cancellation = False
        self.on_send: trio.Event | None = None
        self.sending = 0

    async def listen(self, deliver: Deliver) -> None:
        if not self._settings.down:
            self.services.connection.connected("hook")
        await trio.sleep_forever()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        self.sending += 1
        await trio.lowlevel.checkpoint()
        if self.on_send is not None:
            await self.on_send.wait()
        return Receipt(message_id="1")

    def check_headers(self, headers: Mapping[str, str]) -> WebhookReply | None:
        if self._settings.secret is None:
            return WebhookReply(status=404, body=b"no secret")
        if not hmac.compare_digest(headers.get("x-hook-secret", ""), self._settings.secret):
            return WebhookReply(status=401, body=b"wrong secret")
        return None

    def receive(self, request: WebhookRequest) -> WebhookReply:
        if refused := self.check_headers(request.headers):
            return refused
        self.seen.append(request)
        if request.method == "GET":
            return WebhookReply(body=request.query.encode())
        update = msgspec.json.decode(request.body, type=Update)
        if update.crash:
            raise RuntimeError("a bug in the driver")
        if update.status != 200:
            return WebhookReply(status=update.status, body=b"no thanks", envelopes=(self._envelope(update),))
        reports = () if update.read is None else (DeliveryReport(update.read, "read"),)
        envelopes = (self._envelope(update),) if update.key else ()
        state = {} if update.cursor is None else {"cursor": update.cursor}
        return WebhookReply(body=b"ok " + update.key.encode(), envelopes=envelopes, reports=reports, state=state)

    async def received(self, request: WebhookRequest, reply: WebhookReply) -> None:
        if self.on_follow_up is not None:
            with trio.CancelScope(shield=self.ignores_cancellation):
                await self.on_follow_up.wait()
        self.followed_up.extend(envelope.event_key for envelope in reply.envelopes)
        if b"explode" in request.body:
            raise RuntimeError("a bug after the answer")

    def _envelope(self, update: Update) -> InboundEnvelope:
        return InboundEnvelope(
            channel="hook",
            account=self._account,
            event_key=update.key,
            kind="message",
            peer=Peer("dm", "alice"),
            sender=Sender("alice"),
            text=update.text,
            addressed=True,
        )


@asynccontextmanager
async def open_hook(account: AccountConfig, services: ChannelServices) -> AsyncIterator[HookChannel]:
    yield HookChannel(account, services)
