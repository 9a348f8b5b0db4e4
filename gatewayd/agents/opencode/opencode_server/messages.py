"""OpenCode's messages, and the progress of a run in them. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from typing import Final

import msgspec
from msgspec import Raw, Struct

from gatewayd.agents.opencode.server.progress import (
    Aborted,
    Failed,
    History,
    Outcome,
    Progress,
    Step,
    StreamEvent,
    Unfinished,
    answered,
)
from gatewayd.agents.opencode.server.wire import KNOWN_MAX, OUTPUT_MAX, Id, Malformed, canonical, decode, one_line
from gatewayd.kit.json import Joiner
from gatewayd.model.errors import FailureKind
from gatewayd.ports.agent import TextDelta, TurnEvent

TOO_LONG: Final = "The reply ends here: the model may not write more in one go."
DELTA: Final = "message.part.delta"
_CONTEXT_FULL: Final = "ContextOverflowError"
_WITHOUT_ANSWER: Final[Mapping[str | None, Outcome]] = {
    None: Aborted(),  # while the provider was being tried again
    "unknown": Unfinished("the model's answer was cut off in the middle"),
    "error": Failed("the model's provider reports an error, and does not say which"),
    "content-filter": Failed("the model stopped at the provider's content filter", withheld=True),
}
"""The outcome for each ``finish`` that is no answer."""


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
    """``finish``: stop, length, content-filter, tool-calls, error, unknown (the stream was cut) …

    ``summary`` of an assistant: it is not the answer."""

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
    def is_answer(self) -> bool:
        return self.is_text and bool(self.text.strip())

    @property
    def is_text(self) -> bool:
        return self.type == "text" and not self.synthetic and not self.ignored


class Message(Struct):
    info: Info
    parts: list[Part]

    @property
    def text(self) -> str:
        return "\n\n".join(part.text for part in self.parts if part.is_answer)


def newer(messages: Sequence[Message], mark: str) -> Sequence[Message]:
    """The messages after the one with the id ``mark``; all of them when it is not there."""
    for number, message in enumerate(messages):
        if message.info.id == mark:
            return messages[number + 1 :]
    return messages


def fold(messages: Sequence[Message]) -> History:
    """The history of the run that begins with these messages."""
    if not messages:
        return History()
    answers = [message for message in messages if message.info.answers]
    steps = tuple(step for message in answers for part in message.parts if (step := to_step(part)) is not None)
    finishes = {message.info.id: message.info.finish for message in answers}
    return History(_outcome(answers, steps), steps, len(answers), finishes, _last_text(answers))


def to_step(part: Part) -> Step | None:
    """The tool call in a part, if its input is complete."""
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


def _last_text(answers: Sequence[Message]) -> str:
    """See ``History``: the text of the last message that has a text or a tool call."""
    last = next(
        (message for message in reversed(answers) if any(part.is_answer or part.type == "tool" for part in message.parts)), None
    )
    if last is None:
        return ""
    behind_tools = [*takewhile(lambda part: part.type != "tool", reversed(last.parts))]
    return Message(last.info, behind_tools[::-1]).text


def _outcome(answers: Sequence[Message], steps: Sequence[Step]) -> Outcome:
    if not answers:
        return Unfinished()
    info = answers[-1].info
    text = next((message.text for message in reversed(answers) if message.text), "")
    if info.error is not None:
        kind: FailureKind = "too_long" if info.error.name == _CONTEXT_FULL else "failed"
        return Aborted() if info.error.name == "MessageAbortedError" else Failed(str(info.error), kind)
    if info.time.completed is None:
        return Unfinished("the agent's server was restarted in the middle of the turn")
    match info.finish:
        case "tool-calls":
            # A refused call fails. After any other call the server would have gone on, had it not been restarted.
            refused = any(part.state is not None and part.state.status == "error" for part in answers[-1].parts)
            return Unfinished(refused=refused, text=text)
        case "length":
            return answered(f"{text}\n\n{TOO_LONG}".strip(), steps)
    return _WITHOUT_ANSWER.get(info.finish) or answered(text, steps)


def _cut(finishes: Sequence[str | None]) -> int:
    """The number of answers in a row, at the end, that were cut off. One that is still being written does not count."""
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


class MessageProgress(Progress):
    """Deltas of texts and of reasoning look alike. Only their part, whose event comes first, has the kind."""

    def __init__(self) -> None:
        super().__init__()
        self._finishes: dict[str, str | None] = {}
        self._texts: dict[str, str] = {}
        self._last_part: str | None = None

    def note(self, event: StreamEvent) -> Sequence[TurnEvent]:
        match event.kind:
            case "message.updated":
                info = decode(event.body, _Updated, what="message", lenient=True).info
                if info.answers and (info.id in self._finishes or len(self._finishes) <= KNOWN_MAX):
                    self._count({info.id: info.finish})
            case "message.part.updated":
                return self._note_part(decode(event.body, _PartUpdated, what="part").part)
            case kind if kind == DELTA:
                return self._note_delta(decode(event.body, _Delta, what="delta", lenient=True, keep_halves=True))
            case "session.error":
                error = decode(event.body, _SessionError, what="error", lenient=True).error
                self.failure = "the server reports an error, and does not say which" if error is None else str(error)
        return ()

    def catch_up(self, history: History) -> Sequence[TurnEvent]:
        self._count(history.finishes)
        return super().catch_up(history)

    def _count(self, finishes: Mapping[str, str | None]) -> None:
        self._finishes.update(finishes)
        self.messages = len(self._finishes)
        self.cut = _cut(list(self._finishes.values()))

    def _note_part(self, part: Part) -> Sequence[TurnEvent]:
        if part.messageID not in self._finishes:
            return ()  # the user's own
        if part.is_text and len(self._texts) < KNOWN_MAX:
            self._texts[part.id] = part.messageID
            if part.is_answer:
                self._last.put(part.text, message=part.messageID, part=part.id)
        step = to_step(part)
        return () if step is None else list(self._show(step))

    def _note_delta(self, delta: _Delta) -> Sequence[TurnEvent]:
        if delta.partID not in self._texts or delta.field != "text" or not delta.delta:
            return ()
        last, self._last_part = self._last_part, delta.partID
        if last != delta.partID:
            self._joiner = Joiner()
        text = self._joiner.take(delta.delta)
        self._last.add(text, message=self._texts[delta.partID], part=delta.partID)
        return (TextDelta(f"\n\n{text}" if last not in (None, delta.partID) else text),) if text else ()

    def _show(self, step: Step) -> Iterator[TurnEvent]:
        self._last.use_tool(step.call_id)
        return super()._show(step)
