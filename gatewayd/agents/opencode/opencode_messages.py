"""OpenCode's messages: what they say of a run, and what of it has been shown. Pure."""

from collections.abc import Iterator, Sequence

import msgspec
from msgspec import Raw, Struct

from gatewayd.agents.opencode.dialect import Aborted, Answered, Failed, History, Outcome, Step, StreamEvent, Unfinished
from gatewayd.agents.opencode.wire import KNOWN_MAX, OUTPUT_MAX, Id, Malformed, canonical, decode, one_line
from gatewayd.ports.agent import TextDelta, ToolCall, ToolResult, TurnEvent


class ErrorData(Struct):
    message: str = ""


class Error(Struct):
    """``info.error`` of a message, and that of session.error."""

    name: str
    data: ErrorData = msgspec.field(default_factory=ErrorData)

    def __str__(self) -> str:
        return one_line(f"{self.name}: {self.data.message}" if self.data.message else self.name)


class Time(Struct):
    completed: float | None = None


class Info(Struct):
    """``finish``: stop, length, tool-calls, unknown (the stream was cut) … ``summary`` of an assistant: it is not the answer."""

    id: Id
    role: str
    finish: str | None = None
    error: Error | None = None
    time: Time = msgspec.field(default_factory=Time)
    summary: Raw = Raw(b"null")

    @property
    def answers(self) -> bool:
        return self.role == "assistant" and bytes(self.summary) != b"true"


class ToolState(Struct):
    status: str
    input: Raw = Raw(b"null")
    output: str = ""
    error: str = ""


class Part(Struct):
    """A piece of a message: text, reasoning, tool … ``synthetic`` texts are the server's own."""

    type: str
    id: Id = ""
    messageID: Id = ""
    text: str = ""
    synthetic: bool = False
    ignored: bool = False
    tool: str = ""
    callID: str = ""
    state: ToolState | None = None

    @property
    def is_text(self) -> bool:
        return self.type == "text" and not self.synthetic and not self.ignored


class Message(Struct):
    info: Info
    parts: list[Part]

    @property
    def text(self) -> str:
        return "\n\n".join(part.text for part in self.parts if part.is_text and part.text.strip())


def newer(messages: Sequence[Message], mark: str) -> Sequence[Message]:
    """The messages after the one with the id ``mark``; all of them when it is not there."""
    for number, message in enumerate(messages):
        if message.info.id == mark:
            return messages[number + 1 :]
    return messages


def fold(messages: Sequence[Message]) -> History:
    """What the messages say of the run that began with them."""
    if not messages:
        return History()
    answers = [message for message in messages if message.info.answers]
    return History(
        _outcome(answers),
        tuple(step for message in answers for part in message.parts if (step := to_step(part)) is not None),
        len(answers),
        {message.info.id: message.info.finish for message in answers},
    )


def to_step(part: Part) -> Step | None:
    """The tool call of a part, as soon as its input is whole."""
    if part.type != "tool" or part.state is None or part.state.status not in ("running", "completed", "error"):
        return None
    state = part.state
    try:
        given = canonical(state.input)
    except Malformed:
        return None
    match state.status:
        case "completed":
            return Step(part.id, part.tool, given, state.output[:OUTPUT_MAX])
        case "error":
            return Step(part.id, part.tool, given, one_line(state.error), is_error=True)
    return Step(part.id, part.tool, given)


def _outcome(answers: Sequence[Message]) -> Outcome:
    if not answers:
        return Unfinished()
    info = answers[-1].info
    text = next((message.text for message in reversed(answers) if message.text), "")
    if info.error is not None:
        return Aborted() if info.error.name == "MessageAbortedError" else Failed(str(info.error))
    if info.time.completed is None:
        return Unfinished("the agent's server was restarted in the middle of the turn")
    match info.finish:
        case None:
            return Aborted()  # while the provider was being tried again
        case "tool-calls":
            return Unfinished(refused=True, text=text)
        case "unknown":
            return Unfinished("the model's answer was cut off in the middle")
        case "error":
            return Failed("the model's provider reports an error, and does not say which")
    return Answered(text)


def _cut(finishes: Sequence[str | None]) -> int:
    """How many in a row at the end were cut off; one that is still being written does not count."""
    ended = [finish for finish in finishes if finish is not None]
    return next((number for number, finish in enumerate(reversed(ended)) if finish != "unknown"), len(ended))


class _Updated(Struct):
    info: Info


class _PartUpdated(Struct):
    part: Part


class _Delta(Struct):
    partID: Id
    field: str
    delta: str


class _SessionError(Struct):
    error: Error | None = None


class Shown:
    """See ``Progress``. Deltas of texts and of reasoning look alike: the part they belong to, which comes first, tells."""

    def __init__(self) -> None:
        self.failure: str | None = None
        self._finishes: dict[str, str | None] = {}
        self._texts: set[str] = set()
        self._calls: set[str] = set()
        self._results: set[str] = set()
        self._last_text: str | None = None

    @property
    def messages(self) -> int:
        return len(self._finishes)

    @property
    def cut(self) -> int:
        return _cut(list(self._finishes.values()))

    def note(self, event: StreamEvent) -> Sequence[TurnEvent]:
        match event.kind:
            case "message.updated":
                info = decode(event.body, _Updated, what="message", lenient=True).info
                if info.answers and (info.id in self._finishes or len(self._finishes) <= KNOWN_MAX):
                    self._finishes[info.id] = info.finish
            case "message.part.updated":
                return self._note_part(decode(event.body, _PartUpdated, what="part").part)
            case "message.part.delta":
                return self._note_delta(decode(event.body, _Delta, what="delta", lenient=True))
            case "session.error":
                error = decode(event.body, _SessionError, what="error", lenient=True).error
                self.failure = "the server reports an error, and does not say which" if error is None else str(error)
        return ()

    def catch_up(self, history: History) -> Sequence[TurnEvent]:
        self._finishes.update(history.finishes)
        return [news for step in history.steps for news in self._show(step)]

    def _note_part(self, part: Part) -> Sequence[TurnEvent]:
        if part.messageID not in self._finishes:
            return ()  # the user's own
        if part.is_text and len(self._texts) < KNOWN_MAX:
            self._texts.add(part.id)
        step = to_step(part)
        return () if step is None else list(self._show(step))

    def _note_delta(self, delta: _Delta) -> Sequence[TurnEvent]:
        if delta.partID not in self._texts or delta.field != "text" or not delta.delta:
            return ()
        last, self._last_text = self._last_text, delta.partID
        return (TextDelta(f"\n\n{delta.delta}" if last not in (None, delta.partID) else delta.delta),)

    def _show(self, step: Step) -> Iterator[TurnEvent]:
        if step.call_id not in self._calls and len(self._calls) < KNOWN_MAX:
            self._calls.add(step.call_id)
            yield ToolCall(step.call_id, step.tool, step.input)
        if step.output is not None and step.call_id in self._calls and step.call_id not in self._results:
            self._results.add(step.call_id)
            yield ToolResult(step.call_id, step.output, is_error=step.is_error)
