"""What the two servers have in common once their words are translated: the structs, and the protocol of a dialect.

OpenAgentic has OpenCode's paths, but neither its bodies nor its events nor its semantics. Everything that differs is behind
``Dialect``; nothing here does I/O.
"""

from collections.abc import Mapping, Sequence
from typing import Final, Literal, Protocol

from msgspec import Raw, Struct

from gatewayd.model.errors import FailureKind
from gatewayd.model.records.approval import Decision
from gatewayd.model.records.question import Question
from gatewayd.ports.agent import TurnEvent

LOOKED_AT_MAX: Final = 128
"""Requests of one run that are looked at at once; more have to wait until these are answered."""


class Session(Struct, frozen=True):
    """``directory`` is where its requests are kept on the server (OpenCode: one list per directory), None where there is one."""

    id: str
    directory: str | None = None


class StreamEvent(Struct, frozen=True):
    """One event of the server's stream. ``session_id`` None: of no session; ``body`` is decoded by whom it concerns.

    ``wakes_poll``: what the server can be asked (states, requests) may have changed.
    """

    kind: str
    session_id: str | None = None
    body: Raw = Raw()
    wakes_poll: bool = False


class State(Struct, frozen=True):
    """What a session does now. ``reason`` is why the model's provider is tried again."""

    kind: Literal["idle", "busy", "retry"] = "idle"
    reason: str = ""


class ListedRequest(Struct, frozen=True):
    """A request of the server's, as it lists it. ``body`` is the whole entry."""

    id: str
    session_id: str | None
    body: Raw


class PollSnapshot(Struct, frozen=True):
    """What the server said at one moment: the states of sessions, and all requests that wait for an answer.

    ``polled_at`` is when it was asked, on Trio's clock: what happened since may be missing.
    """

    polled_at: float
    states: Mapping[str, State]
    permissions: tuple[ListedRequest, ...] = ()
    questions: tuple[ListedRequest, ...] = ()

    def state(self, session_id: str) -> State:
        return self.states.get(session_id, State())


class PermissionRequest(Struct, frozen=True):
    """A tool that waits for a yes. ``ref`` is unique for ever; ``id`` is what the server calls it; ``input`` canonical JSON.

    ``fingerprint`` is all that the server says of it, so that it can be told later whether it is still the same. ``whole``: see
    ``ToolRequest``.
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
        """What has to be withdrawn when it is void."""
        return (self.ref,)


class QuestionsRequest(Struct, frozen=True):
    """One or more questions that are answered together, each with a ref of its own. ``give_up_seconds``: the server's run dies
    when it waits longer."""

    ref: str
    id: str
    session_id: str
    questions: tuple[Question, ...]
    give_up_seconds: float | None = None

    @property
    def refs(self) -> tuple[str, ...]:
        return tuple(question.ref for question in self.questions if question.ref is not None)


PendingRequest = PermissionRequest | QuestionsRequest


class Step(Struct, frozen=True):
    """A tool call of the run. ``output`` None: it has not ended. ``input`` is JSON text."""

    call_id: str
    tool: str
    input: str
    output: str | None = None
    is_error: bool = False


class Answered(Struct, frozen=True):
    text: str


class Failed(Struct, frozen=True):
    """``reason`` is one bounded line for the operator. ``withheld``: nothing that was said is an answer."""

    reason: str
    kind: FailureKind = "failed"
    withheld: bool = False


class Aborted(Struct, frozen=True):
    """Somebody stopped it: it has no result, and is no failure of the model."""


class Unfinished(Struct, frozen=True):
    """Begun, and the server has not said that it ended. ``reason`` is what is known of why, should it turn out to be over.
    ``refused``: if it is over, it is because a request was refused; then ``text`` is what was said before."""

    reason: str = ""
    refused: bool = False
    text: str = ""


Outcome = Answered | Failed | Aborted | Unfinished


class History(Struct, frozen=True):
    """What the server has stored of the run that began after a mark. ``outcome`` None: nothing was begun since.

    ``messages`` counts the model's messages; ``finishes`` are the ids of those messages and how each ended, where they have ids.
    ``last_text`` is the model's last text, if no tool call came after it: a text before a tool call mostly announces that call.
    """

    outcome: Outcome | None = None
    steps: tuple[Step, ...] = ()
    messages: int = 0
    finishes: Mapping[str, str | None] = {}
    last_text: str = ""


def answered(text: str, steps: Sequence[Step]) -> Answered | Failed:
    """The run ended properly. One that did something may say nothing more; else its user is told."""
    if text.strip() or steps:
        return Answered(text)
    return Failed("the agent ended its turn without a word", kind="empty", withheld=True)


class Progress(Protocol):
    """What one run has shown so far: turns events into news for the user, each thing once."""

    @property
    def messages(self) -> int:
        """How many the model wrote."""

    @property
    def cut(self) -> int:
        """How many answers in a row were cut off in the middle."""

    @property
    def last_text(self) -> str:
        """As ``History.last_text``, of what was streamed: servers do not store an answer that has no end."""

    @property
    def failure(self) -> str | None:
        """What the server said went wrong, since the run began."""

    def note(self, event: StreamEvent) -> Sequence[TurnEvent]: ...

    def catch_up(self, history: History) -> Sequence[TurnEvent]:
        """After events may have been missed."""


class Dialect(Protocol):
    """One server's language. Every method that asks the server raises as ``Client.call`` does, and Malformed for an answer
    that makes no sense."""

    stream_path: str
    heartbeat_seconds: float
    """How often the stream says something, even if nothing happens."""
    one_run_at_a_time: bool
    """The server cannot tell apart requests of two runs."""
    begins_late: bool
    """A session may be idle for a while after the server took a prompt and stored it."""
    denial_ends_others: bool
    """A no to one request is a no to all others of its session."""

    def read(self, data: str) -> StreamEvent | None:
        """One event of the stream; None for what does not concern us."""

    def progress(self, session: Session) -> Progress: ...

    async def create(self, title: str, directory: str | None) -> Session: ...

    async def session(self, session_id: str) -> Session:
        """:raises NoSuchSession: the server does not know it."""

    async def mark(self, session: Session) -> str:
        """The end of what is stored now: what comes after it belongs to the next run."""

    async def prompt(self, session: Session, text: str) -> None:
        """:raises TryAgain: surely not sent. :raises OutcomeUnknown: perhaps begun."""

    async def history(self, session: Session, mark: str) -> History: ...

    async def poll(self, directory: str | None, polled_at: float) -> PollSnapshot: ...

    async def requests(self, session: Session, mark: str, snapshot: PollSnapshot) -> Sequence[PendingRequest]:
        """The requests on the snapshot that belong to the run in this session that began after the mark."""

    async def decide(self, session: Session, request: PermissionRequest, decision: Decision) -> bool:
        """Hand over a decision. False: the request is gone, or is not any more what was shown, and nothing was allowed.

        :raises TryAgain: it was perhaps not heard; saying it again does no harm.
        """

    async def answer(self, session: Session, request: QuestionsRequest, answers: Sequence[Sequence[str]] | None) -> bool:
        """Hand over answers, one list of labels per question; None: dismissed. As ``decide``."""

    async def abort(self, session: Session, requests: Sequence[PendingRequest]) -> None:
        """Stop the run; ``requests`` is what it waits for. Returns at once, it may run on for a while."""

    async def tidy(self, session: Session) -> None:
        """After the end of an aborted run: remove what it left behind."""
