"""A Telegram account against the fake Bot API, opened by its manifest as the hub does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gatewayd.channels.telegram.channel import TelegramChannel, open_telegram
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.kit.http import create_client
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import Journal, Services
from tests.fakes.bot_api import FakeBotApi

WEBHOOK_URL = "https://bot.example.org/v1/webhooks/telegram/main"


def account_of(api: FakeBotApi, *, token: str | None = None, **settings: object) -> AccountConfig:
    fields = {"token": Secret(token or api.token), "api_base": api.url, "poll_timeout_seconds": 5, **settings}
    return AccountConfig(
        channel="telegram",
        account="main",
        settings=TelegramSettings(**fields),  # type: ignore[arg-type]
        webhook_url=WEBHOOK_URL if settings.get("mode") == "webhook" else None,
    )


class Rig:
    """One open account. ``services`` is the hub's side, ``journal`` what was delivered, ``api`` the platform."""

    def __init__(self, api: FakeBotApi, account: AccountConfig, services: Services, channel: TelegramChannel) -> None:
        self.api = api
        self.account = account
        self.services = services
        self.channel = channel
        self.journal = Journal(services)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.channel.listen, self.journal)
            await self.services.is_connected.wait()
            yield
            nursery.cancel_scope.cancel()


@asynccontextmanager
async def rig_for(
    api: FakeBotApi, *, kept: dict[str, str] | None = None, token: str | None = None, **settings: object
) -> AsyncIterator[Rig]:
    """``kept`` is the state of an earlier rig: a restart."""
    account = account_of(api, token=token, **settings)
    async with create_client() as http:
        services = Services(http)
        services.kept = {} if kept is None else kept
        async with open_telegram(account, services) as channel:
            yield Rig(api, account, services, channel)
