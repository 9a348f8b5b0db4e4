"""The port for agent cores, which run agents.

A core pushes events into the turn. It is no async generator: a generator that is suspended inside its own task group cannot be
cancelled cleanly, and a turn is cancelled often (time-out, /stop, drain).
"""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

from msgspec import Struct

from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.earlier import Earlier
from gatewayd.model.message.envelope import Attachment, InboundEnvelope, Peer, Sender
from gatewayd.model.records.approval import Decision, ToolRequest
from gatewayd.model.records.question import Question
from gatewayd.ports.store import State

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger


class TurnRequest(Struct, frozen=True):
    """One run of an agent. ``turn_id`` is the same when the turn is run again after a crash; ``attempt`` counts from 1.

    ``prompt`` has all messages as one text, each with its header (docs/reference/prompt.md). ``text`` is the user's text alone.
    ``messages`` are the same as data, in order, with their edits. ``sender`` is that of the last message. ``earlier`` is what was
    said in the thread before its session began, for the first turn of a session; None: it could not be read.
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
    earlier: tuple[Earlier, ...] | None = ()

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
    """One sentence for the user while the turn goes on, e.g. that the model's provider is tried again. A few per turn are shown,
    the same text once."""

    text: str


TurnEvent = TextDelta | ToolCall | ToolResult | Notice


class Final(Struct, frozen=True):
    """The reply, as markdown. Only this leaves to a chat. Empty text: the agent chose not to answer.

    ``cut`` is the reason, for the operator, why the end of the reply may be missing. A sentence under the reply tells the user.
    """

    text: str
    cut: str | None = None


class Turn(Protocol):
    """The turn, as a core uses it."""

    @property
    def request(self) -> TurnRequest: ...

    @property
    def goes_on(self) -> bool:
        """For a core that is being cancelled. True: the daemon stops, so a run that can go on without it goes on, and is resumed
        at the next start. False: the turn was stopped or timed out, so its run is aborted."""

    async def emit(self, event: TurnEvent) -> None:
        """Show progress. It never blocks for long, and never raises."""

    async def permission(self, request: ToolRequest) -> Decision:
        """Ask for approval, and wait for the operator. The decision counts once.

        Several requests may be open at once; the operator sees all of them. Cancelling withdraws nothing: see ``withdraw``.
        """

    async def question(self, question: Question) -> tuple[str, ...] | None:
        """Ask the user in the chat, and wait. The next message or button press is the answer: labels, or free text.

        None: the user dismissed it, or nobody answered in time. One question at a time per turn; others wait.
        """

    async def withdraw(self, ref: str, *, why: str) -> None:
        """The request with this ``ref`` is void: it was answered elsewhere, or the core gave it up. A ``permission`` that waits
        for it returns ``withdrawn``, a ``question`` None."""

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """The bytes of an attachment of this turn, from its platform.

        :raises AgentFailed: it is too large or gone, or the channel has no files. :raises TryAgain: an outage.
        """


CoreTurnState = Literal["new", "running", "ended", "lost"]
"""The state of a turn at its core. ``new``: surely never begun. ``lost``: it has, perhaps, begun, and is gone; the agent's
``on_lost_turn`` decides."""


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
        """The state of a turn after a restart. :raises TryAgain: it cannot be known now."""

    async def resume(self, turn: Turn) -> Final:
        """Follow a turn whose ``turn_state`` is running or ended, with its pending permissions and questions. Raises as ``run``
        does."""


@runtime_checkable
class StopsTurns(Protocol):
    """A core whose turns may go on without the daemon, over its restart."""

    async def stop_turn(self, session_id: str, turn_id: str) -> None:
        """End a turn that this process neither runs nor resumes. Nothing happens if it has ended, or has never begun.

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
        had no turn, its account is not configured any more, or there is too much.
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
