"""An agent core that does as messages say: each thing that a turn may want of the hub has a word."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from msgspec import Struct

from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentPlugin, AgentServices, CoreTurnState, Final, Notice, Turn

PLUGIN = AgentPlugin(id="obedient", label="Obedient", settings="tests.wiring.core:Settings", open="tests.wiring.core:open_core")


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """None."""


class ObedientCore:
    def __init__(self, services: AgentServices) -> None:
        self._services = services
        self._sessions = 0

    async def new_session(self, session_key: str) -> str:
        self._sessions += 1
        return f"session-{self._sessions}"

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        return "new"

    async def resume(self, turn: Turn) -> Final:
        return await self.run(turn)

    async def run(self, turn: Turn) -> Final:
        match turn.request.text:
            case "use a tool":
                decision = await turn.permission(ToolRequest("shell", "ls"))
                return Final(f"{decision.outcome} by {decision.by}")
            case "ask me":
                return Final(f"answers: {await turn.question(Question('Which colour?', (Option('Red'), Option('Blue'))))}")
            case "say it later":
                await self._services.say_later(turn.request.session_id, "the job is done")
                return Final("begun")
            case "think aloud":
                await turn.emit(Notice("hm"))
                await anyio.sleep(2)
                return Final("thought")
            case "think long":
                await anyio.sleep(10)
                return Final("thought long")
            case "fail":
                raise AgentFailed("as told")
        return Final(f"re: {turn.request.text}")


@asynccontextmanager
async def open_core(config: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    yield ObedientCore(services)
