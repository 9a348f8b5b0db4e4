"""What the tests stand in for: the hub's services and its turns. The agent is a real process. Real time throughout."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import structlog

from gatewayd.actor.supervisor import Verdict, classify_failure
from gatewayd.agents.acp.core import AcpCore
from gatewayd.agents.acp.opener import open_acp
from gatewayd.agents.acp.settings import AcpSettings
from gatewayd.model.errors import GatewayError, NeedsOperator, StoreRefused
from gatewayd.model.message.envelope import Attachment, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import AgentConfig, Final, TextDelta, TurnEvent, TurnRequest
from tests.fakes.acp_agent import command

if TYPE_CHECKING:
    import httpx2

FAILS_AFTER = 30.0
"""Seconds. Nothing here takes one; a machine may be busy."""

Answer = Callable[[ToolRequest], Awaitable[Decision]]
Setting = float | str | dict[str, str]


class StateInMemory:
    """Outlives a core, as the store does."""

    def __init__(self) -> None:
        self.rows: dict[str, str] = {}
        self.refuses = False

    async def load(self, key: str) -> str | None:
        return self.rows.get(key)

    async def save(self, key: str, value: str) -> None:
        if self.refuses:
            raise StoreRefused("the disk is full")
        self.rows[key] = value

    async def forget(self, key: str) -> None:
        self.rows.pop(key, None)


class Services:
    """An agent's services. ``work`` is where the agent works."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "work"
        self.state = StateInMemory()
        self.log = structlog.get_logger("test")
        self.later: list[tuple[str, str]] = []

    @property
    def http(self) -> "httpx2.AsyncClient":
        raise AssertionError("nothing here uses HTTP")

    def now(self) -> float:
        return 0.0

    async def say_later(self, session_id: str, text: str) -> None:
        self.later.append((session_id, text))


async def allow(request: ToolRequest) -> Decision:
    return Decision("allowed", by="operator:test")


async def deny(request: ToolRequest) -> Decision:
    return Decision("denied", by="operator:test", note="not today")


async def never(request: ToolRequest) -> Decision:
    await anyio.sleep_forever()
    raise AssertionError


class FakeTurn:
    """A turn that records. ``answer`` is the operator; ``asked`` fires with the first request for a permission."""

    def __init__(self, session_id: str, text: str, answer: Answer = allow, *, turn_id: str = "turn-1") -> None:
        self.request = TurnRequest(
            turn_id=turn_id,
            attempt=1,
            agent_id="mine",
            session_key="key",
            session_id=session_id,
            channel="chat",
            account="main",
            peer=Peer("dm", "1"),
            sender=Sender("1"),
            prompt=text,
            text=text,
        )
        self._answer = answer
        self.events: list[TurnEvent] = []
        self.requests: list[ToolRequest] = []
        self.asked = anyio.Event()
        self.spoken = anyio.Event()

    @property
    def goes_on(self) -> bool:
        return False

    async def emit(self, event: TurnEvent) -> None:
        self.events.append(event)
        if isinstance(event, TextDelta):
            self.spoken.set()

    async def permission(self, request: ToolRequest) -> Decision:
        self.requests.append(request)
        self.asked.set()
        return await self._answer(request)

    async def question(self, question: Question) -> tuple[str, ...] | None:
        raise AssertionError("an ACP agent asks no questions")

    async def withdraw(self, ref: str, *, why: str) -> None:
        raise AssertionError("a request of an ACP agent has no ref")

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        raise AssertionError("nothing is fetched")

    @property
    def streamed(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))


@asynccontextmanager
async def open_core(services: Services, *options: str, **settings: Setting) -> AsyncIterator[AcpCore]:
    """A core over the fake agent, started with these options."""
    made = AcpSettings(command=tuple(command(*options)), **settings)  # type: ignore[arg-type]
    async with open_acp(AgentConfig("mine", made), services) as core:
        assert isinstance(core, AcpCore)
        yield core


@asynccontextmanager
async def open_doomed(services: Services, *options: str, **settings: Setting) -> AsyncIterator[tuple[AcpCore, list[Verdict]]]:
    """As ``open_core``. When the body is done it waits until the core ends by itself, and what the supervisor would make of
    that is then in the list."""
    verdicts: list[Verdict] = []
    done = False
    try:
        async with open_core(services, *options, **settings) as core:
            yield core, verdicts
            done = True
            await anyio.sleep_forever()
    except ExceptionGroup as error:
        if not done:
            raise
        verdicts.append(classify_failure(error))


async def judge_opening(services: Services, *options: str, **settings: Setting) -> Verdict:
    """What the supervisor makes of a core that does not open."""
    try:
        async with open_core(services, *options, **settings):
            raise AssertionError("it is open")
    except (ExceptionGroup, NeedsOperator) as error:
        return classify_failure(error)


def run_soon(group: anyio.abc.TaskGroup, core: AcpCore, turn: FakeTurn) -> list[Final | GatewayError]:
    """Run a turn beside the test. What came of it is in the list when it is over."""
    outcomes: list[Final | GatewayError] = []

    async def run() -> None:
        try:
            outcomes.append(await core.run(turn))
        except GatewayError as error:
            outcomes.append(error)

    group.start_soon(run)
    return outcomes
