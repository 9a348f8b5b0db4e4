"""The web chat behind a real server, and the pages that read its stream."""

import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import trio

from gatewayd.agents import echo
from gatewayd.agents.echo import EchoSettings
from gatewayd.channels.webchat import PLUGIN
from gatewayd.channels.webchat.http import COOKIE
from gatewayd.channels.webchat.login import new_login_link
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentFrame,
    AgentSettings,
    AuthSection,
    GatewayConfig,
    GatewaySection,
    TokenConfig,
)
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.ports.channel import HttpDesk
from gatewayd.web.access.auth import Auth
from gatewayd.web.app import create_app
from gatewayd.web.plugin_routes.desk import Desk
from gatewayd.web.server.listen import open_listeners
from gatewayd.web.server.server import GatewayServer
from gatewayd.wiring import build_gateway, run_hub
from tests.hub.house import NoStalls
from tests.stores.opened_before import open_store
from tests.web.client import RawClient, dial, request
from tests.web.site import no_reload, sites_of

PATIENCE = 20.0
TOKENS = {
    "ops": TokenConfig(token=Secret("operator-token-0123456789"), scopes=("admin",)),
    "reader": TokenConfig(token=Secret("reader-token-0123456789"), scopes=("read",)),
}
CONFIG = GatewayConfig(
    gateway=GatewaySection(bind="127.0.0.1:0", public_url="https://chat.example"),
    auth=AuthSection(tokens=TOKENS),
    agents=(AgentSettings("assistant", AgentFrame(), EchoSettings()),),
    accounts=(AccountSettings("webchat", "main", AccountFrame(), WebchatSettings()),),
)
OPS = {"Authorization": "Bearer operator-token-0123456789"}
ENDPOINTS = [
    ("GET", "/v1/webchat/history"),
    ("GET", "/v1/webchat/stream"),
    ("POST", "/v1/webchat/messages"),
    ("POST", "/v1/webchat/presses"),
    ("POST", "/v1/webchat/logout"),
]


class Site:
    """The daemon's parts behind a real server. ``client`` has nobody's cookies; ``logged_in`` gives one that has."""

    def __init__(self, gateway: Gateway, url: str) -> None:
        self.gateway = gateway
        self.url = url

    def desk(self) -> HttpDesk:
        """What the routes of the account get."""
        auth = Auth(self.gateway.store, AuthSection(), now=self.gateway.now)
        return Desk(self.gateway, auth, self.gateway.manager.account("webchat", "main"))

    def client(self) -> httpx2.AsyncClient:
        return httpx2.AsyncClient(base_url=self.url, verify=False, trust_env=False, timeout=PATIENCE)

    async def code(self, name: str = "alice") -> str:
        return (await new_login_link(self.gateway.store, self.url, name, time.time())).code

    @asynccontextmanager
    async def logged_in(self, name: str = "alice") -> AsyncIterator[httpx2.AsyncClient]:
        """A browser whose one page shows ``name``."""
        async with self.client() as client:
            answer = await client.post("/v1/webchat/login", json={"code": await self.code(name)})
            assert answer.status_code == 200
            client.params = httpx2.QueryParams(name=name)
            yield client


@asynccontextmanager
async def site(state_dir: Path, config: GatewayConfig = CONFIG) -> AsyncIterator[Site]:
    """Joined as the daemon joins them, with the echo agent."""
    with trio.fail_after(PATIENCE):
        async with (
            open_store(state_dir, now=time.time) as store,
            httpx2.AsyncClient() as http,
            anyio.create_task_group() as nursery,
        ):
            registry = Registry.of([PLUGIN], [echo.PLUGIN])
            gateway = build_gateway(config, registry, store, http, state_dir=state_dir, stalls=NoStalls())
            app = create_app(gateway, no_reload, {}, sites_of(registry), max_connections=100)
            server = GatewayServer(app, max_body_bytes=1_048_576, grace_seconds=0.2)
            async with run_hub(gateway, parent=nursery):
                [url] = await nursery.start(server.serve, await open_listeners("127.0.0.1:0"))
                gateway.enter("ready")
                yield Site(gateway, url)
                server.stop()
            nursery.cancel_scope.cancel()


class Stream:
    """The events of one open page. ``rest`` reads to the end of the stream."""

    def __init__(self, connection: RawClient) -> None:
        self._connection = connection
        self._events: list[tuple[str, Any]] = []

    async def next(self) -> tuple[str, Any]:
        while not self._events:
            block = (await self._connection.chunk()).decode()
            assert block, "the stream has ended"
            self._events = [_event(event) for event in block.removesuffix("\n\n").split("\n\n")]
        return self._events.pop(0)

    async def until_answer(self) -> list[tuple[str, Any]]:
        """Events up to and with the first line of the agent."""
        told = [await self.next()]
        while told[-1][1].get("from") != "agent":
            told.append(await self.next())
        return told

    async def ended(self) -> bool:
        while await self._connection.chunk():
            pass
        return True


def _event(text: str) -> tuple[str, Any]:
    kind, data = text.split("\n")
    return kind.removeprefix("event: "), json.loads(data.removeprefix("data: "))


@asynccontextmanager
async def streaming(here: Site, client: httpx2.AsyncClient, after: str = "0.0") -> AsyncIterator[Stream]:
    """A page of the person whose cookie ``client`` has."""
    headers = {"Cookie": f"{COOKIE}={client.cookies[COOKIE]}"}
    async with dial(here.url) as connection:
        await connection.say(request("GET", f"/v1/webchat/stream?name={client.params['name']}&after={after}", headers=headers))
        status, answered = await connection.head()
        assert (status, answered["content-type"], answered["cache-control"]) == (200, "text/event-stream", "no-store")
        stream = Stream(connection)
        assert await stream.next() == ("hello", {})
        yield stream


async def wait_reply(here: Site, client: httpx2.AsyncClient) -> list[dict[str, Any]]:
    """The lines of the history once an answer is among them."""
    async with streaming(here, client) as stream:
        await stream.until_answer()
    found: list[dict[str, Any]] = (await client.get("/v1/webchat/history")).json()["lines"]
    return found


async def post_and_answer(here: Site, client: httpx2.AsyncClient) -> str:
    """Say something; the id of the answer's line."""
    await client.post("/v1/webchat/messages", json={"id": "message-1", "text": "hello"})
    return str((await wait_reply(here, client))[-1]["id"])
