"""One session with the core, without a hub, and servers that behave as a test says."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import structlog
import trio

from gatewayd.agents.chat_completions.core import ChatCompletionsCore, open_chat_completions
from gatewayd.agents.chat_completions.settings import ChatCompletionsSettings
from gatewayd.kit.http import create_client
from gatewayd.model.message.envelope import Attachment, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import AgentConfig, TextDelta, TurnEvent, TurnRequest
from tests.agents.chat_completions.state import StateInMemory
from tests.fakes.model_server import MODEL
from tests.hub.house import House, ScriptedAgents, echo, open_house

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n"
HELLO = b'data: {"choices":[{"index":0,"delta":{"content":"Hello"}}]}\n\n'


Behaviour = Callable[[trio.SocketStream, bytes], Awaitable[None]]
"""Gets the connection and the request's body."""


class OneTurn:
    """A turn without a hub: what the core emits is kept."""

    goes_on = False

    def __init__(self, text: str, turn_id: str, session_id: str) -> None:
        peer, sender = Peer("dm", "7"), Sender("7")
        self.request = TurnRequest(turn_id, 1, "assistant", "key", session_id, "chat", "main", peer, sender, text, text)
        self.events: list[TurnEvent] = []

    @property
    def shown(self) -> str:
        return "".join(event.text for event in self.events if isinstance(event, TextDelta))

    async def emit(self, event: TurnEvent) -> None:
        self.events.append(event)

    async def permission(self, request: ToolRequest) -> Decision:
        raise AssertionError("a model without tools asks for nothing")

    async def question(self, question: Question) -> tuple[str, ...] | None:
        raise AssertionError("a model without tools asks nothing")

    async def withdraw(self, ref: str, *, why: str) -> None:
        raise AssertionError("nothing was asked")

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        raise AssertionError("there are no attachments")


class Services:
    directory = Path("/nowhere")
    log = structlog.get_logger("test")

    def __init__(self, http: httpx2.AsyncClient, state: StateInMemory) -> None:
        self.http = http
        self.state = state
        self.said_later: list[str] = []
        self.house: House | None = None

    def now(self) -> float:
        return 0.0

    async def say_later(self, session_id: str, text: str) -> None:
        self.said_later.append(text)
        if self.house is not None:
            await self.house.late.say("assistant", session_id, text)


class Chat:
    """A core with one session."""

    def __init__(self, core: ChatCompletionsCore, services: Services, session: str) -> None:
        self.core = core
        self.services = services
        self.state = services.state
        self.said_later = services.said_later
        self.session = session
        self.turns = 0

    def turn(self, text: str) -> OneTurn:
        self.turns += 1
        return OneTurn(text, f"turn-{self.turns}", self.session)

    async def say(self, text: str) -> str:
        return (await self.core.run(self.turn(text))).text


@asynccontextmanager
async def chat_with(
    url: str, *, state: StateInMemory | None = None, http: httpx2.AsyncClient | None = None, **changes: Any
) -> AsyncIterator[Chat]:
    state = state or StateInMemory()
    settings = ChatCompletionsSettings(**{"url": url, "model": MODEL, **changes})
    async with http or create_client() as client:
        services = Services(client, state)
        async with open_chat_completions(AgentConfig("a", settings), services) as core:
            assert isinstance(core, ChatCompletionsCore)
            yield Chat(core, services, await core.new_session("key"))


async def read_request(stream: trio.SocketStream) -> bytes:
    """Its body. To its end: closing with something unread would reset the connection."""
    request = b""
    while b"\r\n\r\n" not in request or not request.endswith(b"}"):
        data = await stream.receive_some(65536)
        if not data:
            raise trio.BrokenResourceError
        request += data
    return request.partition(b"\r\n\r\n")[2]


@asynccontextmanager
async def serving(behave: Behaviour) -> AsyncIterator[str]:
    """The URL of a server that lets ``behave`` answer each request; the connection ends with it."""

    async def handle(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError):
            await behave(stream, await read_request(stream))

    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, handle, [listener])
        yield f"http://127.0.0.1:{listener.socket.getsockname()[1]}/v1"
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def server(behave: Callable[[trio.SocketStream], Awaitable[None]]) -> AsyncIterator[str]:
    """As ``serving``, whatever the request is."""
    async with serving(lambda stream, body: behave(stream)) as url:
        yield url


class OneCore(ScriptedAgents):
    """An agent pool whose agent is the real core."""

    def __init__(self) -> None:
        super().__init__(echo)
        self.real: ChatCompletionsCore | None = None

    async def core(self, agent_id: str) -> ChatCompletionsCore:  # type: ignore[override]
        assert self.real is not None
        return self.real


@asynccontextmanager
async def house_with(directory: Path, behave: Behaviour, **changes: Any) -> AsyncIterator[House]:
    """The hub, and behind it the core and a server that behaves so at each request."""
    agents = OneCore()
    async with (
        serving(behave) as url,
        chat_with(url, **changes) as chat,
        open_house(directory, agents=agents) as chat.services.house,
    ):
        agents.real = chat.core
        yield chat.services.house
