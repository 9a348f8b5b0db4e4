"""Dead letters: what waits for a person, in both directions."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from msgspec import Struct

from gatewayd.model.letter import Letter, LetterCounts, LetterFilter, LetterPlace, Skipped
from gatewayd.model.lifecycle import LetterState
from gatewayd.model.subject import SIGN, is_about_reply
from gatewayd.ports.store.messages import Account, InboundRow, OutboundRow

Takers = Mapping[Account, str | None]
"""The configured accounts, and why one takes no message now (it is full), or None."""


def shown_text(row: OutboundRow) -> str:
    """The text of a reply for whoever may look at messages. A card of a request shows the exact input of a tool: that is for
    those who may decide, elsewhere."""
    if row.subject is None or row.subject == SIGN or row.subject.startswith("qu_") or is_about_reply(row.subject):
        return row.payload.body.text
    return f"(about a request for permission: gatewayctl approvals show {row.subject.partition('/')[0]})"


class FoundLetter(Struct, frozen=True):
    """One letter with its whole ``text``. ``why_not``: it cannot be retried, in words."""

    letter: Letter
    text: str
    why_not: str | None = None


class Repaired(Struct, frozen=True):
    """A letter that was retried or dropped: what it ``was``, and what it is now."""

    was: LetterState
    letter: Letter
    row: InboundRow | OutboundRow


class Repairs(Struct, frozen=True):
    """What one call has done, in one transaction."""

    done: list[Repaired]
    skipped: list[Skipped]


class Letters(Protocol):
    """Messages that are dead, and replies that are dead, unknown or parked, which nobody has retried or dropped."""

    async def list_letters(self, wanted: LetterFilter, *, before: LetterPlace | None, limit: int) -> list[Letter]:
        """At most ``limit``, the newest first, in the order of their places; ``before`` goes on behind that one."""

    async def oldest_letters(self, wanted: LetterFilter, *, after: LetterPlace | None, limit: int) -> list[LetterPlace]:
        """At most ``limit``, the oldest first, in the order of their places; ``after`` goes on behind that one."""

    async def count_letters(self) -> LetterCounts: ...

    async def get_letter(self, ref: str, *, accounts: Takers) -> FoundLetter:
        """``accounts`` are those that are configured: a letter of another one cannot be retried.

        :raises NotALetter: no ref. :raises NotFound: no such row (any more). :raises Conflict: it is no letter (any more).
        """

    async def retry_letters(self, refs: Sequence[str], *, accounts: Takers, by: str, note: str | None, now: float) -> Repairs:
        """Put letters back, with an audit entry for each (``letter.retried``): a message as one that was just received, with the
        edits that ended with it; a reply as one to be sent, under its own id, and not before the time that its last refusal asked
        for. Skipped is what is no letter, what is of no configured account, and what would be wrong now: an edit of a message
        that was not sent or has a newer edit, an edit of a message that is retried without it, a card of a request that is
        over."""

    async def drop_letters(self, refs: Sequence[str], *, by: str, note: str | None, now: float) -> Repairs:
        """Close letters, with an audit entry for each (``letter.dropped``). What is no letter is skipped."""
