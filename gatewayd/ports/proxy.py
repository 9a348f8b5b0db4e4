"""The port for proxies: HTTP routes with which an operator's client reaches the server behind an agent core.

A kind of core offers a proxy in its manifest (``AgentPlugin.proxy``). The HTTP front mounts the routes, authorizes the client,
chooses the agent and forwards requests. The proxy knows the server's protocol: which requests may be forwarded, and which are
answered here.
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
    """A client's request. ``headers`` has those of ``AgentProxy.request_headers``; ``body`` is JSON, or empty."""

    method: str
    query: bytes
    headers: Mapping[str, str]
    body: bytes = b""


class Timeouts(Struct, frozen=True):
    """Time limits in seconds: for the head of a response, for the whole of it, and between two pieces of it."""

    head: float
    whole: float
    silence: float


class Forward(Struct, frozen=True):
    """A request to the server at ``url``. ``target`` is path and query, sent byte for byte; ``headers`` hold credentials."""

    url: str
    target: bytes
    headers: Mapping[str, str]
    body: bytes
    timeouts: Timeouts


class ProxyReply(Struct, frozen=True):
    """A response of the proxy itself. ``body`` is JSON."""

    body: bytes
    status: int = 200


class ProxyDesk(Protocol):
    """The hub, as one client may use it for one agent. The client's name stands in all of its decisions."""

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
        """The open cores of all agents that run turns now, by agent name."""

    def find_permission(self, ref: str) -> str | None:
        """The id of the pending approval that the agent's core knows by ``ref``."""

    async def find_same_permission(self, request: ToolRequest) -> str | None:
        """The id of a pending approval of the agent's for exactly this tool and input."""

    async def decide(self, approval_id: str, *, allow: bool, note: str | None) -> bool:
        """Answer a pending approval. False: it is not pending any more."""

    async def record(
        self, request: ToolRequest, *, allow: bool, session: str, note: str | None = None, name: str | None = None
    ) -> bool:
        """Record the client's decision on a request of the server, before it is forwarded. False: the same request was denied
        before.

        ``session`` is the core's. ``name`` is a name that no other request ever has: only with it an earlier answer is found.

        :raises ProxyError: the agent's policy denies it, or wants more people than one; or it was answered too often.
        """

    def find_question(self, ref: str) -> str | None:
        """The id of the open question that the agent's core knows by ``ref``."""

    async def answer(self, question_id: str, answers: tuple[str, ...] | None) -> bool:
        """Answer an open question; None: dismiss it. False: it is not open any more."""

    async def note_write(self, method: str, path: str, *, size: int | None = None) -> None:
        """Write a forwarded request to the audit log. ``size`` is that of the body, in bytes."""


class Operation(Protocol):
    """A request with a path that the proxy knows."""

    @property
    def admin(self) -> bool:
        """Whether it needs the scope ``admin``."""

    async def decide(self, request: ProxyRequest, desk: ProxyDesk) -> Forward | ProxyReply:
        """Forward the request, or reply to it. :raises ProxyError: neither is possible."""


@runtime_checkable
class AgentProxy(Protocol):
    """The proxy of a kind of core: one object for all of its agents."""

    @property
    def protocol(self) -> str:
        """The name of the server's protocol, for people."""

    @property
    def routes(self) -> Mapping[str, Sequence[str]]:
        """The rules of the paths (as Werkzeug's), each with its methods."""

    @property
    def request_headers(self) -> Sequence[str]:
        """The headers for ``ProxyRequest.headers``."""

    @property
    def reply_headers(self) -> Sequence[str]:
        """The server's headers that the client gets, in lower case."""

    def find(self, method: str, raw_path: bytes) -> Operation:
        """:raises ProxyError: no request is forwarded at this path, or it can be read in two ways."""

    def check_reply(self, status: int, content_type: str) -> None:
        """:raises ProxyError: the server's response is not of its protocol."""
