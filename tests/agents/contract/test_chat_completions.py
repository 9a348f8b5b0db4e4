"""The core of OpenAI-compatible endpoints passes what of the contract is for a model without tools, over a scripted model."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gatewayd.agents.chat_completions import PLUGIN
from gatewayd.agents.chat_completions.settings import ChatCompletionsSettings
from gatewayd.ports.agent import AgentConfig
from gatewayd.testing.agent_contract import Act, AgentContract, AgentFailure
from tests.fakes.model_server import MODEL, ModelServer


class Model:
    failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {}

    def __init__(self, server: ModelServer) -> None:
        self._server = server
        self.agent = AgentConfig("assistant", ChatCompletionsSettings(url=server.url, model=MODEL))
        self.acts: Mapping[Act, Callable[[str], str]] = {
            "say": "say {}".format,
            "fail": "fail 400".format,
            "die": "reset so far{}".format,
            "hang": "hang {}".format,
        }

    def tools_used(self) -> Sequence[str]:
        return ()

    async def wait_hanging(self) -> None:
        await self._server.wait_requests(1)

    async def wait_stopped(self) -> None:
        """The core closes the connection, at which servers stop generating."""
        await trio.lowlevel.checkpoint()

    async def release(self) -> None:
        raise AssertionError("a reply ends with its connection")


class TestChatCompletions(AgentContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.agents.chat_completions"
    repeatable = True

    @asynccontextmanager
    async def harness(self, directory: Path) -> AsyncIterator[Model]:
        async with ModelServer.serve() as server:
            yield Model(server)
