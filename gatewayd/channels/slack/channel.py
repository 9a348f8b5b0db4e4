"""One Slack account: what joins its parts."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.answers import AuthTest
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.ports.channel import AccountConfig, ChannelServices, Deliver


class SlackChannel:
    """One open account. Made by :func:`open_slack`."""

    def __init__(self, services: ChannelServices, api: SlackApi) -> None:
        self._services = services
        self._api = api

    async def listen(self, deliver: Deliver) -> None:
        """See ``ports.channel.Channel``."""
        me = await self._api.ask("auth.test", {}, AuthTest, purpose="own")
        self._services.connection.connected(f"@{me.user} in {me.team}")
        await anyio.sleep_forever()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        """See ``ports.channel.Channel``."""
        raise SendRejected("this driver sends nothing yet")


@asynccontextmanager
async def open_slack(account: AccountConfig, services: ChannelServices) -> AsyncIterator[SlackChannel]:
    """The ``ChannelOpener`` of the manifest. Connects nothing."""
    settings = account.settings
    assert isinstance(settings, SlackSettings)
    yield SlackChannel(services, SlackApi(services.http, settings))
