"""A chat with an agent in memory: the real core on the hub of the tests."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.abc

from gatewayd.agents.acp.core import AcpCore
from gatewayd.model.errors import TryAgain
from gatewayd.ports.store import InboundRow
from tests.agents.acp.rig import Services
from tests.agents.acp.script import ScriptedAgent, open_scripted
from tests.hub.house import House, ScriptedAgents, echo, open_house


class OneCore(ScriptedAgents):
    """An agent pool whose agent is a real core."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.real: AcpCore | None = None

    async def core(self, agent_id: str) -> AcpCore:  # type: ignore[override]
        if self.real is None:
            raise TryAgain("it is opened anew")
        return self.real

    async def live(self, lives: Sequence[ScriptedAgent], services: Services, *, task_status: anyio.abc.TaskStatus[None]) -> None:
        """The lives of the core, as under supervision: each has another process."""
        for agent in lives:
            try:
                async with open_scripted(agent, services) as self.real:
                    if agent is lives[0]:
                        task_status.started()
                    await anyio.sleep_forever()
            except* TryAgain:
                self.real = None


class LateServices(Services):
    """Services that hand on what is said late, as the hub's does."""

    house: House

    async def say_later(self, session_id: str, text: str) -> None:
        await self.house.late.say("assistant", session_id, text)


@asynccontextmanager
async def open_chat(directory: Path, *lives: ScriptedAgent) -> AsyncIterator[House]:
    agents, services = OneCore(), LateServices(directory / "agent")
    async with open_house(directory, agents=agents) as services.house, anyio.create_task_group() as tasks:
        await tasks.start(agents.live, lives, services)
        yield services.house
        tasks.cancel_scope.cancel()


async def ask(house: House) -> InboundRow:
    """Ask, and hear all that comes of it."""
    row = await house.ended(await house.say("go"))
    await anyio.sleep(3600)
    return row
