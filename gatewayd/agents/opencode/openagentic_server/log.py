"""OpenAgentic's log of a session, and the progress of a run in it. Pure."""

from collections.abc import Sequence
from itertools import takewhile
from typing import Final

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
from gatewayd.agents.opencode.server.wire import OUTPUT_MAX, Id, canonical, decode, one_line
from gatewayd.kit import json
from gatewayd.ports.agent import TextDelta, TurnEvent

DELTA: Final = "assistant.delta"
TOO_MANY_STEPS: Final = "The agent stopped here: it may not take more steps in one turn."


class LogEvent(Struct):
    """Any event of a session's log or stream, with the fields of all kinds that matter. ``seq`` is only in the log.

    ``parent_tool_use_id`` is set on the events of a sub-agent, which are in the log of its parent, too.
    """

    type: str
    seq: int | None = None
    parent_tool_use_id: str | None = None
    tool_use_id: str | None = None
    name: str = ""
    input: Raw = Raw(b"null")
    output: Raw = Raw(b"null")
    is_error: bool = False
    error_type: str | None = None
    error_message: str | None = None
    question_id: str = ""
    prompt: str = ""
    text: str | None = None
    text_delta: str = ""
    final_text: str | None = None
    stop_reason: str | None = None


def read_log(events: Sequence[Raw], after: int) -> list[LogEvent]:
    """The events with a number higher than ``after``. One that cannot be read, of a newer release, is skipped."""
    found: list[LogEvent] = []
    for raw in events:
        try:
            event = json.decode(raw, LogEvent)
        except json.Malformed:
            continue
        if event.seq is not None and event.seq > after:
            found.append(event)
    return found


class PendingPermission(Struct):
    """A pending permission as the server lists it. ``input`` is the tool's whole input."""

    id: Id
    tool: str
    input: Raw


def open_calls(log: Sequence[LogEvent]) -> dict[int, LogEvent]:
    """The open tool calls by their number. A result belongs to the newest call with its id."""
    calls: dict[int, LogEvent] = {}
    for event in log:
        if event.type == "tool.use" and event.seq is not None:
            calls[event.seq] = event
        elif event.type == "tool.result":
            calls = {seq: call for seq, call in calls.items() if call.tool_use_id != event.tool_use_id}
    return calls


def fold(log: Sequence[LogEvent]) -> History:
    """The history of the run that begins with this log. An operator's change of the timeline is no run."""
    log = [event for event in log if not event.type.startswith("session.")]
    if not log:
        return History()
    steps: dict[str, Step] = {}
    current: dict[str | None, str] = {}
    messages = 0
    outcome: Outcome = Unfinished(_why_unfinished(log))
    for event in log:
        match event.type:
            case "tool.use":
                current[event.tool_use_id] = key = f"{event.seq}"
                steps[key] = Step(key, event.name, canonical(event.input))
            case "tool.result" if (key := current.get(event.tool_use_id, "")) in steps:
                call = steps[key]
                steps[key] = Step(key, call.tool, call.input, _output(event), event.is_error)
            case "assistant.message":
                messages += 1
            case "result" if event.parent_tool_use_id is None:
                outcome = _ending(event, [*steps.values()])
                break
    return History(outcome, tuple(steps.values()), messages, last_text=_last_text(log))


def _last_text(log: Sequence[LogEvent]) -> str:
    own = [event for event in log if event.parent_tool_use_id is None]
    behind_tools = takewhile(lambda event: not event.type.startswith("tool."), reversed(own))
    texts = [event.text for event in behind_tools if event.type == "assistant.message" and event.text]
    return "\n\n".join(reversed(texts)).strip()


def _ending(result: LogEvent, steps: Sequence[Step]) -> Outcome:
    """``stop_reason`` (query_loop_steps/terminal_basic.py): end, interrupted, no_output, max_steps, blocked:…"""
    reason = result.stop_reason or "end"
    if reason == "interrupted":
        return Aborted()
    text = result.final_text or ""
    if reason == "max_steps" and text:
        return answered(f"{text}\n\n{TOO_MANY_STEPS}", steps)
    if reason in ("end", "no_output") or text:
        return answered(text, steps)
    return Failed(f"the agent stopped without an answer: {one_line(reason)}")


def _why_unfinished(log: Sequence[LogEvent]) -> str:
    if log[-1].type == "user.question":
        return "its question was not answered in time"
    return ""


def _output(event: LogEvent) -> str:
    if event.is_error:
        return one_line(f"{event.error_type or 'error'}: {event.error_message or ''}")
    try:
        text = json.decode(event.output, str)
    except json.Malformed:
        text = bytes(event.output).decode("utf-8", "replace")
    return text[:OUTPUT_MAX]


class LogProgress(Progress):
    """Tool calls come from the log, so that each is shown once; texts come from the stream."""

    def __init__(self) -> None:
        super().__init__()
        self._begun = False
        self._streams = False

    def note(self, event: StreamEvent) -> Sequence[TurnEvent]:
        if event.kind not in (DELTA, "assistant.message", "tool.use"):
            return ()
        logged = decode(event.body, LogEvent, what="event")
        if logged.parent_tool_use_id is not None:
            return ()
        if event.kind == "tool.use":
            self._last.clear()
            return ()
        if event.kind == DELTA:
            self._streams = True
            return self._say(logged.text_delta)
        # A server without a terminal sends no deltas: then each message is shown when it is whole.
        streamed, self._streams = self._streams, False
        shown = () if streamed else self._say(logged.text or "")
        return (*shown, *self._say("\n\n"))

    def catch_up(self, history: History) -> Sequence[TurnEvent]:
        self.messages = history.messages
        return super().catch_up(history)

    def _say(self, piece: str) -> tuple[TurnEvent, ...]:
        text = self._joiner.take(piece)
        if not text or not (self._begun or text.strip()):
            return ()
        self._begun = True
        self._last.add(text)
        return (TextDelta(text),)
