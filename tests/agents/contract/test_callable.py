"""The callable core passes the contract, with an agent that does what it is told."""

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import trio

from gatewayd.agents.callable import PLUGIN, CallableSettings, CallableTurn
from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.ports.agent import AgentConfig
from gatewayd.testing.agent_contract import COLOURS, Act, AgentContract, AgentFailure

ACTS: Sequence[Act] = ("say", "tool", "two tools", "tool, then die", "ask", "fail", "die", "hang")


class Doings:
    """What the agent does in one test."""

    def __init__(self) -> None:
        self.agent = AgentConfig("assistant", CallableSettings(object=f"{__name__}:agent"))
        self.acts: Mapping[Act, Callable[[str], str]] = {act: partial("{}:{}".format, act) for act in ACTS}
        self.failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {"outage": self._go_away}
        self.is_away = False
        self.used: list[str] = []
        self.hanging = trio.Event()
        self.stopped = trio.Event()

    async def _go_away(self) -> None:
        await trio.lowlevel.checkpoint()
        self.is_away = True

    def tools_used(self) -> Sequence[str]:
        return self.used

    async def wait_hanging(self) -> None:
        await self.hanging.wait()

    async def wait_stopped(self) -> None:
        await self.stopped.wait()

    async def release(self) -> None:
        raise AssertionError("a generator ends with its turn")

    async def hang(self) -> None:
        self.hanging.set()
        try:
            await trio.sleep_forever()
        finally:
            self.stopped.set()

    async def use(self, tool: str, turn: CallableTurn) -> None:
        if (await turn.ask("shell", {"command": tool})).allowed:
            self.used.append(tool)


doings: Doings


async def agent(turn: CallableTurn) -> AsyncGenerator[str, None]:
    if doings.is_away:
        raise TryAgain("what it needs does not answer")
    act, _, argument = turn.text.partition(":")
    match act:
        case "tool" | "tool, then die" | "two tools":
            async with trio.open_nursery() as tools:
                for tool in argument.split(" | "):
                    tools.start_soon(doings.use, tool, turn)
            if act == "tool, then die":
                raise AgentFailed("it broke")
            yield "Used what I may."
        case "ask":
            yield ", ".join(await turn.question(argument, COLOURS) or ())
        case "fail":
            raise AgentFailed("the model refused")
        case "die":
            yield "So far "
            raise AgentFailed("the connection is gone")
        case "hang":
            await doings.hang()
        case _:
            for word in argument.split(" "):
                yield f"{word} "


class TestCallable(AgentContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.agents.callable"

    @asynccontextmanager
    async def harness(self, directory: Path) -> AsyncIterator[Doings]:
        global doings
        doings = Doings()
        await trio.lowlevel.checkpoint()
        yield doings
