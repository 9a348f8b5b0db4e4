"""Dead letters: messages and replies that wait until a person retries or drops them. How lists show, filter and count them.

An inbound message is one if it is ``dead``. A reply is one if it is ``dead`` (refused for good), ``parked`` (too old to be sent
without a person) or ``unknown`` (somebody may have seen it or not).
"""

import math
import re
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from gatewayd.model.errors import GatewayError
from gatewayd.model.lifecycle import DeadLetterState, RowState

Direction = Literal["in", "out"]
RepairAction = Literal["retry", "drop"]

EXCERPT: Final = 200
"""Characters of a message's text that a list shows."""
MOST_AT_ONCE: Final = 500
"""Dead letters that one call retries or drops."""
_REF = re.compile(r"(in|out)-([1-9][0-9]{0,17})", re.ASCII)
_NOT_A_CURSOR = "is not a cursor of this list"


class NotADeadLetter(GatewayError):
    """The text is no ref or cursor of a dead letter."""


class DeadLetter(Struct, frozen=True):
    """One row as lists show it. Times are Unix seconds. ``ref`` is "in-12" or "out-7", ``peer`` is "dm:7", with a thread behind
    it if there is one. ``at`` is when a message was received or a reply was written. ``detail`` is the error in words.
    ``doubt_since`` is the start of the first send of a reply whose outcome is unknown. After a retry or a drop the row is no dead
    letter any more: see ``state`` and ``closed_at``."""

    ref: str
    direction: Direction
    state: RowState
    reason: str | None
    channel: str
    account: str
    peer: str
    sender: str | None
    at: float
    ended_at: float | None
    attempts: int
    retries: int
    turn_id: str | None
    session_key: str | None
    excerpt: str
    closed_at: float | None = None
    detail: str | None = None
    doubt_since: float | None = None

    @property
    def cursor(self) -> "DeadLetterCursor":
        """Its position in the list. The row must be a dead letter still."""
        assert self.ended_at is not None, "a dead letter has ended"
        return DeadLetterCursor(self.ended_at, *parse_ref(self.ref))


class DeadLetterFilter(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A dead letter must fit every given key. ``ended_before`` is Unix seconds."""

    direction: Direction | None = None
    state: DeadLetterState | None = None
    channel: Annotated[str, Meta(max_length=100)] | None = None
    account: Annotated[str, Meta(max_length=100)] | None = None
    reason: Annotated[str, Meta(max_length=2000)] | None = None
    ended_before: Annotated[float, Meta(ge=0)] | None = None


class DeadLetterCounts(Struct, frozen=True):
    """The numbers of dead letters, and the times of the oldest; ``oldest_dead_at`` is of both directions. None: there is none."""

    in_dead: int = 0
    out_dead: int = 0
    out_unknown: int = 0
    out_parked: int = 0
    oldest_dead_at: float | None = None
    oldest_unknown_at: float | None = None
    oldest_parked_at: float | None = None


class Skipped(Struct, frozen=True):
    """A dead letter that was not changed, and the reason in words."""

    ref: str
    why: str


class DeadLetterCursor(Struct, frozen=True, order=True):
    """The position of a dead letter in the list: by its end, then inbound before outbound, then by its id."""

    ended_at: float
    direction: Direction
    id: int

    def __str__(self) -> str:
        return f"{self.ended_at!r}_{self.direction}-{self.id}"

    @property
    def ref(self) -> str:
        return f"{self.direction}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> "DeadLetterCursor":
        """The cursor of a text that ``str`` has made. :raises NotADeadLetter:"""
        at, _, ref = text.partition("_")
        try:
            ended_at = float(at)
        except ValueError:
            raise NotADeadLetter(f"{text[:60]!r} {_NOT_A_CURSOR}") from None
        if not math.isfinite(ended_at) or not _REF.fullmatch(ref):
            raise NotADeadLetter(f"{text[:60]!r} {_NOT_A_CURSOR}")
        return cls(ended_at, *parse_ref(ref))


def parse_ref(ref: str) -> tuple[Direction, int]:
    """ "in-12" as its direction and number. :raises NotADeadLetter: it is no ref."""
    found = _REF.fullmatch(ref)
    if found is None:
        raise NotADeadLetter(f"{ref[:60]!r} is not in-NUMBER or out-NUMBER")
    return ("in" if found[1] == "in" else "out"), int(found[2])


def excerpt_of(text: str) -> str:
    """The beginning of a text, on one line."""
    line = " ".join(text[: 4 * EXCERPT].split())
    return line if len(line) <= EXCERPT and len(text) <= 4 * EXCERPT else f"{line[: EXCERPT - 1]}…"
