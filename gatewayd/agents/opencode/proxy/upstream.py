"""What an agent's server says of its requests and sessions, as far as the proxy has to know it before it passes something on."""

from collections.abc import Mapping
from typing import Final, TypeVar

import httpx2
from msgspec import Raw, Struct, field

from gatewayd.agents.opencode.openagentic_server import requests as openagentic_requests
from gatewayd.agents.opencode.opencode_server.permissions import Called, read_permission
from gatewayd.agents.opencode.server.endpoint import ServerEndpoint
from gatewayd.agents.opencode.server.wire import Malformed, check_values, decode
from gatewayd.kit.http import exchange
from gatewayd.model.errors import GatewayError
from gatewayd.model.records.approval import ToolRequest
from gatewayd.ports.proxy import ProxyError

SECONDS: Final = 20.0
MOST_BYTES: Final = 2 * 1024 * 1024
"""Of one answer. All of it is decoded at once, and small entries take much more memory than bytes."""
DEEPEST: Final = 16
"""How many sub-agents below one another are followed up to the session that a person talks to."""
_SERVER: Final = "the agent's server"

T = TypeVar("T")


class ListedPermission(Struct, frozen=True):
    """A permission that waits. ``session`` None: the server does not tell (OpenAgentic)."""

    session: str | None
    request: ToolRequest


class Entry(Struct, frozen=True):
    """What both servers' entries have in common. OpenCode's names its session, OpenAgentic's does not."""

    id: str
    session: str | None = field(default=None, name="sessionID")


class _Session(Struct, frozen=True):
    parent: str | None = field(default=None, name="parentID")


class _Path(Struct, frozen=True):
    directory: str | None = None


class Upstream:
    """Asks one server. ``query`` and ``headers`` are the client's: OpenCode keeps its lists per directory.

    Every method raises ProxyError (bad_gateway) when the server does not answer, or answers nonsense.
    """

    def __init__(self, http: httpx2.AsyncClient, endpoint: ServerEndpoint, query: bytes, headers: Mapping[str, str]) -> None:
        self._http = http
        self._endpoint = endpoint
        self._query = query.decode("ascii")
        self._headers = headers

    async def find_permission(self, request_id: str) -> ListedPermission | None:
        """The permission with this id that waits at the server now, as a turn would ask for it."""
        if (found := await self._find("/permission", request_id)) is None:
            return None
        entry, raw = found
        try:
            if entry.session is None:
                permission = openagentic_requests.read_permission(raw)
                return ListedPermission(None, ToolRequest(permission.tool, permission.given, permission.id))
            request = await read_permission(raw, self._message)
        except Malformed:
            return None  # of a newer release: as good as gone for us
        return ListedPermission(entry.session, ToolRequest(request.tool, request.input, request.ref, whole=request.whole))

    async def find_question(self, request_id: str) -> Entry | None:
        """The question with this id that waits at the server now."""
        found = await self._find("/question", request_id)
        return None if found is None else found[0]

    async def parent(self, session: str) -> str | None:
        """The session whose sub-agent runs in ``session``. None: there is none, or no such session."""
        found = await self._get(f"/session/{session}", _Session)
        return None if found is None else found.parent

    async def directory(self) -> str | None:
        """Where the server works unless it is told otherwise."""
        found = await self._get("/path", _Path, query="")
        return None if found is None else found.directory

    async def _find(self, path: str, request_id: str) -> tuple[Entry, Raw] | None:
        for raw in await self._get(path, list[Raw]) or ():
            try:
                entry = decode(raw, Entry, what="request")
            except Malformed:
                continue
            if entry.id == request_id:
                return entry, raw
        return None

    async def _message(self, path: str) -> Called | None:
        try:
            return await self._get(path, Called)
        except ProxyError:
            return None

    async def _get(self, path: str, kind: type[T], *, query: str | None = None) -> T | None:
        """None where the server says that there is nothing."""
        query = self._query if query is None else query
        url = self._endpoint.url.rstrip("/") + path + (f"?{query}" if query else "")
        try:
            reply = await exchange(
                self._http,
                "GET",
                url,
                what=_SERVER,
                timeout_seconds=SECONDS,
                at_most_bytes=MOST_BYTES,
                repeatable=True,
                headers={**self._headers, **self._endpoint.headers},
            )
            if reply.status == 404:
                return None
            if reply.status != 200:
                raise ProxyError("bad_gateway", f"{_SERVER} answers {reply.status}")
            check_values(reply.body, what=_SERVER)
            return decode(reply.body, kind, what=_SERVER)
        except Malformed:
            raise ProxyError("bad_gateway", f"{_SERVER} answers with something that is not of its protocol") from None
        except GatewayError as error:
            raise ProxyError("bad_gateway", error.reason) from None
