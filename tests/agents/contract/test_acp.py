"""The core of Agent Client Protocol agents passes the contract, over an agent that is a process of its own."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import trio

from gatewayd.agents.acp import PLUGIN
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.ports.agent import AgentConfig
from gatewayd.testing.agent_contract import Act, AgentContract, AgentFailure
from tests.fakes.acp_agent import command


class Process:
    acts: Mapping[Act, Callable[[str], str]] = {
        "say": "say {}".format,
        "recall": "history".format,
        "tool": "tool {}".format,
        "two tools": "both {}".format,
        "fail": "fail it refused".format,
        "die": "die".format,
        "hang": "hang".format,
        "late": "late {}".format,
    }

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._options: tuple[str, ...] = ()
        self.failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {"credentials": self._log_out}

    @property
    def agent(self) -> AgentConfig:
        return AgentConfig("assistant", AcpSettings(command=tuple(command(*self._options)), directory=str(self._directory)))

    async def _log_out(self) -> None:
        await trio.lowlevel.checkpoint()
        self._options = ("--auth",)

    def tools_used(self) -> Sequence[str]:
        ran = self._directory / "ran.txt"
        return ran.read_text().splitlines() if ran.exists() else ()

    async def wait_hanging(self) -> None:
        await self._wait(lambda: (self._directory / "waiting").exists())

    async def wait_stopped(self) -> None:
        await self._wait(lambda: any("session/cancel" in line for line in self._received()))

    async def release(self) -> None:
        raise AssertionError("the turns of this agent end with its process")

    def _received(self) -> Sequence[str]:
        return [json.loads(line).get("method") or "" for line in (self._directory / "received.jsonl").read_text().splitlines()]

    async def _wait(self, condition: Callable[[], bool]) -> None:
        while not condition():  # noqa: ASYNC110  a process tells nobody what it writes
            await trio.sleep(0.01)


class TestAcp(AgentContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.agents.acp"

    @asynccontextmanager
    async def harness(self, directory: Path) -> AsyncIterator[Process]:
        await trio.lowlevel.checkpoint()
        yield Process(directory)
