"""An agent in memory, on the fake clock: it answers what opens a core, and to a prompt it writes what its script says."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import anyio
import anyio.abc
import msgspec
from anyio.streams.memory import MemoryObjectReceiveStream

from gatewayd.agents.acp.core import AcpCore
from gatewayd.agents.acp.opener import open_core
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.kit.process import ChildProcess
from gatewayd.ports.agent import AgentServices

PROMPT = 3
"""The id of the first prompt of a core: initialize is 1, session/new is 2."""

Step = bytes | float | None
"""Bytes that it writes, seconds for which it says nothing, or its end."""


def line(**message: object) -> bytes:
    return msgspec.json.encode({"jsonrpc": "2.0", **message}) + b"\n"


def said(text: str, session: str = "s1", **fields: object) -> bytes:
    """A chunk of text."""
    update = {"sessionUpdate": "agent_message_chunk", "content": {"type": "text", "text": text}, **fields}
    return line(method="session/update", params={"sessionId": session, "update": update})


def used_tool(session: str = "s1") -> bytes:
    update = {"sessionUpdate": "tool_call", "toolCallId": "c1", "kind": "execute", "status": "in_progress"}
    return line(method="session/update", params={"sessionId": session, "update": update})


def ended(number: int = PROMPT, reason: object = "end_turn") -> bytes:
    return line(id=number, result={"stopReason": reason})


class _Stdout:
    """The reading end of a pipe."""

    def __init__(self, pieces: MemoryObjectReceiveStream[bytes]) -> None:
        self.pieces = pieces

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        return await self.pieces.receive()


class ScriptedAgent:
    """Looks like its process. ``scripts`` are what it writes for one prompt after the other; ``heard`` is what it was sent.

    ``initialized`` replaces its answer to initialize; ``stops``: a session/cancel ends the script of its session, and then it
    writes ``behind_stop``.
    """

    def __init__(
        self,
        *scripts: Sequence[Step],
        initialized: bytes = b"",
        stops: bool = True,
        loads: bool = False,
        behind_stop: Sequence[Step] = (),
    ) -> None:
        self._scripts = list(scripts)
        result = {"protocolVersion": 1, "agentCapabilities": {"loadSession": loads}}
        self._initialized = initialized or line(id=1, result=result)
        self._stops = stops
        self._behind_stop = behind_stop
        self.behind_load = b""
        self._sessions = 0
        self._running: dict[str, tuple[int, anyio.CancelScope]] = {}
        self._to_write, written = anyio.create_memory_object_stream[bytes](1000)
        self.stdout = _Stdout(written)
        self._tasks: anyio.abc.TaskGroup | None = None
        self.stdin = self
        self.heard: list[dict[str, Any]] = []
        self.noted: list[str] = []
        self.pid = 7
        self.output = ()
        self.exit_summary = "it ended"
        self.has_ended = anyio.Event()

    def note(self, text: str) -> None:
        self.noted.append(text)

    async def wait(self) -> int:
        await self.has_ended.wait()
        return 0

    def die(self) -> None:
        self._to_write.close()
        self.has_ended.set()

    def write(self, data: bytes) -> None:
        self._to_write.send_nowait(data)

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        with self._to_write, self.stdout.pieces:
            async with anyio.create_task_group() as self._tasks:
                yield
                self._tasks.cancel_scope.cancel()

    async def send(self, item: bytes) -> None:
        """What it is sent."""
        await anyio.lowlevel.checkpoint()
        message = msgspec.json.decode(item)
        self.heard.append(message)
        params = message.get("params", {})
        match message.get("method"):
            case "initialize":
                self.write(self._initialized)
            case "session/new":
                self._sessions += 1
                self.write(line(id=message["id"], result={"sessionId": f"s{self._sessions}"}))
            case "session/load":
                self.write(line(id=message["id"], result={}) + self.behind_load)
            case "session/prompt":
                assert self._tasks is not None
                self._tasks.start_soon(self._perform, message["id"], params["sessionId"])
            case "session/cancel":
                if self._stops and (running := self._running.pop(params["sessionId"], None)):
                    running[1].cancel()
                    self.write(ended(running[0], "cancelled"))
                    assert self._tasks is not None
                    self._tasks.start_soon(self._play, self._behind_stop)

    async def aclose(self) -> None: ...

    async def _perform(self, number: int, session: str) -> None:
        with anyio.CancelScope() as scope:
            self._running[session] = number, scope
            await self._play(self._scripts.pop(0))

    async def _play(self, script: Sequence[Step]) -> None:
        for step in script:
            if isinstance(step, float):
                await anyio.sleep(step)
            elif step is None:
                self.die()
            else:
                self.write(step)


@asynccontextmanager
async def open_scripted(agent: ScriptedAgent, services: object, **settings: Any) -> AsyncIterator[AcpCore]:
    made = AcpSettings(command=("scripted",), **settings)
    async with agent.run(), open_core(cast(ChildProcess, agent), made, cast(AgentServices, services), Path("/nowhere")) as core:
        yield core
