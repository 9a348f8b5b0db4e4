"""The progress of one run: its events, what the server has stored of it, and the news for the user. Pure."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence

from msgspec import Raw, Struct

from gatewayd.agents.opencode.server.wire import KNOWN_MAX, TEXT_MAX
from gatewayd.kit.json import Joiner
from gatewayd.model.errors import FailureKind
from gatewayd.ports.agent import ToolCall, ToolResult, TurnEvent


class StreamEvent(Struct, frozen=True):
    """One event of the stream. ``session_id`` None: of no session. ``wakes_poll``: states or requests may have changed."""

    kind: str
    session_id: str | None = None
    body: Raw = Raw()
    wakes_poll: bool = False


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
    """``reason`` is one bounded line for the operator. ``withheld``: no text of the run is an answer."""

    reason: str
    kind: FailureKind = "failed"
    withheld: bool = False


class Aborted(Struct, frozen=True):
    """Somebody stopped the run: it has no result, and is no failure of the model."""


class Unfinished(Struct, frozen=True):
    """The run has begun, and has no stored end. If it is over, ``reason`` says why, as far as known. ``refused``: if it is over,
    a refused request has ended it; then ``text`` is the text before it."""

    reason: str = ""
    refused: bool = False
    text: str = ""


Outcome = Answered | Failed | Aborted | Unfinished


class History(Struct, frozen=True):
    """The stored part of the run that began after a mark. ``outcome`` None: no run has begun since.

    ``messages`` counts the model's messages; ``finishes`` are the ids of those messages and how each ended, where they have ids.
    ``last_text`` is the model's last text, if no tool call came after it: a text before a tool call mostly announces that call.
    """

    outcome: Outcome | None = None
    steps: tuple[Step, ...] = ()
    messages: int = 0
    finishes: Mapping[str, str | None] = {}
    last_text: str = ""


def answered(text: str, steps: Sequence[Step]) -> Answered | Failed:
    """The outcome of a run that ended properly. A run without any text or tool call has failed."""
    if text.strip() or steps:
        return Answered(text)
    return Failed("the agent ended its turn without a word", kind="empty", withheld=True)


class LastText:
    """The text of the newest message, in its parts, if no tool call came after it."""

    def __init__(self) -> None:
        self._message = ""
        self._tool = ""
        self._parts: dict[str, list[str]] = {}
        self._size = 0

    @property
    def text(self) -> str:
        """Empty where it is too long to be an answer."""
        return "\n\n".join(map("".join, self._parts.values())).strip() if self._size <= TEXT_MAX else ""

    def add(self, piece: str, *, message: str = "", part: str = "") -> None:
        if part < self._tool:
            return
        if message != self._message:
            self.clear()
            self._message = message
        self._size += len(piece)
        if self._size <= TEXT_MAX:
            self._parts.setdefault(part, []).append(piece)

    def put(self, text: str, *, message: str, part: str) -> None:
        """Set the whole of a part: pieces of it may have been missed."""
        self._size -= sum(map(len, self._parts.pop(part, ())))
        self.add(text, message=message, part=part)

    def use_tool(self, part: str) -> None:
        """This part is a tool call. The ids of parts sort in time, but an event of an older part may come later."""
        self._tool = max(self._tool, part)
        if all(other < part for other in self._parts):
            self.clear()

    def clear(self) -> None:
        self._parts.clear()
        self._size = 0


class Progress(ABC):
    """What the user has seen of one run. Turns events and histories into news, each thing once.

    ``messages`` counts the model's messages, ``cut`` how many answers in a row were cut off in the middle. ``failure`` is the
    error that the server has reported since the run began.
    """

    def __init__(self) -> None:
        self.messages = 0
        self.cut = 0
        self.failure: str | None = None
        self._last = LastText()
        self._joiner = Joiner()
        self._calls: set[str] = set()
        self._results: set[str] = set()

    @property
    def last_text(self) -> str:
        """As ``History.last_text``, of the stream: servers do not store an answer that has no end."""
        return self._last.text

    @abstractmethod
    def note(self, event: StreamEvent) -> Sequence[TurnEvent]: ...

    def catch_up(self, history: History) -> Sequence[TurnEvent]:
        """After events may have been missed."""
        return [news for step in history.steps for news in self._show(step)]

    def _show(self, step: Step) -> Iterator[TurnEvent]:
        if step.call_id not in self._calls and len(self._calls) < KNOWN_MAX:
            self._calls.add(step.call_id)
            yield ToolCall(step.call_id, step.tool, step.input)
        if step.output is not None and step.call_id in self._calls and step.call_id not in self._results:
            self._results.add(step.call_id)
            yield ToolResult(step.call_id, step.output, is_error=step.is_error)
