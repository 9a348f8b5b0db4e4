"""Receiving by long poll (core.telegram.org/bots/api#getupdates)."""

from collections.abc import Awaitable, Callable
from typing import NoReturn
from urllib.parse import urlsplit

from msgspec import Raw

from gatewayd.channels.telegram.api import BotApi
from gatewayd.channels.telegram.errors import ApiError, gateway_error
from gatewayd.channels.telegram.state import BotState
from gatewayd.channels.telegram.wire import ALLOWED_UPDATES, Batch, GetUpdates, Update, WebhookInfo, decode_batch
from gatewayd.kit.json import Malformed
from gatewayd.model.errors import TryAgain
from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import ChannelServices, Deliver

_GRACE_SECONDS = 10.0  # what the answer to a poll may take beyond the poll itself
_RIVAL_SECONDS = 20  # within which a program that polls with the same token shows itself: most try again after a few


class Poller:
    """Asks for updates, delivers them, and only then asks for the next: asking with a higher offset confirms them."""

    def __init__(
        self,
        api: BotApi,
        services: ChannelServices,
        state: BotState,
        *,
        timeout_seconds: int,
        read: Callable[[Update], InboundEnvelope | None],
    ) -> None:
        self._api = api
        self._services = services
        self._state = state
        self._timeout_seconds = timeout_seconds
        self._read = read
        self._may_delete_webhook = True

    async def run(
        self, deliver: Deliver, connected: Callable[[], None], between_polls: Callable[[], Awaitable[None]]
    ) -> NoReturn:
        """``connected`` is called when Telegram has let us receive.

        :raises TryAgain: an outage, or somebody else receives for this bot. :raises NeedsOperator: the token is void.
        """
        offset = await self._state.offset()
        had_rival = await self._state.had_rival()
        # The first poll is answered at once. After another program has thrown us out it proves nothing that we may ask:
        # then one that lasts for a while has to stand.
        timeout_seconds, is_connected = min(_RIVAL_SECONDS, self._timeout_seconds) if had_rival else 0, False
        # A poll returns after its time-out at the latest; a hung one is to be found within twice that.
        self._services.connection.expect_silence(2.0 * self._timeout_seconds)
        while True:
            batch = await self._ask(offset, timeout_seconds)
            self._services.connection.heard()
            if not is_connected:
                timeout_seconds, is_connected = self._timeout_seconds, True
                if had_rival:
                    await self._state.note_rival(False)
                connected()
            for reason in batch.skipped:
                self._services.log.warning("telegram_update_skipped", reason=reason)
            if batch.next_offset is not None:
                await self._deliver(batch, batch.next_offset, deliver)
                offset = batch.next_offset
            await between_polls()

    async def _deliver(self, batch: Batch, next_offset: int, deliver: Deliver) -> None:
        envelopes = [envelope for update in batch.updates if (envelope := self._read(update)) is not None]
        await self._state.save_migrations()
        await deliver(envelopes, state={self._state.offset_key: str(next_offset)})

    async def _ask(self, offset: int | None, timeout_seconds: int) -> Batch:
        params = GetUpdates(timeout_seconds, ALLOWED_UPDATES, offset)
        try:
            return decode_batch(await self._get_updates(params))
        except Malformed as malformed:
            raise TryAgain(f"Telegram getUpdates: {malformed}") from None

    async def _get_updates(self, params: GetUpdates) -> Raw:
        timeout = params.timeout + _GRACE_SECONDS
        try:
            return await self._api.call("getUpdates", params, timeout_seconds=timeout)
        except ApiError as refused:
            error = refused
        # 409 with these words: a webhook is set, left by another mode or another program (Client.cpp,
        # process_get_updates_query). Deleted once: if it comes back, somebody else wants it.
        if error.code == 409 and "webhook is active" in error.description and self._may_delete_webhook:
            self._may_delete_webhook = False
            await self._delete_webhook()
            return await self._get_updates(params)
        if error.code == 409:
            await self._state.note_rival(True)
        raise gateway_error(error, "own")

    async def _delete_webhook(self) -> None:
        """deleteWebhook, without drop_pending_updates: what waits there comes by the next poll."""
        info = await self._api.ask("getWebhookInfo", None, WebhookInfo, purpose="own")
        await self._api.ask("deleteWebhook", None, bool, purpose="own")
        self._services.log.warning(
            "telegram_webhook_deleted", host=urlsplit(info.url).hostname, waiting=info.pending_update_count
        )
