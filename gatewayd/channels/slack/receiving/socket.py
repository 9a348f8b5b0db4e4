"""Receiving by Socket Mode (Slack, "Using Socket Mode")."""

from collections.abc import Awaitable, Callable
from typing import NoReturn

import anyio
import httpx2

from gatewayd.ports.channel import ChannelServices, Deliver

OpenUrl = Callable[[], Awaitable[str]]
"""apps.connections.open with the app token: the address of one connection. Raises GatewayErrors only."""


class SocketMode:
    """The connections of one account. Everything that Slack hands over is delivered, and acknowledged after its commit."""

    def __init__(self, open_url: OpenUrl, http: httpx2.AsyncClient, services: ChannelServices, *, connections: int) -> None:
        self._open_url = open_url
        self._http = http
        self._services = services
        self._connections = connections

    async def run(self, deliver: Deliver, connected: Callable[[], Awaitable[None]]) -> NoReturn:
        """``connected`` is called in a task of its own after each hello before which there was no connection, and when events
        were lost otherwise: what was missed is fetched there.

        :raises TryAgain: no connection came about. :raises NeedsOperator: Slack refuses the token, or Socket Mode is off.
        """
        await anyio.sleep_forever()
        raise AssertionError
