"""A Discord account against the fake Discord, opened by its manifest as the hub does."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import trio

from gatewayd.channels.discord.channel import DiscordChannel, open_discord
from gatewayd.channels.discord.settings import DiscordSettings
from gatewayd.kit.http import create_client
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import AccountConfig
from gatewayd.testing.channel_contract import Journal, Services
from tests.fakes.discord_platform import FakeDiscord

WEBHOOK_URL = "https://bot.example.org/v1/webhooks/discord/main"


def now() -> float:
    """The clock of ``Services``: the platform's has to be the same."""
    return 1_800_000_000.0 + trio.current_time()


def account_of(discord: FakeDiscord, *, interactions: str = "gateway", **settings: object) -> AccountConfig:
    fields: dict[str, object] = {
        "token": Secret(discord.token),
        "api_base": discord.api_url,
        "interactions": interactions,
        "commands": False,
    }
    if interactions == "http":
        fields["public_key"] = discord.verify_key
    return AccountConfig(
        channel="discord",
        account="main",
        settings=DiscordSettings(**{**fields, **settings}),  # type: ignore[arg-type]
        webhook_url=WEBHOOK_URL if interactions == "http" else None,
    )


class Rig:
    """One open account. ``services`` is the hub's side, ``journal`` what was delivered, ``discord`` the platform."""

    def __init__(self, discord: FakeDiscord, services: Services, channel: DiscordChannel) -> None:
        self.discord = discord
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
async def rig_for(discord: FakeDiscord, *, kept: dict[str, str] | None = None, **settings: object) -> AsyncIterator[Rig]:
    """``kept`` is the state of an earlier rig: a restart."""
    async with create_client() as http:
        services = Services(http, kept)
        async with open_discord(account_of(discord, **settings), services) as channel:  # type: ignore[arg-type]
            yield Rig(discord, services, channel)
