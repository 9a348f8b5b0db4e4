"""What an agent's server says of its requests and sessions, as far as the proxy has to know before it passes something on."""

import hashlib
from collections.abc import Mapping
from typing import Final, TypeVar

import httpx2
import msgspec
from msgspec import Raw, Struct, field

from gatewayd.kit.http import exchange
from gatewayd.model.approval import ToolRequest
from gatewayd.model.errors import GatewayError
from gatewayd.ports.agent import Surface
from gatewayd.web.refusal import Refusal

SECONDS: Final = 20.0
MOST_BYTES: Final = 16 * 1024 * 1024
DEEPEST: Final = 16
"""How many sub-agents below one another are followed up to the session that a person talks to."""
_LONGEST_INPUT: Final = 100_000

T = TypeVar("T")


class Listed(Struct, frozen=True):
    """A permission or question that waits. ``session`` None: the server does not tell (OpenAgentic). ``whole``: ``asked`` has
    all that the tool gets."""

    session: str | None
    asked: ToolRequest
    whole: bool = True

    @property
    def name(self) -> str | None:
        """Of exactly this request, for ever. None: the server gives an id again (OpenAgentic's ``call_0``)."""
        if self.session is None:
            return None
        said = [self.session, self.asked.ref, self.asked.tool, self.asked.input]
        return hashlib.sha256(msgspec.json.encode(said)).hexdigest()[:32]


class _Entry(Struct, frozen=True):
    """Both servers' entries. OpenCode: ``permission``, ``patterns``, ``metadata``; OpenAgentic: ``tool`` and ``input``."""

    id: str
    session: str | None = field(default=None, name="sessionID")
    permission: str | None = None
    patterns: Raw = Raw(b"[]")
    metadata: Raw = Raw(b"{}")
    tool: Raw = Raw(b"null")
    input: Raw = Raw(b"null")


class _Session(Struct, frozen=True):
    parent: str | None = field(default=None, name="parentID")


class _Path(Struct, frozen=True):
    directory: str | None = None


class Upstream:
    """Asks one server. ``query`` and ``headers`` are the client's: OpenCode keeps its lists per directory.

    Every method raises Refusal (bad_gateway) when the server does not answer, or answers nonsense.
    """

    def __init__(self, http: httpx2.AsyncClient, surface: Surface, query: bytes, headers: Mapping[str, str]) -> None:
        self._http = http
        self._surface = surface
        self._query = query.decode("ascii")
        self._headers = headers

    async def find_request(self, path: str, request_id: str) -> Listed | None:
        """The request with this id that waits at the server now; ``path`` is /permission or /question."""
        for raw in await self._get(path, list[Raw]) or ():
            try:
                entry = msgspec.json.decode(raw, type=_Entry)
            except msgspec.MsgspecError:
                continue  # of a newer release; if it is the one, it is as good as gone for us
            if entry.id == request_id:
                return Listed(entry.session, _asked(entry))
        return None

    async def parent(self, session: str) -> str | None:
        """The session whose sub-agent runs in ``session``. None: there is none, or no such session."""
        found = await self._get(f"/session/{session}", _Session)
        return None if found is None else found.parent

    async def directory(self) -> str | None:
        """Where the server works unless it is told otherwise."""
        found = await self._get("/path", _Path, query="")
        return None if found is None else found.directory

    async def _get(self, path: str, kind: type[T], *, query: str | None = None) -> T | None:
        """None where the server says that there is nothing."""
        asked = self._query if query is None else query
        url = self._surface.url.rstrip("/") + path + (f"?{asked}" if asked else "")
        try:
            reply = await exchange(
                self._http,
                "GET",
                url,
                what="the agent's server",
                timeout_seconds=SECONDS,
                at_most_bytes=MOST_BYTES,
                repeatable=True,
                headers={**self._headers, **self._surface.headers},
            )
        except GatewayError as error:
            raise Refusal("bad_gateway", error.reason) from None
        if reply.status == 404:
            return None
        if reply.status != 200:
            raise Refusal("bad_gateway", f"the agent's server answers {reply.status}")
        try:
            return msgspec.json.decode(reply.body, type=kind)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise Refusal("bad_gateway", "the agent's server answers with something that is not of its protocol") from None


def _asked(entry: _Entry) -> ToolRequest:
    """For the record: which tool, and all that the server says of what it would do."""
    if entry.permission is not None:
        metadata = _plain(entry.metadata)
        # As a core shows it, so that rules fit: a command is "command".
        shown: object = {"patterns": _plain(entry.patterns), **(metadata if isinstance(metadata, dict) else {})}
        tool = entry.permission
    else:
        shown = _plain(entry.input)
        named = _plain(entry.tool)
        tool = named if isinstance(named, str) else "unknown"
    text = msgspec.json.encode(shown, order="sorted").decode()
    if len(text) > _LONGEST_INPUT:
        raise Refusal("bad_gateway", "the request is too long to be recorded, so it is not answered here")
    return ToolRequest(tool[:200], text, entry.id)


def _plain(raw: Raw) -> object:
    try:
        value: object = msgspec.json.decode(raw)
    except (msgspec.MsgspecError, RecursionError):
        return None
    return value
