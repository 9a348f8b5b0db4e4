"""The sockets of a store for people and for time: letters that want a look, the story of one message, and what is old.

As with ``ports/store.py``: a write returns after its commit, and every method may raise StoreRefused.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal, Protocol

from msgspec import Struct

from gatewayd.model.approval import Approval
from gatewayd.model.audit import AuditRow
from gatewayd.model.letter import Letter, LetterCounts, LetterFilter, LetterPlace, Skipped
from gatewayd.model.lifecycle import LetterState
from gatewayd.model.question import QuestionRow
from gatewayd.model.subject import SIGN, is_about_reply
from gatewayd.ports.store import InboundRow, OutboundRow

Account = tuple[str, str]
"""Channel and name."""
Takers = Mapping[Account, str | None]
"""The configured accounts, and why one takes no message now (it is full), or None."""
Leftover = Literal["inbound", "outbound", "approval", "question", "inbound_letter", "outbound_letter"]
"""What retention deletes: rows that are over, by their table, and letters that nobody has looked after."""


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


class Swept(Struct, frozen=True):
    """How many rows one transaction has ``deleted``, by the state they were in. ``after`` is where to go on: the end and the
    number of the row looked at last; None: there is no more."""

    deleted: dict[str, int]
    after: tuple[float, int] | None


class StoryRows(Struct, frozen=True):
    """All rows that a story is told from, each list by its number. ``more``: there are more than were asked for."""

    inbound: list[InboundRow]
    outbound: list[OutboundRow]
    approvals: list[Approval]
    questions: list[QuestionRow]
    audit: list[AuditRow]
    more: bool = False


class Letters(Protocol):
    """Messages that are dead, and replies that are dead, unknown or parked, which nobody has retried or dropped."""

    async def list_letters(self, wanted: LetterFilter, *, before: LetterPlace | None, limit: int) -> list[Letter]:
        """The newest first; ``before`` goes on behind that one."""

    async def oldest_letters(self, wanted: LetterFilter, *, after: LetterPlace | None, limit: int) -> list[LetterPlace]:
        """The oldest first; ``after`` goes on behind that one."""

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


class Stories(Protocol):
    async def story_rows(self, wanted: str, *, accounts: Collection[Account], limit: int) -> StoryRows:
        """What an id leads to: in-N, out-N, a turn's, approval's or question's id or code, the platform's id of a message or of
        its event (also as CHANNEL/ACCOUNT/ID; of an event without them only in ``accounts``), or a session key.

        From there to the turns, and to all that belongs to them: at most the ``limit`` newest messages, and ten times as many
        of each other kind.
        """


class Retention(Protocol):
    async def sweep(self, kind: Leftover, *, before: float, after: tuple[float, int] | None, limit: int) -> Swept:
        """Look at the ``limit`` oldest rows of a kind that ended before ``before``, and delete those that nothing refers to.

        Kept are: what a reply, an edit, a request or a question that is not settled refers to, the requests and questions of
        turns that have not ended, and what was received or dropped by a person at or after ``before``.
        """

    async def bytes_used(self) -> int:
        """The size of what is stored: of the file without its free pages."""
