"""The core: it starts the program for each turn, and translates between its lines and the turn."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from uuid import uuid4

import anyio
import msgspec
from anyio.abc import TaskGroup

from gatewayd.kit.network.lines import LineReader, LineTooLong
from gatewayd.kit.process import ChildProcess, open_process
from gatewayd.model.errors import AgentFailed
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentServices, CoreTurnState, Final, TextDelta, Turn

from .settings import LineSettings
from .wire import Answer, Ask, Done, Start, Text, Tool, decode, encode

LONGEST_LINE = 1_000_000
GONE = (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError)
STRANGE = (LineTooLong, msgspec.DecodeError)


class LineCore:
    def __init__(self, settings: LineSettings, agent_id: str) -> None:
        self._settings = settings
        self._agent_id = agent_id

    async def new_session(self, session_key: str) -> str:
        return uuid4().hex

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        """A program ends with gatewayd. What it did until then, nobody knows."""
        return "lost"

    async def resume(self, turn: Turn) -> Final:
        return await self.run(turn)

    async def run(self, turn: Turn) -> Final:
        """:raises ExceptionGroup: of AgentFailed and NeedsOperator."""
        async with open_process(
            self._settings.command,
            cwd=Path(self._settings.directory),
            env={},
            marker=f"{self._agent_id}:{turn.request.session_id}",
            stdin=True,
            stdout="caller",
        ) as process:
            return await Run(process, turn).run()


class Run:
    """One turn with one process."""

    def __init__(self, process: ChildProcess, turn: Turn) -> None:
        self._process = process
        self._turn = turn
        self._lock = anyio.Lock()
        self._pieces: list[str] = []

    async def run(self) -> Final:
        """:raises AgentFailed: the program says so, or it ended too early, or it wrote something else."""
        why = ""
        try:
            await self._process.stdin.send(encode(Start(self._turn.request.session_id, self._turn.request.text)))
            async with anyio.create_task_group() as tasks:
                return await self._follow(tasks)
        except* GONE:
            await self._process.wait()
            why = f"the program {self._process.exit_summary}"
        except* STRANGE as strange:
            why = f"the program wrote a line that is not one of its own: {strange.exceptions[0]}"
        raise AgentFailed(why)

    async def _follow(self, tasks: TaskGroup) -> Final:
        """Do what each line says, until the last. It reads on while people are asked."""
        lines = LineReader(self._process.stdout, at_most_bytes=LONGEST_LINE)
        while True:
            match decode(await lines.receive()):
                case Text(text):
                    self._pieces.append(text)
                    await self._turn.emit(TextDelta(text))
                case Tool() as tool:
                    tasks.start_soon(self._permit, tool)
                case Ask() as question:
                    tasks.start_soon(self._ask, question)
                case Done(None):
                    return Final("".join(self._pieces))
                case Done(error):
                    raise AgentFailed(f"the program says: {error}")

    async def _permit(self, tool: Tool) -> None:
        request = ToolRequest(tool.tool, msgspec.json.encode(tool.input, order="sorted").decode())
        await self._answer(Answer(tool.ref, allowed=(await self._turn.permission(request)).allowed))

    async def _ask(self, ask: Ask) -> None:
        question = Question(ask.text, tuple(map(Option, ask.options)))
        await self._answer(Answer(ask.ref, answers=await self._turn.question(question)))

    async def _answer(self, answer: Answer) -> None:
        async with self._lock:
            await self._process.stdin.send(encode(answer))


@asynccontextmanager
async def open_lineagent(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    assert isinstance(agent.settings, LineSettings)
    yield LineCore(agent.settings, agent.agent_id)
