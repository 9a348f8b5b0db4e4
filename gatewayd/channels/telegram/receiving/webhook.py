"""Receiving by webhook (core.telegram.org/bots/api#setwebhook).

The registration stays when the daemon stops: Telegram keeps updates for a day and repeats its calls meanwhile, so nothing is
lost over a restart. It is removed by an account in poll mode, when it finds one.
"""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn
from urllib.parse import urlsplit

import anyio

from gatewayd.channels.telegram.api import BotApi
from gatewayd.channels.telegram.state import Migrations
from gatewayd.channels.telegram.wire import Numbered, SetWebhook, Update, WebhookInfo
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import ChannelServices, WebhookReply, WebhookRequest

CHECK_SECONDS = 300.0
"""The time between two checks of the registration, plus or minus a tenth."""

_HEADER = "x-telegram-bot-api-secret-token"


class WebhookReceiver:
    """Registers the webhook, and translates its requests."""

    def __init__(
        self,
        api: BotApi,
        services: ChannelServices,
        migrations: Migrations,
        *,
        url: str,
        secret: str,
        max_connections: int,
        read: Callable[[Update], InboundEnvelope | None],
    ) -> None:
        self._api = api
        self._services = services
        self._migrations = migrations
        self._url = url
        self._secret = secret
        self._max_connections = max_connections
        self._read = read
        self._seen_error_at: int | None = None

    def receive(self, request: WebhookRequest) -> WebhookReply:
        """400 for what is no Update. The caller has checked the headers, so Telegram is the sender: an update that cannot be read
        further is taken and skipped, because after an error Telegram would send it again for a day."""
        try:
            update = decode(request.body, Update, lenient=True)
        except Malformed as malformed:
            return self._unreadable(request.body, str(malformed))
        envelope = self._read(update)
        return WebhookReply(envelopes=() if envelope is None else (envelope,), state=self._migrations.unsaved)

    def check_headers(self, headers: Mapping[str, str]) -> WebhookReply | None:
        """401 without the secret."""
        given = headers.get(_HEADER, "")
        is_right = hmac.compare_digest(given.encode("utf-8", "replace"), self._secret.encode())
        return None if is_right else WebhookReply(status=401, body=b"wrong secret token")

    def _unreadable(self, body: bytes, reason: str) -> WebhookReply:
        try:
            number = decode(body, Numbered).update_id
        except Malformed:
            return WebhookReply(status=400, body=b"not an Update")
        self._services.log.warning("telegram_update_skipped", reason=f"update {number}: {reason}")
        return WebhookReply()

    def received(self, reply: WebhookReply) -> None:
        """After the answer: the transport is alive, and the migrations are stored."""
        self._services.connection.heard()
        self._migrations.note_saved(reply.state)

    async def register(self) -> None:
        """setWebhook, always: the server takes the same values again without effect.

        :raises TryAgain: an outage. :raises NeedsOperator: Telegram does not take the URL.
        """
        info = await self._info()
        self._seen_error_at = info.last_error_date  # of the time when we were away, or of another URL
        if info.url not in ("", self._url):
            self._services.log.warning("telegram_webhook_replaced", found_host=urlsplit(info.url).hostname)
        params = SetWebhook(self._url, self._secret, self._max_connections)
        await self._api.ask("setWebhook", params, bool, purpose="own")

    async def watch(self, look_too: Callable[[], Awaitable[None]]) -> NoReturn:
        """Check the registration from time to time: log what Telegram could not deliver, and register a lost webhook again."""
        while True:
            await anyio.sleep(CHECK_SECONDS * self._services.rng.uniform(0.9, 1.1))
            info = await self._info()
            if info.last_error_date not in (None, self._seen_error_at):
                self._seen_error_at = info.last_error_date
                self._services.log.warning(
                    "telegram_webhook_failing", error=info.last_error_message, waiting=info.pending_update_count
                )
            if info.url != self._url:
                self._services.log.warning("telegram_webhook_lost")
                await self.register()
            await look_too()

    async def _info(self) -> WebhookInfo:
        return await self._api.ask("getWebhookInfo", None, WebhookInfo, purpose="own")
