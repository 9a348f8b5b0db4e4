"""The language of a server: requests, states and histories as structs, and the requests that both servers take alike.

OpenAgentic has OpenCode's paths, but neither its bodies nor its events nor its semantics. All that differs is in two subclasses
of ``Dialect``.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Final, Literal

from msgspec import Raw, Struct

from gatewayd.agents.opencode.server.client import Client, NotFoundOnServer
from gatewayd.agents.opencode.server.progress import History, Progress, StreamEvent
from gatewayd.agents.opencode.server.wire import Id, Malformed, decode
from gatewayd.model.records.approval import Decision
from gatewayd.model.records.question import Question

LOOKED_AT_MAX: Final = 128
"""So many requests of one run are handled at once; more have to wait until these are answered."""


class ServerSession(Struct, frozen=True):
    """``directory`` has the session's requests on the server (OpenCode: one list per directory); None: one list for all."""

    id: str
    directory: str | None = None


class State(Struct, frozen=True):
    """The state of a session. ``reason`` of ``retry``: why the model's provider is tried again."""

    kind: Literal["idle", "busy", "retry"] = "idle"
    reason: str = ""


class ListedRequest(Struct, frozen=True):
    """A pending request in the server's list. ``body`` is the whole entry."""

    id: str
    session_id: str | None
    body: Raw


class PollSnapshot(Struct, frozen=True):
    """One poll of the server: the states of sessions, and all pending requests.

    ``polled_at`` is the time of the poll on Trio's clock: later changes may be missing.
    """

    polled_at: float
    states: Mapping[str, State]
    permissions: tuple[ListedRequest, ...] = ()
    questions: tuple[ListedRequest, ...] = ()

    def state(self, session_id: str | None) -> State:
        return self.states.get(session_id or "", State())


class PermissionRequest(Struct, frozen=True):
    """A tool call that waits for permission. ``ref`` is unique for ever, ``id`` is the server's; ``input`` is canonical JSON.

    ``fingerprint`` is all that the server says of the request, to compare it later. ``whole``: see ``ToolRequest``.
    """

    ref: str
    id: str
    session_id: str
    tool: str
    input: str
    fingerprint: str = ""
    whole: bool = True

    @property
    def refs(self) -> tuple[str, ...]:
        """The refs to withdraw with it."""
        return (self.ref,)


class QuestionsRequest(Struct, frozen=True):
    """One or more questions that are answered together, each with a ref of its own. ``give_up_seconds``: so long the questions
    may be open before they are dismissed; later the server's run would die."""

    ref: str
    id: str
    session_id: str
    questions: tuple[Question, ...]
    give_up_seconds: float | None = None

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(question.ref for question in self.questions if question.ref is not None)


PendingRequest = PermissionRequest | QuestionsRequest


class _NewSession(Struct):
    title: str


class SessionInfo(Struct):
    id: Id
    directory: str | None = None
    parentID: Id | None = None


class _Answers(Struct):
    answers: list[object]


class _ListedId(Struct):
    id: Id
    sessionID: Id | None = None


class _Status(Struct):
    type: str
    message: str = ""


class Dialect(ABC):
    """One server's language: here the requests that both servers take, in the subclasses all that differs.

    Every method that asks the server raises as ``Client.call`` does, and Malformed for an answer that makes no sense.
    """

    stream_path: str
    heartbeat_seconds: float
    """How often the stream sends an event, even if nothing happens."""
    one_run_at_a_time: bool
    """The server cannot tell apart the requests of two runs."""
    begins_late: bool
    """A session may be idle for a while after the server took a prompt and stored it."""
    denial_ends_others: bool
    """A denial of one request denies all others of its session."""

    def __init__(self, client: Client) -> None:
        self._client = client

    @abstractmethod
    def read(self, data: str) -> StreamEvent | None:
        """One event of the stream; None for an event that does not concern us."""

    @abstractmethod
    def progress(self) -> Progress: ...

    async def create(self, title: str, directory: str | None) -> ServerSession:
        raw = await self._client.call("POST", "/session", what="new session", body=_NewSession(title), directory=directory)
        info = decode(raw, SessionInfo, what="new session")
        return ServerSession(info.id, info.directory)

    @abstractmethod
    async def session(self, session_id: str) -> ServerSession:
        """:raises NoSuchSession: the server does not know it."""

    @abstractmethod
    async def mark(self, session: ServerSession) -> str:
        """The end of the stored session: everything after it belongs to the next run."""

    @abstractmethod
    async def prompt(self, session: ServerSession, text: str) -> None:
        """:raises TryAgain: surely not sent. :raises OutcomeUnknown: perhaps begun."""

    @abstractmethod
    async def history(self, session: ServerSession, mark: str) -> History: ...

    async def poll(self, directory: str | None, polled_at: float) -> PollSnapshot:
        """The states last: a pending request belongs to a session that is busy, unless it is a stale one."""
        permissions = await self._listed("permission", directory)
        questions = await self._listed("question", directory)
        states = await self._client.ask("/session/status", dict[str, _Status], what="states", directory=directory)
        return PollSnapshot(polled_at, {key: _state(status) for key, status in states.items()}, permissions, questions)

    @abstractmethod
    async def requests(self, session: ServerSession, mark: str, snapshot: PollSnapshot) -> Sequence[PendingRequest]:
        """The requests in the snapshot that belong to the run in this session that began after the mark."""

    @abstractmethod
    async def decide(self, session: ServerSession, request: PermissionRequest, decision: Decision) -> bool:
        """Deliver a decision. False: the request is gone, or has changed since it was shown; nothing was allowed.

        :raises TryAgain: perhaps not delivered; delivering it again does no harm.
        """

    async def answer(self, session: ServerSession, request: QuestionsRequest, answers: Sequence[Sequence[str]] | None) -> bool:
        """Deliver answers, one list of labels for each question; None: dismissed. As ``decide``."""
        if answers is None:
            return await self._respond(session, f"/question/{request.id}/reject", "the dismissal of a question")
        body = _Answers([self.answer_value(labels) for labels in answers])
        return await self._respond(session, f"/question/{request.id}/reply", "the answer to a question", body)

    @abstractmethod
    def answer_value(self, labels: Sequence[str]) -> object:
        """The answer to one question as the server takes it in JSON."""

    async def abort(self, session: ServerSession, requests: Sequence[PendingRequest]) -> None:
        """Stop the run; ``requests`` are its pending ones. Returns at once; the run may go on for a while."""
        await self._client.call("POST", f"/session/{session.id}/abort", what="abort", directory=session.directory)

    async def tidy(self, session: ServerSession) -> None:  # noqa: B027  one of the two leaves nothing behind
        """After the end of an aborted run: remove its stale requests."""

    async def _listed(self, kind: Literal["permission", "question"], directory: str | None) -> tuple[ListedRequest, ...]:
        entries = await self._client.ask(f"/{kind}", list[Raw], what=f"{kind}s", directory=directory)
        return tuple(listed_requests(entries))

    async def _respond(self, session: ServerSession, path: str, what: str, body: Struct | None = None) -> bool:
        """False: the server does not know the request any more."""
        try:
            await self._client.call("POST", path, what=what, body=body, directory=session.directory)
        except NotFoundOnServer:
            return False
        return True


def listed_requests(entries: Sequence[Raw]) -> Iterator[ListedRequest]:
    """The entries of a server's list. One without an id is skipped."""
    for raw in entries:
        with suppress(Malformed):
            entry = decode(raw, _ListedId, what="request")
            yield ListedRequest(entry.id, entry.sessionID, raw)


def _state(status: _Status) -> State:
    match status.type:
        case "idle":
            return State()
        case "retry":
            return State("retry", status.message)
    return State("busy")
