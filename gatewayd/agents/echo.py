"""The echo core: it replies with the user's own text, word by word. It needs nothing, so a newcomer has an agent at once.

``/demo-tool TEXT`` asks for permission to use a tool, and waits for the operator.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated
from uuid import uuid4

import anyio
import msgspec

from gatewayd.model.lifecycle import Outcome
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.ports.agent import (
    AgentConfig,
    AgentCore,
    AgentPlugin,
    AgentServices,
    CoreTurnState,
    Final,
    TextDelta,
    ToolCall,
    ToolResult,
    Turn,
)

PLUGIN = AgentPlugin(
    id="echo",
    label="Echo",
    settings="gatewayd.agents.echo:EchoSettings",
    open="gatewayd.agents.echo:open_echo",
)

_DEMO = "/demo-tool"
_WHY_NOT: Mapping[Outcome, str] = {
    "denied": "The operator said no",
    "expired": "Nobody answered in time",
    "withdrawn": "The request was withdrawn",
    "undeliverable": "Nobody could be asked",
}


class EchoSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """core = "echo": replies with the user's own text."""

    word_delay_seconds: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 0.0
    """A pause before each word, to see streaming work."""


class EchoCore:
    """Keeps nothing: a turn that a crash has cut is run again."""

    def __init__(self, settings: EchoSettings) -> None:
        self._delay = settings.word_delay_seconds

    async def new_session(self, session_key: str) -> str:
        return uuid4().hex

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        return "new"

    async def resume(self, turn: Turn) -> Final:
        return await self.run(turn)

    async def run(self, turn: Turn) -> Final:
        text = turn.request.text
        command, _, argument = text.partition(" ")
        if command == _DEMO:
            return await self._demo_tool(turn, argument.strip() or "something dangerous")
        if not text:
            about = ", ".join(attachment.kind for attachment in turn.request.attachments)
            return Final(f"You sent: {about}" if about else "")
        await self._stream(turn, text)
        return Final(text)

    async def _stream(self, turn: Turn, text: str) -> None:
        for word in text.split(" "):
            if self._delay:
                await anyio.sleep(self._delay)
            await turn.emit(TextDelta(word + " "))

    async def _demo_tool(self, turn: Turn, what: str) -> Final:
        request = ToolRequest(tool="demo", input=msgspec.json.encode({"do": what}).decode())
        call_id = uuid4().hex
        await turn.emit(ToolCall(call_id, request.tool, request.input))
        decision = await turn.permission(request)
        outcome = _told(decision, what)
        await turn.emit(ToolResult(call_id, outcome, is_error=not decision.allowed))
        return Final(outcome)


def _told(decision: Decision, what: str) -> str:
    if decision.allowed:
        return f"Done, with the permission of {decision.by}: {what}"
    note = f" ({decision.note})" if decision.note else ""
    return f"{_WHY_NOT[decision.outcome]}{note}. I did not do it: {what}"


@asynccontextmanager
async def open_echo(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    assert isinstance(agent.settings, EchoSettings)
    yield EchoCore(agent.settings)
