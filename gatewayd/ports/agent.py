"""The socket for agent cores: whatever runs agents.

A core pushes events into the turn instead of being an async generator: a generator that is suspended inside its own task
group cannot be cancelled cleanly, and a turn is cancelled often (time-out, /stop, drain).
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from msgspec import Struct

from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.store import State

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger


class TurnRequest(Struct, frozen=True):
    """One run of an agent. ``turn_id`` is the same when the turn is run again after a crash; ``attempt`` counts from 1.

    ``prompt`` is the messages as one text, each with its header (docs/reference/prompt.md); ``text`` is what the user wrote,
    alone; ``messages`` are the same as data, in order and with their edits made; ``sender`` wrote the last of them.
    """

    turn_id: str
    attempt: int
    agent_id: str
    session_key: str
    session_id: str
    channel: str
    account: str
    peer: Peer
    sender: Sender
    prompt: str
    text: str
    attachments: tuple[Attachment, ...] = ()
    messages: tuple[InboundEnvelope, ...] = ()

    @property
    def conversation(self) -> ConversationId:
        """Where the messages were written."""
        return ConversationId(AccountId(self.channel, self.account), self.peer)


class TextDelta(Struct, frozen=True, tag="text_delta"):
    text: str


class ToolCall(Struct, frozen=True, tag="tool_call"):
    """``input`` is JSON text."""

    call_id: str
    tool: str
    input: str


class ToolResult(Struct, frozen=True, tag="tool_result"):
    call_id: str
    output: str
    is_error: bool = False


class Notice(Struct, frozen=True, tag="notice"):
    """One sentence for the user while the turn runs on, e.g. that the model's provider is retrying. Shown at most a few times
    per turn; the same text once."""

    text: str


TurnEvent = TextDelta | ToolCall | ToolResult | Notice


class Final(Struct, frozen=True):
    """The reply, as markdown. Only this leaves to a chat. Empty text: the agent chose not to answer.

    ``cut`` says, for the operator, why the end of the reply may be missing; its user is told in a sentence that it may be.
    """

    text: str
    cut: str | None = None


class Turn(Protocol):
    """The turn as the core sees it."""

    @property
    def request(self) -> TurnRequest: ...

    @property
    def goes_on(self) -> bool:
        """Asked by a core that is being cancelled: True when the daemon is leaving. Then what can run without us is left
        running, to be taken up by ``resume``; else (stopped, timed out) it is aborted."""

    async def emit(self, event: TurnEvent) -> None:
        """Show progress. Never blocks for long, never raises."""

    async def permission(self, request: ToolRequest) -> Decision:
        """The only door to the approval desk. Waits for the operator; the answer can be used once.

        Several may be asked at once; the operator sees all of them. Cancelling it withdraws nothing: see ``withdraw``.
        """

    async def question(self, question: Question) -> tuple[str, ...] | None:
        """Ask the user in the chat, and wait: the next message or press is the answer, one label or free text each.

        None: the user dismissed it, or nobody answered in time. One question at a time per turn; others wait.
        """

    async def withdraw(self, ref: str, *, why: str) -> None:
        """The request with this ``ref`` is void (the core was answered elsewhere, or gave it up): a ``permission`` that waits
        under it returns ``withdrawn``, a ``question`` None."""

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """The bytes of an attachment of this turn, from its platform.

        :raises AgentFailed: it is too large or gone, or the channel has no files. :raises TryAgain: an outage.
        """


CoreTurnState = Literal["new", "running", "ended", "lost"]
"""``new``: surely never begun. ``lost``: begun, or perhaps begun, and gone: the agent's ``on_lost_turn`` decides."""


class AgentCore(Protocol):
    """One open core; many turns at once, never two in one session."""

    async def new_session(self, session_key: str) -> str:
        """A new empty session of the core. Returns the core's own id for it."""

    async def run(self, turn: Turn) -> Final:
        """Run one turn to its end. Cancelling aborts it.

        :raises AgentFailed: for good, e.g. the model refused.
        :raises TryAgain: the core cannot be reached; nothing was run.
        :raises NeedsOperator: wrong key, unknown agent.
        """

    async def turn_state(self, session_id: str, turn_id: str) -> CoreTurnState:
        """After a restart: what has become of that turn? :raises TryAgain: not to be known now."""

    async def resume(self, turn: Turn) -> Final:
        """Take up a turn for which ``turn_state`` said running or ended, with the permissions and questions that wait.
        Raises as ``run`` does."""


@runtime_checkable
class StopsTurns(Protocol):
    """A core whose turns may go on without us, over a restart of the daemon."""

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        """End a turn that nobody runs or resumes in this life; nothing happens if it has ended, or was never begun.

        :raises TryAgain: the core cannot be reached.
        """


class CoreFacts(Struct, frozen=True, omit_defaults=True):
    """What a core knows of itself. ``output`` is the end of its process's output, one line each, for the operator only;
    ``sessions`` counts those it has open. ``away_since`` (Unix seconds): what it talks to has not answered since then, because of
    ``away_reason``, and it waits for it."""

    version: str | None = None
    pid: int | None = None
    sessions: int | None = None
    url: str | None = None
    output: tuple[str, ...] = ()
    away_since: float | None = None
    away_reason: str | None = None


@runtime_checkable
class DescribesItself(Protocol):
    def facts(self) -> CoreFacts:
        """No I/O."""


class AgentConfig(Struct, frozen=True):
    """One agent: its name and its core's decoded settings."""

    agent_id: str
    settings: Struct


class AgentServices(Protocol):
    """What the hub hands to a core. ``state`` is this agent's own; ``directory`` is its own place in the state directory,
    absolute and not made yet: a core that needs it makes it, mode 0700."""

    @property
    def http(self) -> "httpx2.AsyncClient": ...

    @property
    def state(self) -> State: ...

    @property
    def directory(self) -> Path: ...

    @property
    def log(self) -> "FilteringBoundLogger": ...

    def now(self) -> float: ...

    async def say_later(self, session_id: str, text: str) -> None:
        """What the agent says in a session in which no turn is under way, or too late for its turn: markdown, for the chat in
        which the session's last turn answered, as a message of its own behind the reply. Returns when that is committed.

        Never raises. What nobody can be shown is in the log, with its first words: the session was replaced (``/new``) or has
        had no turn, its account is configured no more, or there is too much.
        """


class AgentOpener(Protocol):
    def __call__(self, agent: AgentConfig, services: AgentServices, /) -> AbstractAsyncContextManager[AgentCore]: ...


class AgentPlugin(Struct, frozen=True):
    """The manifest of a kind of core. ``settings``, ``open`` and ``proxy`` are named as ``module:attribute``, imported on use.

    ``proxy`` is a ``ports.proxy.AgentProxy``, for cores with a server that operators' clients can attach to.
    """

    id: str
    label: str
    settings: str
    open: str
    proxy: str | None = None
