"""The HTTP front over a real hub: the sqlite store, the echo agent, the loopback channel, and a channel with a webhook."""

import ssl
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import anyio
import httpx2
import trio
import trio.testing

from gatewayd.agents import callable as own
from gatewayd.agents import echo
from gatewayd.agents.opencode.proxy.routes import PROXY
from gatewayd.channels import loopback
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.hub.gateway import Gateway
from gatewayd.model.config import (
    AccountFrame,
    AccountSettings,
    AgentFrame,
    AgentSettings,
    AuthSection,
    GatewayConfig,
    GatewaySection,
    LimitsSection,
    Scope,
    TokenConfig,
)
from gatewayd.model.errors import Conflict
from gatewayd.model.reload import ReloadReport
from gatewayd.model.secret import Secret
from gatewayd.plugins import Registry
from gatewayd.ports.store import InboundRow
from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.web.app import create_app
from gatewayd.web.plugin_routes.routes import Site as RoutesOf
from gatewayd.web.server.listen import open_listeners
from gatewayd.web.server.server import GatewayServer
from gatewayd.wiring import build_gateway, run_hub
from tests.hub.house import NoStalls
from tests.stores.opened_before import open_store
from tests.web import attached, hook
from tests.web.client import RawClient, dial, now, request

SCOPES: tuple[Scope, ...] = ("read", "write", "approvals", "pairing", "admin")
# Reading the system's certificates takes longer than most of these tests.
NO_TLS = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
MAX_BODY = 100_000
PROXIES = {attached.PLUGIN.id: PROXY}
OPEN = AccountFrame(dm_policy="open", group_policy="open", require_mention=False)
AGENTS = (AgentSettings("assistant", AgentFrame(), echo.EchoSettings()),)
ACCOUNTS = (
    AccountSettings("loopback", "main", OPEN, LoopbackSettings()),
    AccountSettings("loopback", "off", AccountFrame(enabled=False), LoopbackSettings()),
    AccountSettings("loopback", "strict", AccountFrame(), LoopbackSettings()),
    AccountSettings("hook", "main", OPEN, hook.HookSettings()),
    AccountSettings("hook", "plain", OPEN, hook.HookSettings(secret=None)),
)


def token_of(scope: Scope) -> str:
    """The configured token that has just this scope."""
    return f"a-token-for-{scope}-0123456789"


async def no_reload(actor: str) -> ReloadReport:
    """These configurations come from nowhere that could be read again."""
    raise Conflict("there is no file")


def sites_of(registry: Registry) -> list[RoutesOf]:
    """The channels with routes, as the daemon passes them to the front."""
    return [RoutesOf(plugin, partial(registry.http_of, plugin)) for plugin in registry.channels_with_routes()]


class Site:
    """A running front. ``url`` is where it listens; the hub's parts are real and may be looked at."""

    def __init__(self, gateway: Gateway, store: SqliteStore, stalls: NoStalls, registry: Registry) -> None:
        self.gateway = gateway
        self.registry = registry
        self.store = store
        self.stalls = stalls
        self.reload = no_reload
        self.server = self.serve()

    def serve(
        self, *, max_connections: int | None = None, max_body_bytes: int | None = None, accelerates: bool = True
    ) -> GatewayServer:
        """One more server over this hub, that nobody has started."""
        section = self.gateway.config.gateway
        return GatewayServer(
            create_app(
                self.gateway,
                lambda actor: self.reload(actor),
                PROXIES,
                sites_of(self.registry),
                max_connections=max_connections or section.max_connections,
                max_per_address=section.max_connections_per_address,
            ),
            max_body_bytes=max_body_bytes or section.max_body_bytes,
            accelerates=accelerates,
        )

    @property
    def url(self) -> str:
        return self.server.urls[0]

    def dial(self, *, receive_buffer: int | None = None) -> AbstractAsyncContextManager[RawClient]:
        """A raw connection."""
        return dial(self.url, receive_buffer=receive_buffer)

    @asynccontextmanager
    async def client(self, scope: Scope | None = "admin") -> AsyncIterator[httpx2.AsyncClient]:
        """A well-behaved client, with the token of ``scope`` or none."""
        headers = {} if scope is None else {"Authorization": f"Bearer {token_of(scope)}"}
        async with httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=None, verify=NO_TLS) as client:
            yield client

    async def rows(self) -> list[InboundRow]:
        """Everything that was ever journaled."""
        found: list[InboundRow] = []
        while row := await self.store.get_inbound(len(found) + 1):
            found.append(row)
        return found

    async def is_well(self) -> bool:
        """A stranger is still answered."""
        async with self.dial() as other:
            health = await other.ask(request("GET", "/health"))
            missing = await other.ask(request("GET", "/nowhere"))
        return health.status == 200 and health.json["ok"] and missing.code == "not_found"

    def hook(self, account: str = "main") -> hook.HookChannel:
        """The open driver of a webhook account."""
        channel = self.gateway.manager.account("hook", account).channel
        assert isinstance(channel, hook.HookChannel)
        return channel

    def fill_disk(self) -> None:
        """From now on the store cannot grow."""
        connection = self.store._writer._connection
        [pages] = connection.execute("PRAGMA page_count").fetchone()
        connection.execute(f"PRAGMA max_page_count = {pages}")


def configuration(
    *,
    accounts: tuple[AccountSettings, ...] = ACCOUNTS,
    agents: tuple[AgentSettings, ...] = AGENTS,
    gateway: GatewaySection | None = None,
    limits: LimitsSection | None = None,
) -> GatewayConfig:
    tokens: dict[str, TokenConfig] = {scope: TokenConfig(token=Secret(token_of(scope)), scopes=(scope,)) for scope in SCOPES}
    return GatewayConfig(
        gateway=gateway or GatewaySection(bind="127.0.0.1:0", max_body_bytes=MAX_BODY),
        limits=limits or LimitsSection(),
        auth=AuthSection(tokens=tokens),
        agents=agents,
        accounts=accounts,
    )


@asynccontextmanager
async def open_site(
    state_dir: Path, config: GatewayConfig | None = None, *, connected: bool = True, registry: Registry | None = None
) -> AsyncIterator[Site]:
    """A ready daemon without the daemon. Leaving stops the server and cancels the rest; it fails if the server does not stop."""
    config = config or configuration()
    registry = registry or Registry.of([loopback.PLUGIN, hook.PLUGIN], [echo.PLUGIN, attached.PLUGIN, own.PLUGIN])
    async with (
        open_store(state_dir, now=now, run_blocking=run_inline) as store,
        httpx2.AsyncClient(verify=NO_TLS) as http,
        anyio.create_task_group() as nursery,
    ):
        gateway = build_gateway(
            config,
            registry,
            store,
            http,
            state_dir=state_dir,
            now=now,
            stalls=(stalls := NoStalls()),
        )
        async with run_hub(gateway, parent=nursery):
            site = Site(gateway, store, stalls, registry)
            await nursery.start(site.server.serve, await open_listeners("127.0.0.1:0"))
            gateway.enter("ready")
            if connected:
                await _all_connected(gateway)
            yield site
            site.server.stop()
        nursery.cancel_scope.cancel()


async def _all_connected(gateway: Gateway) -> None:
    while any(account.state == "starting" for account in gateway.manager.snapshot()):
        await trio.testing.wait_all_tasks_blocked(0.001)
