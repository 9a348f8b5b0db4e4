"""OpenCode's dialect (opencode 1.18, its v1 endpoint: the paths without /api).

A run writes a user message, then one assistant message for each step; their ids sort in time. States and requests are kept per
directory. Sub-agents run in sessions of their own; their requests belong to the parent session's run.
"""

from collections import OrderedDict
from collections.abc import Sequence

import msgspec
from msgspec import Raw, Struct

from gatewayd.agents.opencode.opencode_server.messages import DELTA, Message, MessageProgress, fold, newer
from gatewayd.agents.opencode.opencode_server.permissions import Permissions
from gatewayd.agents.opencode.opencode_server.requests import Entry, to_questions
from gatewayd.agents.opencode.server.client import MESSAGES_MAX, Client, NoSuchSession, NotFoundOnServer
from gatewayd.agents.opencode.server.dialect import (
    LOOKED_AT_MAX,
    Dialect,
    ListedRequest,
    PendingRequest,
    PermissionRequest,
    PollSnapshot,
    ServerSession,
    SessionInfo,
)
from gatewayd.agents.opencode.server.progress import History, StreamEvent
from gatewayd.agents.opencode.server.wire import TooLarge, decode
from gatewayd.model.lifecycle import Outcome
from gatewayd.model.records.approval import Decision

_PAGE = 50
_SMALL_PAGES = (10, 1)
_LARGE_PAGE = 1000
"""Numbers of newest messages in one request: mostly the first is enough."""
_REMEMBERED = 1000
_DEPTH_MAX = 10

_WAKES_POLL = ("permission.", "question.", "session.status", "session.idle", "session.error")

_WHY_NOT: dict[Outcome, str] = {
    "denied": "An operator has looked at this request and denied it. Do not try it again in another way.",
    "expired": "Nobody answered this request in time, so it was not run. It was not denied: say that it needs a permission.",
    "withdrawn": "This request was withdrawn before anybody answered it, and it was not run.",
    "undeliverable": "This request could not be shown to anybody who may allow it, so it was not run.",
}


_CHANGED = "This request changed after it was shown to an operator, so it was not allowed, and not run. Make it again."


class _Model(Struct):
    providerID: str
    modelID: str


class _TextPart(Struct):
    text: str
    type: str = "text"


class _Prompt(Struct, omit_defaults=True):
    parts: tuple[_TextPart, ...]
    model: _Model | None = None
    agent: str | None = None


class _Reply(Struct, omit_defaults=True):
    reply: str
    message: str | None = None


class _Owner(Struct):
    sessionID: str | None = None


class _Properties(Struct):
    sessionID: str | None = None
    part: _Owner = msgspec.field(default_factory=_Owner)
    info: _Owner = msgspec.field(default_factory=_Owner)


class _Payload(Struct):
    type: str
    properties: Raw = Raw(b"{}")


class _Streamed(Struct):
    payload: _Payload


class OpenCode(Dialect):
    """``model`` (PROVIDER/MODEL) and ``agent`` go with every prompt: a bad one would stick to the session."""

    stream_path = "/global/event"
    heartbeat_seconds = 10.0
    one_run_at_a_time = False
    begins_late = True
    denial_ends_others = True

    def __init__(self, client: Client, *, model: str | None = None, agent: str | None = None) -> None:
        super().__init__(client)
        provider, _, name = (model or "").partition("/")
        self._model = _Model(provider, name) if model is not None else None
        self._agent = agent
        self._parents: OrderedDict[str, str | None] = OrderedDict()
        self._permissions = Permissions(client)

    def read(self, data: str) -> StreamEvent | None:
        payload = decode(data, _Streamed, what="event").payload
        if payload.type == DELTA:
            payload = decode(data, _Streamed, what="event", keep_halves=True).payload
        if not payload.type.startswith(("message.", "session.", "permission.", "question.")):
            return None
        owner = decode(payload.properties, _Properties, what="event")
        session_id = owner.sessionID or owner.part.sessionID or owner.info.sessionID
        return StreamEvent(payload.type, session_id, payload.properties, wakes_poll=payload.type.startswith(_WAKES_POLL))

    def progress(self) -> MessageProgress:
        return MessageProgress()

    async def session(self, session_id: str) -> ServerSession:
        info = await self._session(session_id)
        return ServerSession(info.id, info.directory)

    async def mark(self, session: ServerSession) -> str:
        messages = await self._messages(session, 1)
        return messages[-1].info.id if messages else ""

    async def prompt(self, session: ServerSession, text: str) -> None:
        body = _Prompt((_TextPart(text),), self._model, self._agent)
        path = f"/session/{session.id}/prompt_async"
        try:
            await self._client.call("POST", path, what="prompt", body=body, directory=session.directory, repeatable=False)
        except NotFoundOnServer:
            raise NoSuchSession from None

    async def history(self, session: ServerSession, mark: str) -> History:
        return fold(newer(await self._newest(session, mark), mark))

    async def requests(self, session: ServerSession, mark: str, snapshot: PollSnapshot) -> Sequence[PendingRequest]:
        found: list[PendingRequest] = []
        for item in (*snapshot.permissions, *snapshot.questions):
            if len(found) == LOOKED_AT_MAX:
                break
            if not await self._is_live(item, session, mark, snapshot):
                continue
            found.append(await self._permissions.show(item, session) if item in snapshot.permissions else to_questions(item))
        return found

    async def decide(self, session: ServerSession, request: PermissionRequest, decision: Decision) -> bool:
        """Never ``always``: it would hold for everybody. Never ``reject`` without a message: it would end the run.

        What was shown is what is allowed: the request is read again right before, and refused if it has changed.
        """
        path, what = f"/permission/{request.id}/reply", "the answer to a request"
        if not decision.allowed:
            return await self._respond(session, path, what, _Reply("reject", _why_not(decision)))
        same = await self._permissions.is_as_shown(request, session)
        if same:
            return await self._respond(session, path, what, _Reply("once"))
        if same is not None:
            await self._respond(session, path, what, _Reply("reject", _CHANGED))
        return False

    def answer_value(self, labels: Sequence[str]) -> list[str]:
        return list(labels)

    async def tidy(self, session: ServerSession) -> None:
        """The requests of an aborted run stay in the list for ever. An answer removes them, and has no other effect."""
        snapshot = await self.poll(session.directory, 0.0)
        for pending in snapshot.permissions:
            if await self._root(pending.session_id) == session.id:
                path = f"/permission/{pending.id}/reply"
                await self._respond(session, path, "the answer to a request", _Reply("reject", _WHY_NOT["withdrawn"]))
        for pending in snapshot.questions:
            if await self._root(pending.session_id) == session.id:
                await self._respond(session, f"/question/{pending.id}/reject", "the dismissal of a question")

    async def _newest(self, session: ServerSession, mark: str) -> list[Message]:
        """The messages since the mark. If they are too large for one answer, only the newest, which tell how the run ended.

        :raises TooLarge: one message alone is too large.
        """
        try:
            messages = await self._messages(session, _PAGE)
        except TooLarge:
            return await self._few(session)
        if len(messages) < _PAGE or any(message.info.id == mark for message in messages):
            return messages
        try:
            return await self._messages(session, _LARGE_PAGE)
        except TooLarge:
            return messages

    async def _few(self, session: ServerSession) -> list[Message]:
        *sizes, last = _SMALL_PAGES
        for size in sizes:
            try:
                return await self._messages(session, size)
            except TooLarge:
                continue
        return await self._messages(session, last)

    async def _messages(self, session: ServerSession, newest: int) -> list[Message]:
        path = f"/session/{session.id}/message?limit={newest}"
        try:
            return await self._client.ask(
                path, list[Message], what="messages", directory=session.directory, at_most_bytes=MESSAGES_MAX
            )
        except NotFoundOnServer:
            raise NoSuchSession from None

    async def _session(self, session_id: str) -> SessionInfo:
        """To an id that does not begin with ``ses`` the server answers 500."""
        if not session_id.startswith("ses") or not session_id.isascii() or not session_id.replace("_", "").isalnum():
            raise NoSuchSession
        try:
            return await self._client.ask(f"/session/{session_id}", SessionInfo, what="session")
        except NotFoundOnServer:
            raise NoSuchSession from None

    async def _is_live(self, pending: ListedRequest, session: ServerSession, mark: str, snapshot: PollSnapshot) -> bool:
        """Whether the request belongs to this session, or to one of its sub-agents, and to the run since the mark: requests of
        an aborted run stay listed."""
        if snapshot.state(pending.session_id).kind == "idle" or await self._root(pending.session_id) != session.id:
            return False
        entry = decode(pending.body, Entry, what="request")
        return pending.session_id != session.id or entry.tool is None or entry.tool.messageID > mark

    async def _root(self, session_id: str | None) -> str | None:
        """The topmost parent session of a sub-agent's session."""
        for _ in range(_DEPTH_MAX):
            if session_id is None:
                return None
            if session_id not in self._parents:
                self._parents[session_id] = await self._parent(session_id)
                if len(self._parents) > _REMEMBERED:
                    self._parents.popitem(last=False)
            parent = self._parents[session_id]
            if parent is None:
                return session_id
            session_id = parent
        return None

    async def _parent(self, session_id: str) -> str | None:
        try:
            return (await self._session(session_id)).parentID
        except NoSuchSession:
            return None


def _why_not(decision: Decision) -> str:
    """For the model: which of the four refusals it is."""
    words = _WHY_NOT[decision.outcome]
    return f"{words} They say: {decision.note}" if decision.note else words
