"""An agent in this process, and a core over it that has every ability. Each fault changes this core in one place."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import msgspec
import trio

from gatewayd.model.errors import AgentFailed, NeedsOperator, TryAgain
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import (
    AgentConfig,
    AgentServices,
    CoreFacts,
    CoreTurnState,
    Final,
    TextDelta,
    ToolCall,
    ToolResult,
    Turn,
)
from gatewayd.testing.agent_contract import COLOURS, Act, AgentFailure

ACTS: Sequence[Act] = ("say", "recall", "tool", "two tools", "tool, then die", "ask", "fail", "die", "hang", "late")


class Settings(msgspec.Struct, frozen=True):
    """``agent`` is the other side."""

    agent: "Agent"


class Job:
    """One turn at the agent. It goes on without a core that waits for it."""

    def __init__(self) -> None:
        self.reply: str | None = None
        self.changed = trio.Event()
        self.stopped = trio.Event()


class Agent:
    """The other side: what it was told, what it did, and its turns, which outlive every core."""

    def __init__(self, name: str = "reference") -> None:
        self.agent = AgentConfig("assistant", Settings(self))
        self.acts: Mapping[Act, Callable[[str], str]] = {act: partial("{}:{}".format, act) for act in ACTS}
        self.failures: Mapping[AgentFailure, Callable[[], Awaitable[None]]] = {
            "outage": partial(self._fail, TryAgain("the agent is away")),
            "credentials": partial(self._fail, NeedsOperator("the key is wrong")),
        }
        self.error: Exception | None = None
        self.heard: dict[str, list[str]] = {}
        self.jobs: dict[tuple[str, str], Job] = {}
        self.used: list[str] = []
        self.hanging = trio.Event()
        self.hung: Job | None = None

    async def _fail(self, error: Exception) -> None:
        await trio.lowlevel.checkpoint()
        self.error = error

    def tools_used(self) -> Sequence[str]:
        return self.used

    async def wait_hanging(self) -> None:
        await self.hanging.wait()

    async def wait_stopped(self) -> None:
        assert self.hung is not None
        await self.hung.stopped.wait()

    async def release(self) -> None:
        await trio.lowlevel.checkpoint()
        assert self.hung is not None
        self.hung.reply = "it took a while"
        self.hung.changed.set()


class Core:
    """The core. ``_…`` are the places that the faults change."""

    def __init__(self, agent: Agent, services: AgentServices, tasks: trio.Nursery) -> None:
        self._agent = agent
        self._services = services
        self._tasks = tasks

    async def new_session(self, session_key: str) -> str:
        await trio.lowlevel.checkpoint()
        session = f"session-{len(self._agent.heard)}"
        self._agent.heard[session] = []
        return session

    async def run(self, turn: Turn) -> Final:
        await trio.lowlevel.checkpoint()
        if self._agent.error is not None:
            raise self._agent.error
        request = turn.request
        job = self._agent.jobs[request.session_id, request.turn_id] = Job()
        before = list(self._agent.heard[request.session_id])
        self._agent.heard[request.session_id].append(request.text)
        act, _, argument = request.text.partition(":")
        if act == "hang":
            self._agent.hung = job
            self._agent.hanging.set()
            return await self._wait_for(job, turn)
        job.reply = await self._act(act, argument, before, turn)
        return Final(job.reply)

    async def _act(self, act: str, argument: str, before: Sequence[str], turn: Turn) -> str:
        match act:
            case "recall":
                return " | ".join(before)
            case "tool":
                return await self._use_tool(argument, turn)
            case "two tools":
                async with trio.open_nursery() as tools:
                    for tool in argument.split(" | "):
                        tools.start_soon(self._use_tool, tool, turn)
                return "used what I may"
            case "tool, then die":
                await self._use_tool(argument, turn)
                raise self._death(used=True)
            case "ask":
                answer = await turn.question(Question(argument, tuple(map(Option, COLOURS))))
                return ", ".join(answer or ())
            case "fail":
                raise AgentFailed("the model refused")
            case "die":
                await turn.emit(TextDelta("so far"))
                return self._cut_off("so far")
            case "late":
                self._tasks.start_soon(self._services.say_later, turn.request.session_id, argument)
                return "one moment"
        await self._show(argument, turn)
        return argument

    async def _show(self, text: str, turn: Turn) -> None:
        for word in text.split(" "):
            await turn.emit(TextDelta(f"{word} "))

    async def _use_tool(self, tool: str, turn: Turn) -> str:
        request = ToolRequest("shell", msgspec.json.encode({"command": tool}).decode())
        await turn.emit(ToolCall(tool, request.tool, request.input))
        decision = await turn.permission(request)
        if decision.allowed:
            self._agent.used.append(tool)
        await turn.emit(ToolResult(tool, "done" if decision.allowed else decision.outcome, is_error=not decision.allowed))
        return f"{tool}: {decision.outcome}"

    def _death(self, *, used: bool) -> Exception:
        return AgentFailed("the agent died")

    def _cut_off(self, text: str) -> str:
        raise self._death(used=False)

    async def _wait_for(self, job: Job, turn: Turn) -> Final:
        try:
            await job.changed.wait()
        except trio.Cancelled:
            if not turn.goes_on:
                job.stopped.set()
            raise
        assert job.reply is not None
        return Final(job.reply)

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        await trio.lowlevel.checkpoint()
        job = self._agent.jobs.get((session_id, turn_id))
        if job is None:
            return "new"
        if job.stopped.is_set():
            return "lost"
        return "running" if job.reply is None else "ended"

    async def resume(self, turn: Turn) -> Final:
        return await self._wait_for_reply(self._agent.jobs[turn.request.session_id, turn.request.turn_id], turn)

    async def _wait_for_reply(self, job: Job, turn: Turn) -> Final:
        return await self._wait_for(job, turn) if job.reply is None else Final(job.reply)

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        await trio.lowlevel.checkpoint()
        if (job := self._agent.jobs.get((session_id, turn_id))) is not None:
            job.stopped.set()

    def facts(self) -> CoreFacts:
        return CoreFacts(version="1", sessions=len(self._agent.heard))


@asynccontextmanager
async def open_core(agent: AgentConfig, services: AgentServices, core: type[Core] = Core) -> AsyncIterator[Core]:
    assert isinstance(agent.settings, Settings)
    async with trio.open_nursery() as tasks:
        yield core(agent.settings.agent, services, tasks)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def an_agent(directory: Path) -> AsyncIterator[Agent]:
    await trio.lowlevel.checkpoint()
    yield Agent()
