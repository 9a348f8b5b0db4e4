"""Opening a core: the server is found or started, recognised, and watched as long as the core is open."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from ipaddress import ip_address
from random import Random

import anyio
import httpx2

from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.agents.opencode.openagentic_server.dialect import VERSION as OPENAGENTIC
from gatewayd.agents.opencode.openagentic_server.dialect import OpenAgentic
from gatewayd.agents.opencode.opencode_server.dialect import OpenCode
from gatewayd.agents.opencode.server.client import Client, basic
from gatewayd.agents.opencode.server.dialect import Dialect
from gatewayd.agents.opencode.server.sidecar import Sidecar, open_sidecar
from gatewayd.agents.opencode.server.watch import Watch
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentServices

_CLOSED = "the agent was closed in the middle of the turn"

_taken: set[tuple[str, int]] = set()
"""The OpenAgentic servers that have a core in this process."""


@asynccontextmanager
async def open_opencode(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    """The core on a server that answers. The end of the server ends the core, by an error raised here.

    :raises TryAgain: the server cannot be reached, or has ended. :raises NeedsOperator: it is another, or refuses us.
    """
    settings = agent.settings
    assert isinstance(settings, OpencodeSettings)
    if settings.url is not None:
        client = Client(services.http, settings.url, _credentials(settings))
        version = await client.health(timeout_seconds=10.0)
        with _alone(await _addresses(client.url)) if version.startswith(OPENAGENTIC) else nullcontext():
            async with _open_core(client, version, settings, services, None) as core:
                yield core
    else:
        async with (
            open_sidecar(settings, services) as sidecar,
            _open_core(sidecar.client, sidecar.version, settings, services, sidecar) as core,
        ):
            yield core


@asynccontextmanager
async def _open_core(
    client: Client, version: str, settings: OpencodeSettings, services: AgentServices, sidecar: Sidecar | None
) -> AsyncIterator[OpencodeCore]:
    dialect, words = _dialect(client, version, settings)
    watch = Watch(
        client,
        dialect,
        poll_seconds=settings.poll_seconds,
        unreachable_seconds=settings.unreachable_seconds,
        patient=sidecar is None,
        log=services.log,
        rng=Random(),
    )
    core = OpencodeCore(client, words, dialect, watch, settings, services, sidecar)
    async with anyio.create_task_group() as group:
        group.start_soon(_watch_server, watch)
        if sidecar is not None:
            group.start_soon(_watch_end, sidecar, watch.go_down)
        try:
            yield core
        finally:
            watch.go_down(_CLOSED)
            group.cancel_scope.cancel()


def _dialect(client: Client, version: str, settings: OpencodeSettings) -> tuple[Dialect, str]:
    """The dialect, and the version with the server's name."""
    if version.startswith(OPENAGENTIC):
        return OpenAgentic(client), version
    return OpenCode(client, model=settings.model, agent=settings.agent), f"opencode {version}"


async def _addresses(url: str) -> set[tuple[str, int]]:
    """The server's addresses, however its URL is written. All of this machine's loopback addresses count as one.

    :raises TryAgain: its name cannot be resolved.
    """
    target = httpx2.URL(url)
    port = target.port or (443 if target.scheme == "https" else 80)
    try:
        found = await anyio.getaddrinfo(target.host, port)
    except OSError as error:
        raise TryAgain(f"the name of the agent's server cannot be resolved: {error}") from None
    hosts = [ip_address(str(address[0]).partition("%")[0]) for *_, address in found]
    return {("loopback" if host.is_loopback or host.is_unspecified else str(host), port) for host in hosts}


@contextmanager
def _alone(addresses: set[tuple[str, int]]) -> Iterator[None]:
    """An OpenAgentic server takes one run at a time, so only one core may use it. :raises NeedsOperator: another core does."""
    if addresses & _taken:
        raise NeedsOperator(
            "another agent uses this OpenAgentic server already, which could mix up their requests: give each its own"
        )
    _taken.update(addresses)
    try:
        yield
    finally:
        _taken.difference_update(addresses)


async def _watch_server(watch: Watch) -> None:
    try:
        await watch.run()
    finally:
        watch.go_down("the agent's server was lost in the middle of the turn")


async def _watch_end(sidecar: Sidecar, go_down: Callable[[str], None]) -> None:
    exit_summary = await sidecar.wait_end()
    go_down(f"the agent's server was restarted in the middle of the turn: {exit_summary}")
    raise TryAgain(f"the agent's server has ended: {exit_summary}")


def _credentials(settings: OpencodeSettings) -> dict[str, str]:
    if settings.token is not None:
        return {"authorization": f"Bearer {settings.token.reveal()}"}
    return {} if settings.password is None else basic(settings.username, settings.password)
