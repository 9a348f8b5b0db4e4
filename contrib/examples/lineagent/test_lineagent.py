"""The core passes the contract, with a program that does what it is told."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio
from lineagent import PLUGIN
from lineagent.settings import LineSettings

from gatewayd.ports.agent import AgentConfig
from gatewayd.testing.agent_contract import Act, AgentContract, AgentFailure, AgentHarness

PROGRAM = Path(__file__).with_name("obedient.py")
ACTS: Sequence[Act] = ("say", "recall", "tool", "two tools", "tool, then die", "ask", "fail", "die", "hang")


class Program:
    acts: Mapping[Act, Callable[[str], str]] = {act: partial("{}:{}".format, act) for act in ACTS}

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._command = (sys.executable, str(PROGRAM))
        self.failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {"credentials": self._go_away}

    @property
    def agent(self) -> AgentConfig:
        return AgentConfig("assistant", LineSettings(self._command, str(self._directory)))

    async def _go_away(self) -> None:
        self._command = ("no-such-program", "")

    def tools_used(self) -> Sequence[str]:
        used = self._directory / "used.txt"
        return used.read_text().splitlines() if used.exists() else ()

    def _process(self) -> str:
        """The number of the process that hangs; empty before it does."""
        hanging = self._directory / "hanging"
        return hanging.read_text() if hanging.exists() else ""

    async def wait_hanging(self) -> None:
        while not self._process():
            await trio.sleep(0.01)

    async def wait_stopped(self) -> None:
        while Path("/proc", self._process()).exists():
            await trio.sleep(0.01)

    async def release(self) -> None:
        raise AssertionError("a program ends with its turn")


class TestLineAgent(AgentContract):
    plugin = PLUGIN
    manifest_module = "lineagent"

    @asynccontextmanager
    async def harness(self, directory: Path) -> AsyncIterator[AgentHarness]:
        yield Program(directory)
