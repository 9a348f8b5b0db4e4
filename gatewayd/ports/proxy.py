"""The socket for proxies: HTTP routes by which an operator's client reaches the server behind an agent core.

A kind of core offers one in its manifest (``AgentPlugin.proxy``). The HTTP front mounts the routes, looks who asks, chooses the
agent and passes requests on; the proxy knows the server's protocol: what may be passed on, and what is answered here.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal, Protocol, runtime_checkable

from msgspec import Struct

from gatewayd.model.records.approval import ToolRequest
from gatewayd.ports.agent import AgentCore

if TYPE_CHECKING:
    import httpx2

AGENT_PARAMETER: Final = "agent"
"""The query parameter that names the agent. It is the front's: no proxy passes it on."""


class ProxyError(Exception):
    """The request is answered with this error. ``message`` is shown to the client."""

    def __init__(self, code: Literal["bad_request", "forbidden", "not_found", "conflict", "bad_gateway"], message: str) -> None:
        super().__init__(message)
        self.code: Literal["bad_request", "forbidden", "not_found", "conflict", "bad_gateway"] = code
        self.message = message


class ProxyRequest(Struct, frozen=True):
    """What a client sent. ``headers`` are those that the proxy wants to see; ``body`` is JSON, or empty."""

    method: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes = b""


class Timeouts(Struct, frozen=True):
    """Seconds: until the head of an answer is there, until all of it is, and between two pieces of it."""

    head: float
    whole: float
    silence: float


class Forward(Struct, frozen=True):
    """What is sent to the server at ``url``. ``target`` is path and query, sent byte for byte; ``headers`` hold credentials."""

    url: str
    target: bytes
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts


class Reply(Struct, frozen=True):
    """What is answered here. ``body`` is JSON."""

    body: bytes
    status: int = 200


class ProxyDesk(Protocol):
    """The hub, as one client may use it for one agent. What the client decides is signed with its name."""

    @property
    def agent(self) -> str: ...

    @property
    def core(self) -> AgentCore:
        """The agent's open core."""

    @property
    def is_admin(self) -> bool:
        """Whether the client may see and do everything."""

    @property
    def http(self) -> "httpx2.AsyncClient": ...

    def busy(self) -> Mapping[str, AgentCore]:
        """The open cores of all agents that run turns now, by the agents' names."""

    def find_permission(self, ref: str) -> str | None:
        """The id of the pending approval that the agent's core knows by ``ref``."""

    async def find_same_permission(self, request: ToolRequest) -> str | None:
        """The id of a pending approval of the agent's for exactly this tool and input."""

    async def decide(self, approval_id: str, *, allow: bool, note: str | None) -> bool:
        """Answer a pending approval. False: it is not pending any more."""

    async def record(
        self, request: ToolRequest, *, allow: bool, session: str, note: str | None = None, name: str | None = None
    ) -> bool:
        """Keep what the client decides at the server itself, before it is passed on. False: the very same was denied before.

        ``session`` is the core's. ``name`` is a name that no other request ever has: only by it an earlier answer is known.

        :raises ProxyError: the agent's policy denies it, or wants more people than one; or it was answered too often.
        """

    def find_question(self, ref: str) -> str | None:
        """The id of the open question that the agent's core knows by ``ref``."""

    async def answer(self, question_id: str, answers: tuple[str, ...] | None) -> bool:
        """Answer an open question; None: dismiss it. False: it is not open any more."""

    async def note_write(self, method: str, path: str, *, size: int | None = None) -> None:
        """Audit what is passed on. ``size`` is that of the body, in bytes."""


class Operation(Protocol):
    """A request whose path the proxy knows."""

    @property
    def admin(self) -> bool:
        """Only for a client that may do everything."""

    async def decide(self, request: ProxyRequest, desk: ProxyDesk) -> Forward | Reply:
        """What becomes of the request. :raises ProxyError: neither is possible."""


@runtime_checkable
class AgentProxy(Protocol):
    """What a kind of core offers. One object, for all agents of the kind."""

    @property
    def protocol(self) -> str:
        """The name of the server's protocol, for people."""

    @property
    def routes(self) -> Mapping[str, Sequence[str]]:
        """The rules of the paths (as Werkzeug's), each with its methods."""

    @property
    def request_headers(self) -> Sequence[str]:
        """What ``ProxyRequest.headers`` is to hold."""

    @property
    def reply_headers(self) -> Sequence[str]:
        """The server's headers that the client gets, in lower case."""

    def find(self, method: str, raw_path: bytes) -> Operation:
        """:raises ProxyError: nothing is passed on at this path, or it can be read in two ways."""

    def check_reply(self, status: int, content_type: str) -> None:
        """:raises ProxyError: what the server answered with is not of its protocol."""
