"""Opening a core: the server is found or started, told from others, and watched as long as the core is open."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, nullcontext
from random import Random

import anyio

from gatewayd.agents.opencode.client import Client, basic
from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.agents.opencode.dialect import Dialect
from gatewayd.agents.opencode.openagentic import VERSION as OPENAGENTIC
from gatewayd.agents.opencode.openagentic import OpenAgentic
from gatewayd.agents.opencode.opencode import OpenCode
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.agents.opencode.sidecar import Sidecar, open_sidecar
from gatewayd.agents.opencode.watch import Watch
from gatewayd.model.errors import NeedsOperator, TryAgain
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentKit

_CLOSED = "the agent was closed in the middle of the turn"

_taken: set[str] = set()
"""The OpenAgentic servers that have a core in this process."""


@asynccontextmanager
async def open_opencode(agent: AgentConfig, kit: AgentKit) -> AsyncIterator[AgentCore]:
    """The core on a server that answers. What ends the server ends the core, by an error raised here.

    :raises TryAgain: the server cannot be reached, or has ended. :raises NeedsOperator: it is another, or refuses us.
    """
    settings = agent.settings
    assert isinstance(settings, OpencodeSettings)
    if settings.url is not None:
        client = Client(kit.http, settings.url, _authorization(settings))
        version = await client.health(timeout_seconds=10.0)
        with _alone(client.url) if version.startswith(OPENAGENTIC) else nullcontext():
            async with _open_core(client, version, settings, kit, None) as core:
                yield core
    else:
        async with (
            open_sidecar(settings, kit) as sidecar,
            _open_core(sidecar.client, sidecar.version, settings, kit, sidecar) as core,
        ):
            yield core


@asynccontextmanager
async def _open_core(
    client: Client, version: str, settings: OpencodeSettings, kit: AgentKit, sidecar: Sidecar | None
) -> AsyncIterator[OpencodeCore]:
    dialect, words = _dialect(client, version, settings)
    watch = Watch(
        client,
        dialect,
        poll_seconds=settings.poll_seconds,
        unreachable_seconds=settings.unreachable_seconds,
        patient=sidecar is None,
        log=kit.log,
        rng=Random(),
    )
    core = OpencodeCore(client, words, dialect, watch, settings, kit, sidecar)
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
    """The dialect, and the version in words."""
    if version.startswith(OPENAGENTIC):
        return OpenAgentic(client), version
    return OpenCode(client, model=settings.model, agent=settings.agent), f"opencode {version}"


@contextmanager
def _alone(url: str) -> Iterator[None]:
    """An OpenAgentic server takes one run at a time, which two cores could not agree on. :raises NeedsOperator: it has one."""
    if url in _taken:
        raise NeedsOperator(
            "another agent uses this OpenAgentic server already, which could mix up their requests: give each its own"
        )
    _taken.add(url)
    try:
        yield
    finally:
        _taken.discard(url)


async def _watch_server(watch: Watch) -> None:
    try:
        await watch.run()
    finally:
        watch.go_down("the agent's server was lost in the middle of the turn")


async def _watch_end(sidecar: Sidecar, go_down: Callable[[str], None]) -> None:
    epitaph = await sidecar.wait_end()
    go_down(f"the agent's server was restarted in the middle of the turn: {epitaph}")
    raise TryAgain(f"the agent's server has ended: {epitaph}")


def _authorization(settings: OpencodeSettings) -> str | None:
    if settings.token is not None:
        return f"Bearer {settings.token.reveal()}"
    if settings.password is not None:
        return basic(settings.username, settings.password)
    return None
