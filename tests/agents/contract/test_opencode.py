"""The OpenCode core passes the contract over both of its servers. Their turns go on without gatewayd."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from gatewayd.agents.opencode import PLUGIN
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.ports.agent import AgentConfig
from gatewayd.testing.agent_contract import COLOURS, Act, AgentContract, AgentFailure
from tests.agents.contract.run import TESTS, run
from tests.fakes.opencode_server import Asking, FakeOpenAgentic, FakeOpenCode, ModelRun

ACTS: Sequence[Act] = ("say", "tool", "two tools", "ask", "fail", "hang")

Kind = type[FakeOpenCode] | type[FakeOpenAgentic]


class Model:
    """What the model behind the server does."""

    def __init__(self, kind: Kind) -> None:
        self.server = kind(self.act)
        acts = ACTS if kind is FakeOpenCode else [act for act in ACTS if act != "two tools"]  # it asks for one after the other
        self.acts: Mapping[Act, Callable[[str], str]] = {act: partial("{}:{}".format, act) for act in acts}
        self.failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {"outage": self._stop_server}
        self._hanging = trio.Event()
        self._stopped = trio.Event()
        self._released = trio.Event()

    @property
    def agent(self) -> AgentConfig:
        return AgentConfig("assistant", OpencodeSettings(url=self.server.url))

    async def _stop_server(self) -> None:
        await self.server.http.stop()

    def tools_used(self) -> Sequence[str]:
        return self.server.ran

    async def wait_hanging(self) -> None:
        await self._hanging.wait()

    async def wait_stopped(self) -> None:
        await self._stopped.wait()

    async def release(self) -> None:
        await trio.lowlevel.checkpoint()
        self._released.set()

    async def act(self, run: ModelRun) -> None:
        act, _, argument = run.text.partition(":")
        match act:
            case "tool":
                await run.tool("bash", {"command": argument})
                await run.say("used what I may")
            case "two tools":
                await run.tools(*(("bash", {"command": command}) for command in argument.split(" | ")))
                await run.say("used what I may")
            case "ask":
                answers = await run.question(Asking(argument, COLOURS))
                await run.say(str(answers))
            case "fail":
                await run.fail("the model refused")
            case "hang":
                await self._hang(run, argument)
            case _:
                for word in argument.split(" "):
                    await run.say(f"{word} ")

    async def _hang(self, run: ModelRun, argument: str) -> None:
        self._hanging.set()
        try:
            while not self._released.is_set():
                await run.say("")  # notices that it is aborted
                with trio.move_on_after(0.1):
                    await self._released.wait()
        except (trio.Cancelled, trio.EndOfChannel):
            self._stopped.set()
            raise
        await run.say(argument)


class Contract(AgentContract):
    plugin = PLUGIN
    manifest_module = "gatewayd.agents.opencode"

    def __init__(self, kind: Kind) -> None:
        self._kind = kind
        self.one_at_a_time = kind is FakeOpenAgentic  # type: ignore[misc]

    @asynccontextmanager
    async def harness(self, directory: Path) -> AsyncIterator[Model]:
        model = Model(self._kind)
        async with model.server.serve():
            yield model


@pytest.mark.parametrize("kind", [FakeOpenCode, FakeOpenAgentic])
@pytest.mark.parametrize("name", TESTS)
def test_the_core_keeps_every_promise(name: str, kind: Kind, tmp_path: Path) -> None:
    """The kernel takes a moment to carry bytes over, so the clock waits for it."""
    run(Contract(kind), name, tmp_path, autojump_seconds=0.01)
