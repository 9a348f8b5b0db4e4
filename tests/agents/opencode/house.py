"""A core on a fake server, and a turn whose people are the test."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

import httpx2
import structlog
import trio

from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.agents.opencode.opener import open_opencode
from gatewayd.agents.opencode.settings import OpencodeSettings
from gatewayd.model.message.envelope import Attachment, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import AgentConfig, AgentServices, Notice, TextDelta, ToolCall, ToolResult, TurnEvent, TurnRequest
from tests.fakes.opencode_server import FakeOpenAgentic, FakeOpenCode

Fake = FakeOpenCode | FakeOpenAgentic
KEY = "agent:main:dm:7"
ALLOWED = Decision("allowed", by="operator:me")


class DictState:
    """State that outlives a core; ``saved`` is called after each write."""

    def __init__(self) -> None:
        self.values: dict[str, str] = {}
        self.saved: Callable[[str], Awaitable[None]] | None = None

    async def load(self, key: str) -> str | None:
        return self.values.get(key)

    async def save(self, key: str, value: str) -> None:
        self.values[key] = value
        if self.saved is not None:
            await self.saved(key)

    async def forget(self, key: str) -> None:
        self.values.pop(key, None)


class _Waiting:
    """One thing that is asked of people."""

    def __init__(self, what: Any) -> None:
        self.what = what
        self.done = trio.Event()
        self.answer: Any = None

    def end(self, answer: Any) -> None:
        self.answer = answer
        self.done.set()


class FakeTurn:
    """``requests`` and ``questions`` are what was asked so far; ``decide`` and ``reply`` answer them, by their number.
    As the hub does it, what was decided once under a ref is given again."""

    def __init__(
        self, session_id: str, text: str, *, turn_id: str = "turn-1", decided: dict[str, Decision] | None = None
    ) -> None:
        peer, sender = Peer("dm", "7"), Sender("7")
        self.request = TurnRequest(turn_id, 1, "a", KEY, session_id, "chat", "main", peer, sender, text, text)
        self.goes_on = True
        self.events: list[TurnEvent] = []
        self.decided = {} if decided is None else decided
        self.withdrawn: list[str] = []
        self._requests: list[_Waiting] = []
        self._questions: list[_Waiting] = []
        self._changed = trio.Event()

    @property
    def requests(self) -> list[ToolRequest]:
        return [waiting.what for waiting in self._requests]

    @property
    def questions(self) -> list[Question]:
        return [waiting.what for waiting in self._questions]

    @property
    def text(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    @property
    def notices(self) -> list[str]:
        return [event.text for event in self.events if isinstance(event, Notice)]

    @property
    def steps(self) -> list[ToolCall | ToolResult]:
        return [event for event in self.events if isinstance(event, ToolCall | ToolResult)]

    async def wait_requests(self, number: int = 1) -> list[ToolRequest]:
        while len(self._requests) < number:
            await self._changed.wait()
        return self.requests

    async def wait_questions(self, number: int = 1) -> list[Question]:
        while len(self._questions) < number:
            await self._changed.wait()
        return self.questions

    async def wait_event(self, condition: Callable[["FakeTurn"], bool]) -> None:
        while not condition(self):
            await self._changed.wait()

    def decide(self, number: int, decision: Decision) -> None:
        self._requests[number].end(decision)

    def reply(self, number: int, answer: tuple[str, ...] | None) -> None:
        self._questions[number].end(answer)

    async def emit(self, event: TurnEvent) -> None:
        self.events.append(event)
        self._tell_change()
        await trio.lowlevel.checkpoint()

    async def permission(self, request: ToolRequest) -> Decision:
        if request.ref in self.decided:
            return self.decided[request.ref]
        decision: Decision = await self._ask(self._requests, request)
        if request.ref is not None:
            self.decided[request.ref] = decision
        return decision

    async def question(self, question: Question) -> tuple[str, ...] | None:
        return cast(tuple[str, ...] | None, await self._ask(self._questions, question))

    async def withdraw(self, ref: str, *, why: str) -> None:
        self.withdrawn.append(ref)
        for waiting in self._requests:
            if waiting.what.ref == ref and not waiting.done.is_set():
                waiting.end(Decision("withdrawn", note=why))
        for waiting in self._questions:
            if waiting.what.ref == ref and not waiting.done.is_set():
                waiting.end(None)
        self._tell_change()

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        raise AssertionError("not asked for")

    async def _ask(self, waiting: list[_Waiting], what: Any) -> Any:
        entry = _Waiting(what)
        waiting.append(entry)
        self._tell_change()
        await entry.done.wait()
        return entry.answer

    def _tell_change(self) -> None:
        self._changed.set()
        self._changed = trio.Event()


class Services:
    def __init__(self, http: Any, kept: DictState, directory: Path) -> None:
        self.http = http
        self.state = kept
        self.directory = directory
        self.log = structlog.get_logger("test")

    def now(self) -> float:
        return 1_800_000_000.0


@asynccontextmanager
async def open_core(server: Fake | None, kept: DictState | None = None, **settings: Any) -> AsyncIterator[OpencodeCore]:
    """The core, remote on the fake unless the settings say otherwise."""
    directory = settings.pop("state", Path("/nowhere"))
    if server is not None:
        settings = {"url": server.url, **settings}
    # As kit/http.py's, but without the system's certificates, which take a tenth of a second to read.
    async with httpx2.AsyncClient(verify=False, trust_env=False) as http:
        services = cast(AgentServices, Services(http, kept or DictState(), directory))
        async with open_opencode(AgentConfig("a", OpencodeSettings(**settings)), services) as core:
            assert isinstance(core, OpencodeCore)
            yield core
