"""The echo core passes what of the contract is for it: it repeats, and it asks for its demo tool."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gatewayd.agents.echo import PLUGIN, EchoSettings
from gatewayd.ports.agent import AgentConfig
from gatewayd.testing.agent_contract import Act, AgentContract, AgentFailure


class Echo:
    agent = AgentConfig("assistant", EchoSettings())
    acts: Mapping[Act, Callable[[str], str]] = {"say": str}
    failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {}

    def tools_used(self) -> Sequence[str]:
        return ()

    async def wait_hanging(self) -> None: ...

    async def wait_stopped(self) -> None: ...

    async def release(self) -> None: ...


class TestEcho(AgentContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.agents.echo"
    repeatable = True

    @asynccontextmanager
    async def harness(self, directory: Path) -> AsyncIterator[Echo]:
        await trio.lowlevel.checkpoint()
        yield Echo()
