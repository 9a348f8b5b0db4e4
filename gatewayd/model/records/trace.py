"""The trace of one message: what happened to it, in the order of time, and its state in one sentence."""

from typing import Literal

from msgspec import Struct

TraceEvent = Literal[
    "received",
    "turn_started",
    "approval_asked",
    "approval_vote",
    "approval_decided",
    "approval_used",
    "question_asked",
    "question_ended",
    "ended",
    "written",
    "in_doubt",
    "sending",
    "waits",
    "sent",
    "delivered",
    "read",
    "unknown",
    "parked",
    "dead",
    "operator",
]


class TraceEntry(Struct, frozen=True):
    """Something that happened at ``at`` (Unix seconds) to ``ref``: "in-12", "out-7", or the id of an approval or question.
    ``text`` continues the sentence of ``what``. ``detail`` has more: the machine-readable reason, or the beginning of a text."""

    at: float
    what: TraceEvent
    ref: str
    text: str
    detail: str | None = None


class Trace(Struct, frozen=True):
    """``found`` are the messages, replies, approvals and questions of the trace; ``verdict`` is one sentence. ``more``: the
    trace has more rows than it shows."""

    id: str
    found: tuple[str, ...]
    entries: tuple[TraceEntry, ...]
    verdict: str
    more: bool = False
