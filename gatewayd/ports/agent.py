"""The socket for agent cores: whatever runs agents.

A core pushes events into the turn instead of being an async generator: a generator that is suspended inside its own task
group cannot be cancelled cleanly, and a turn is cancelled often (time-out, /stop, drain).
"""

from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Literal, Protocol

from msgspec import Struct

from gatewayd.model.approval import Decision, ToolRequest
from gatewayd.model.envelope import Attachment, Peer, Sender

if TYPE_CHECKING:
    import httpx2
    from structlog.typing import FilteringBoundLogger


class TurnRequest(Struct, frozen=True):
    """One run of an agent. ``turn_id`` is the same when the turn is run again after a crash; ``attempt`` counts from 1.

    ``prompt`` is the rendered text (header, messages); ``text`` is what the user wrote, alone.
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


TurnEvent = TextDelta | ToolCall | ToolResult


class Final(Struct, frozen=True):
    """The reply, as markdown. Only this leaves to a chat. Empty text: the agent chose to say nothing."""

    text: str


class Turn(Protocol):
    """The turn as the core sees it."""

    @property
    def request(self) -> TurnRequest: ...

    async def emit(self, event: TurnEvent) -> None:
        """Show progress. Never blocks for long, never raises."""

    async def permission(self, request: ToolRequest) -> Decision:
        """The only door to the approval desk. Waits for the operator; the answer can be used once."""

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """The bytes of an attachment of this turn, from its platform.

        :raises AgentFailed: it is too large or gone, or the channel has no files. :raises TryAgain: an outage.
        """


TurnState = Literal["unknown", "running", "ended"]


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

    async def turn_state(self, session_id: str, turn_id: str) -> TurnState:
        """After a restart: does that turn still run, has it ended, or is it not known (then it is run again)?"""

    async def resume(self, turn: Turn) -> Final:
        """Take up a turn for which ``turn_state`` said running or ended. Raises as ``run`` does."""


class AgentConfig(Struct, frozen=True):
    """One agent: its name and its core's decoded settings."""

    agent_id: str
    settings: Struct


class AgentKit(Protocol):
    """What the hub hands to a core."""

    @property
    def http(self) -> "httpx2.AsyncClient": ...

    @property
    def log(self) -> "FilteringBoundLogger": ...

    def now(self) -> float: ...


class AgentOpener(Protocol):
    def __call__(self, agent: AgentConfig, kit: AgentKit, /) -> AbstractAsyncContextManager[AgentCore]: ...


class AgentPlugin(Struct, frozen=True):
    """The manifest of a kind of core. ``settings`` and ``open`` are named as ``module:attribute``, imported on use."""

    id: str
    label: str
    settings: str
    open: str
