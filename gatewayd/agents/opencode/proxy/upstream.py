"""The proxy's questions to an agent's server, before it forwards a request: pending requests, sessions, the directory."""

from collections.abc import Mapping
from typing import Final, TypeVar

import httpx2
from msgspec import Raw, Struct, field

from gatewayd.agents.opencode.openagentic_server.log import PendingPermission
from gatewayd.agents.opencode.opencode_server.permissions import Called, read_permission
from gatewayd.agents.opencode.server.client import Client, NotFoundOnServer
from gatewayd.agents.opencode.server.dialect import ListedRequest, listed_requests
from gatewayd.agents.opencode.server.endpoint import ServerEndpoint
from gatewayd.agents.opencode.server.wire import Malformed, canonical, decode
from gatewayd.model.errors import GatewayError
from gatewayd.model.records.approval import ToolRequest
from gatewayd.ports.proxy import ProxyError

MOST_BYTES: Final = 2 * 1024 * 1024
"""Of one answer. All of it is decoded at once, and small entries take much more memory than bytes."""
DEEPEST: Final = 16
"""How many sub-agents below one another are followed up to the session that a person talks to."""

T = TypeVar("T")


class ListedPermission(Struct, frozen=True):
    """A pending permission. ``session_id`` None: the server does not name it (OpenAgentic)."""

    session_id: str | None
    request: ToolRequest


class _Session(Struct, frozen=True):
    parent: str | None = field(default=None, name="parentID")


class _Path(Struct, frozen=True):
    directory: str | None = None


class Upstream:
    """Asks one server. ``query`` and ``headers`` are the client's: OpenCode keeps its lists per directory.

    Every method raises ProxyError (bad_gateway) when the server does not answer, or does not answer as its protocol says.
    """

    def __init__(self, http: httpx2.AsyncClient, endpoint: ServerEndpoint, query: bytes, headers: Mapping[str, str]) -> None:
        self._client = Client(http, endpoint.url, {**headers, **endpoint.headers})
        self._query = query.decode("ascii")

    async def find_permission(self, request_id: str) -> ListedPermission | None:
        """The pending permission with this id, as a turn would ask for it."""
        if (listed := await self._find("/permission", request_id)) is None:
            return None
        try:
            if listed.session_id is None:
                pending = decode(listed.body, PendingPermission, what="permission")
                return ListedPermission(None, ToolRequest(pending.tool, canonical(pending.input), pending.id))
            request = await read_permission(listed.body, self._message)
        except Malformed:
            return None  # of a newer release: as good as gone for us
        return ListedPermission(listed.session_id, ToolRequest(request.tool, request.input, request.ref, whole=request.whole))

    async def find_question(self, request_id: str) -> ListedRequest | None:
        """The pending question with this id."""
        return await self._find("/question", request_id)

    async def parent(self, session: str) -> str | None:
        """The session whose sub-agent runs in ``session``. None: there is none, or no such session."""
        found = await self._get(f"/session/{session}", _Session)
        return None if found is None else found.parent

    async def directory(self) -> str | None:
        """The directory in which the server works by default."""
        found = await self._get("/path", _Path, query="")
        return None if found is None else found.directory

    async def _find(self, path: str, request_id: str) -> ListedRequest | None:
        entries = await self._get(path, list[Raw]) or ()
        return next((listed for listed in listed_requests(entries) if listed.id == request_id), None)

    async def _message(self, path: str) -> Called | None:
        try:
            return await self._get(path, Called)
        except ProxyError:
            return None

    async def _get(self, path: str, kind: type[T], *, query: str | None = None) -> T | None:
        """None: the server answers 404."""
        query = self._query if query is None else query
        target = f"{path}?{query}" if query else path
        try:
            return await self._client.ask(target, kind, what=f"GET {path}", at_most_bytes=MOST_BYTES)
        except NotFoundOnServer:
            return None
        except GatewayError as error:
            raise ProxyError("bad_gateway", f"the agent's server: {error.reason}") from None
