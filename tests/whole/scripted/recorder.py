"""An agent core that writes down each effect it has: one line, one write(2) to a file that only grows, as a bank would book it.

By default it remembers its turns, as an agent server does, so that a turn which was cut is asked for and not run again. With
``remembers = false`` it is like a program that runs inside of ours. With a ``gate`` it acts only when that file is
there. What begins with "ask" it does only with permission. What begins with "tell" it answers slowly, in pieces.
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import trio

from gatewayd.model.errors import TryAgain
from gatewayd.model.records.approval import ToolRequest
from gatewayd.ports.agent import AgentConfig, AgentPlugin, AgentServices, CoreTurnState, Final, TextDelta, Turn, TurnRequest

PLUGIN = AgentPlugin(
    id="recorder",
    label="Recorder",
    settings="tests.whole.scripted.recorder:Settings",
    open="tests.whole.scripted.recorder:open_recorder",
)


class Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    file: str
    remembers: bool = True
    seconds: float = 0.0
    gate: str | None = None


class Effect(msgspec.Struct, frozen=True):
    """What was done: once for each run of a turn that came so far."""

    turn_id: str
    attempt: int
    text: str


class Recorder:
    def __init__(self, settings: Settings) -> None:
        self._file = Path(settings.file)
        self._remembers = settings.remembers
        self._seconds = settings.seconds
        self._gate = None if settings.gate is None else Path(settings.gate)

    async def new_session(self, session_key: str) -> str:
        return session_key

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        if not self._remembers:
            return "lost"
        return "ended" if any(effect.turn_id == turn_id for effect in effects(self._file)) else "new"

    async def resume(self, turn: Turn) -> Final:
        return _reply(turn.request)

    async def run(self, turn: Turn) -> Final:
        if self._seconds:
            await trio.sleep(self._seconds)
        while self._gate is not None and not self._gate.exists():  # noqa: ASYNC110
            await trio.sleep(0.01)
        if turn.request.text.startswith("ask "):
            decision = await turn.permission(ToolRequest(tool="book", input="{}"))
            if not decision.allowed:
                return Final(f"not allowed: {decision.outcome}")
        if turn.request.text.startswith("tell "):
            await _stream(turn, _reply(turn.request).text)
        await self.act(turn.request)
        return _reply(turn.request)

    async def act(self, request: TurnRequest) -> None:
        """The effect."""
        line = msgspec.json.encode(Effect(request.turn_id, request.attempt, request.text)) + b"\n"
        try:
            descriptor = os.open(self._file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        except OSError as error:
            raise TryAgain(f"the book cannot be opened: {error.strerror}") from error
        try:
            os.write(descriptor, line)
        finally:
            os.close(descriptor)
        await trio.lowlevel.checkpoint()


def effects(file: Path) -> list[Effect]:
    """Everything that was done, in order."""
    if not file.exists():
        return []
    return [msgspec.json.decode(line, type=Effect) for line in file.read_bytes().splitlines()]


def install(folder: Path) -> dict[str, str]:
    """The environment in which an installed distribution offers the core ``recorder``."""
    info = folder / "recorder-1.0.dist-info"
    info.mkdir(parents=True, exist_ok=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: recorder\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gatewayd.agents]\nrecorder = tests.whole.scripted.recorder:PLUGIN\n")
    return {"PYTHONPATH": str(folder)}


async def _stream(turn: Turn, text: str) -> None:
    """All of it but the end, in two pieces."""
    for piece in (text[:60], text[60:-1]):
        await turn.emit(TextDelta(piece))
        await trio.sleep(3.0)


def _reply(request: TurnRequest) -> Final:
    return Final(f"re: {request.text}")


@asynccontextmanager
async def open_recorder(agent: AgentConfig, services: AgentServices) -> AsyncIterator[Recorder]:
    assert isinstance(agent.settings, Settings)
    yield Recorder(agent.settings)
