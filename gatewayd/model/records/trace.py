"""The trace of one message: what happened to it, in the order of time, and in one sentence how it stands."""

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
    "sending",
    "waits",
    "sent",
    "unknown",
    "parked",
    "dead",
    "operator",
]


class TraceEntry(Struct, frozen=True):
    """Something that happened at ``at`` (Unix seconds) to ``ref``: "in-12", "out-7", or the id of an approval or question.
    ``text`` goes on behind ``what``; ``detail`` is what else is known: a reason in its machine's words, or how a text begins."""

    at: float
    what: TraceEvent
    ref: str
    text: str
    detail: str | None = None


class Trace(Struct, frozen=True):
    """``found`` are the messages, replies, approvals and questions that it tells of; ``verdict`` is one sentence.
    ``more``: there is more of it than fits."""

    id: str
    found: tuple[str, ...]
    entries: tuple[TraceEntry, ...]
    verdict: str
    more: bool = False
