"""The outcome of a turn: from what its core returned to a state in the store and a text for its user. Pure."""

import re
from collections.abc import Callable, Mapping
from typing import Final, Literal

from msgspec import Struct

from gatewayd.kit.text import compose, is_blank, sanitise
from gatewayd.model.errors import FailureKind
from gatewayd.model.lifecycle import EndState, InboundReason, StopReason
from gatewayd.ports import agent as port

SORRY_FAILED = "Sorry, I could not answer that: the agent failed. The operator can see why."
SORRY_EMPTY = "Sorry, the agent gave no answer to that. Please ask again, perhaps in other words."
SORRY_TOO_LONG = "Sorry, this is more than the agent can take in at once. Write /new to begin a new conversation, or write less."
SORRY_SLOW = "Sorry, that took too long and was stopped."
SORRY_LOST = "Sorry, I was interrupted while I worked on that. It is not known how much was done. Please check, and ask again."
SORRY_GONE = "Sorry, the agent could not be reached, after several tries. The operator can see why."
STOPPED: Final = "(This answer was stopped before its end.)"
MAY_BE_CUT: Final = "(This answer may be incomplete: its end did not arrive.)"

_SORRY: Final[Mapping[FailureKind, str]] = {"failed": SORRY_FAILED, "empty": SORRY_EMPTY, "too_long": SORRY_TOO_LONG}
_REPLY_MAX: Final = 1_000_000


class Outcome(Struct, frozen=True):
    """How an attempt ended. ``text`` is the reply; ``detail`` is for the operator only; ``failure`` is how it failed."""

    kind: Literal["answered", "cut", "failed", "again", "timed_out", "stopped", "lost"]
    text: str = ""
    detail: str = ""
    after_seconds: float | None = None
    failure: FailureKind = "failed"


def answer_of(final: object, clean: Callable[[str], str]) -> Outcome:
    """Turn whatever a core returns into an outcome: a text of bounded length, or why there is none. ``clean`` makes a reason fit
    for the store."""
    if not isinstance(final, port.Final) or not isinstance(final.text, str):
        return Outcome("failed", detail=f"bug in the agent core: it returned a {type(final).__name__}, not a Final with a text")
    if len(final.text) > _REPLY_MAX:
        return Outcome("failed", detail=f"the reply is longer than {_REPLY_MAX} characters")
    if final.cut is None:
        return Outcome("answered", text=final.text)
    kind: Literal["failed", "cut"] = "failed" if is_blank(sanitise(final.text)) else "cut"
    return Outcome(kind, text=final.text, detail=clean(str(final.cut)))


def verdict_on(outcome: Outcome, stopped: StopReason | None) -> tuple[EndState, InboundReason, str]:
    """State, reason and the text for the user. ``stopped``: why somebody ended the turn, if somebody did."""
    match outcome.kind:
        case "answered":
            return "done", "answered" if outcome.text.strip() else "answered_nothing", outcome.text
        case "cut":
            return "done", "answered_cut", marked(outcome.text, MAY_BE_CUT)
        case "stopped":
            return "done", stopped or "stopped", ""
        case "timed_out":
            return "dead", "turn_timed_out", SORRY_SLOW
        case "lost":
            return "dead", "turn_lost", SORRY_LOST
        case "again":
            return "dead", "attempts_exhausted", SORRY_GONE
        case "failed":
            return "dead", "agent_failed", _SORRY[outcome.failure]


def marked(text: str, note: str) -> str:
    """A text (markdown) that may be incomplete, with a note under it. The note stands outside of a code block that was cut."""
    # A closing fence is at least as long as the opening one: https://spec.commonmark.org/0.31.2/#fenced-code-blocks
    ends = ["", *("\n" + sign * max([3, *map(len, re.findall(f"{sign}+", text))]) for sign in "`~")]
    tried = [f"{text.rstrip()}{end}\n\n{note}" for end in ends]
    return next((each for each in tried if not _ends_in_code(each)), tried[0])


def _ends_in_code(markdown: str) -> bool:
    body = compose(markdown, text_format="rich", text_limit=None)[-1]
    return any(span.kind in ("code", "pre") and span.end >= len(body.text.rstrip()) for span in body.spans)
