"""An agent core with a server behind it, for the operator's proxy: the core does as messages say, the server as tests say."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import trio
from msgspec import Struct

from gatewayd.agents.opencode.server.endpoint import ServerEndpoint
from gatewayd.model.errors import TryAgain
from gatewayd.model.records.approval import ToolRequest
from gatewayd.model.records.question import Option, Question
from gatewayd.ports.agent import AgentConfig, AgentCore, AgentPlugin, AgentServices, CoreFacts, CoreTurnState, Final, Turn

PLUGIN = AgentPlugin(
    id="attached",
    label="Attached",
    settings="tests.web.attached:AttachedSettings",
    open="tests.web.attached:open_core",
    proxy="gatewayd.agents.opencode.proxy.routes:PROXY",
)
PASSWORD = "the-password-of-the-core"
SESSION = "ses_ours"


class AttachedSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """``down``: it cannot be opened. ``directory``: where it works on its server. ``alone``: one run at a time."""

    url: str = "http://127.0.0.1:1"
    down: bool = False
    directory: str | None = None
    alone: bool = False


class AttachedCore:
    """A message "ask REF" asks for a permission under that ref, "question REF" a question; anything else is said back."""

    def __init__(self, settings: AttachedSettings) -> None:
        self._settings = settings
        self._turns: dict[str, str] = {}

    async def new_session(self, session_key: str) -> str:
        return SESSION

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        return "new"

    async def run(self, turn: Turn) -> Final:
        self._turns[turn.request.session_id] = turn.request.turn_id
        try:
            verb, _, ref = turn.request.text.partition(" ")
            if verb == "ask":
                decision = await turn.permission(ToolRequest("bash", '{"command":"ls"}', ref))
                return Final(f"{decision.outcome} by {decision.by}, {decision.note}")
            if verb == "question":
                answers = await turn.question(Question("Which colour?", (Option("Red"), Option("Blue")), ref=ref))
                return Final(f"answers: {answers}")
            return Final(turn.request.text)
        finally:
            del self._turns[turn.request.session_id]

    async def resume(self, turn: Turn) -> Final:
        raise AssertionError("no turn of it runs on")

    def facts(self) -> CoreFacts:
        return CoreFacts(version="1.2.3", pid=4711, sessions=1, url=self._settings.url, output=("listening", "a warning"))

    def endpoint(self) -> ServerEndpoint:
        headers = {"Authorization": f"Basic {PASSWORD}"}
        return ServerEndpoint(self._settings.url, headers, self._settings.directory, self._settings.alone)

    def turn_of(self, session_id: str) -> str | None:
        return self._turns.get(session_id)


@asynccontextmanager
async def open_core(agent: AgentConfig, services: AgentServices) -> AsyncIterator[AgentCore]:
    settings = agent.settings
    assert isinstance(settings, AttachedSettings)
    if settings.down:
        raise TryAgain("its server cannot be reached")
    yield AttachedCore(settings)


class Heard(Struct, frozen=True):
    """A request as it arrived. Header names are lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Handler = Callable[[Heard, trio.SocketStream], Awaitable[None]]


def says(value: object, status: int = 200, *headers: str) -> bytes:
    """A JSON answer as bytes."""
    body = json.dumps(value).encode()
    lines = [f"HTTP/1.1 {status} X", "Content-Type: application/json", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


EVENTS = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%s\r\n" % (len(data), data)


class Server:
    """``answers`` by "METHOD /path": the bytes of an answer, or what to do with the connection. One request per connection."""

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Handler] = {}
        self.heard: list[Heard] = []
        self.gone = trio.Event()
        self.url = ""

    async def serve(self, stream: trio.SocketStream) -> None:
        async with stream:
            try:
                heard = await _read(stream)
                if heard is None:
                    return
                self.heard.append(heard)
                answer = self.answers.get(f"{heard.method} {heard.path}", says({"error": "not_found"}, 404))
                if isinstance(answer, bytes):
                    await stream.send_all(answer)
                else:
                    await answer(heard, stream)
            except trio.BrokenResourceError:
                self.gone.set()

    def of(self, line: str) -> list[Heard]:
        """What was asked with this "METHOD /path"."""
        return [heard for heard in self.heard if f"{heard.method} {heard.path}" == line]


async def _read(stream: trio.SocketStream) -> Heard | None:
    data = b""
    while b"\r\n\r\n" not in data:
        part = await stream.receive_some()
        if not part:
            return None
        data += part
    head, _, body = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    method, target, _ = first.split(" ")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    while len(body) < int(headers.get("content-length", "0")):
        body += await stream.receive_some()
    return Heard(method, target, headers, bytes(body))


@asynccontextmanager
async def open_server() -> AsyncIterator[Server]:
    """Listens on a free port of loopback until the block ends; then every connection is cut."""
    server = Server()
    [listener] = await trio.open_tcp_listeners(0, host="127.0.0.1")
    server.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(trio.serve_listeners, server.serve, [listener])
        yield server
        nursery.cancel_scope.cancel()
