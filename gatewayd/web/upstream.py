"""What an agent's server says of its requests and sessions, as far as the proxy has to know before it passes something on."""

import hashlib
from collections.abc import Mapping
from typing import Final, TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import Raw, Struct, field

from gatewayd.kit import json
from gatewayd.kit.http import exchange
from gatewayd.model.approval import ToolRequest
from gatewayd.model.errors import GatewayError
from gatewayd.ports.agent import Surface
from gatewayd.web.refusal import Refusal

SECONDS: Final = 20.0
MOST_BYTES: Final = 2 * 1024 * 1024
"""Of one answer. All of it is decoded at once, and small entries take much more memory than bytes."""
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


class _CallRef(Struct, frozen=True):
    """OpenCode's name of the tool call that asks."""

    message_id: str = field(name="messageID")
    call_id: str = field(name="callID")


class _State(Struct, frozen=True):
    input: dict[str, object] = {}


class _Part(Struct, frozen=True):
    call_id: str | None = field(default=None, name="callID")
    tool: str = ""
    state: _State | None = None


class _Message(Struct, frozen=True):
    parts: list[_Part]


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
                entry = json.decode(raw, _Entry)
            except json.Malformed:
                continue  # of a newer release; if it is the one, it is as good as gone for us
            if entry.id == request_id:
                call = await self._call(entry)
                whole = call is not None or entry.permission is None
                return Listed(entry.session, _asked(entry, call), whole)
        return None

    async def parent(self, session: str) -> str | None:
        """The session whose sub-agent runs in ``session``. None: there is none, or no such session."""
        found = await self._get(f"/session/{session}", _Session)
        return None if found is None else found.parent

    async def directory(self) -> str | None:
        """Where the server works unless it is told otherwise."""
        found = await self._get("/path", _Path, query="")
        return None if found is None else found.directory

    async def _call(self, entry: _Entry) -> _Part | None:
        """The tool call that asks, with the whole input. None: there is none, or the server does not show it now."""
        if entry.session is None or entry.permission is None:
            return None
        try:
            ref = json.decode(entry.tool, _CallRef)
            path = f"/session/{quote(entry.session, safe='')}/message/{quote(ref.message_id, safe='')}"
            message = await self._get(path, _Message)
        except (json.Malformed, Refusal):
            return None
        parts = () if message is None else message.parts
        return next((part for part in parts if part.call_id == ref.call_id and part.state and part.state.input), None)

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
            return json.decode(reply.body, kind)
        except json.Malformed:
            raise Refusal("bad_gateway", "the agent's server answers with something that is not of its protocol") from None


def _asked(entry: _Entry, call: _Part | None) -> ToolRequest:
    """For the record, and for the rules: which tool, and all that it gets, in the form in which OpenCode's core shows it
    (agents/opencode/opencode_requests.py), so that one rule fits both."""
    shown: object
    if entry.permission is not None:
        tool = entry.permission
        found = _plain(entry.metadata)
        metadata = found if isinstance(found, dict) else {}
        patterns = _plain(entry.patterns)
        shown = {**metadata, "patterns": patterns} if call is None else _shown(tool, call, patterns, metadata)
    else:
        shown = _plain(entry.input)
        named = _plain(entry.tool)
        tool = named if isinstance(named, str) else "unknown"
    try:
        text = msgspec.json.encode(shown, order="sorted").decode()
    except (ValueError, RecursionError):
        raise Refusal("bad_gateway", "the request cannot be recorded, so it is not answered here") from None
    if len(text) > _LONGEST_INPUT:
        raise Refusal("bad_gateway", "the request is too long to be recorded, so it is not answered here")
    return ToolRequest(tool[:200], text, entry.id)


def _shown(permission: str, call: _Part, patterns: object, metadata: Mapping[str, object]) -> Mapping[str, object]:
    given: Mapping[str, object] = call.state.input if call.state is not None else {}
    shown = {**given, **{key: value for key, value in metadata.items() if key in given}}
    return shown if permission in (call.tool, "edit") else {"patterns": patterns, "tool": call.tool, "input": shown}


def _plain(raw: Raw) -> object:
    try:
        return json.decode(raw, object)
    except json.Malformed:
        return None
