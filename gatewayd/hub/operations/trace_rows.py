"""Everything that belongs to one message, from any id that somebody has of it. Pure: rows are looked up by who calls it."""

import re
from collections.abc import Collection, Iterable, Iterator
from typing import Final

from msgspec import Struct

from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.records.dead_letter import NotADeadLetter, parse_ref
from gatewayd.model.records.question import QuestionRow
from gatewayd.ports.store import Account, ApprovalKey, InboundRow, Lookup, MessageKey, OutboundRow, ReplyKey, ref_of

_TURN: Final = re.compile(r"turn-([1-9][0-9]{0,17})(-[0-9]+)?", re.ASCII)
_TURNS_OF_RETRIES: Final = 20
_OTHERS: Final = 10
"""Of every other kind this many times as many rows as of messages."""


class TraceRows(Struct, frozen=True):
    """All rows that a trace is made from, each list by its number. ``more``: there are more than were asked for."""

    inbound: list[InboundRow]
    outbound: list[OutboundRow]
    approvals: list[Approval]
    questions: list[QuestionRow]
    audit: list[AuditRow]
    more: bool = False


def gather(lookup: Lookup, wanted: str, *, accounts: Collection[Account], limit: int) -> TraceRows:
    """What an id leads to: in-N, out-N, a turn's, approval's or question's id or code, the platform's id of a message or of its
    event (also as CHANNEL/ACCOUNT/ID; of an event without them only in ``accounts``), or a session key.

    From there to the turns, and to all that belongs to them: at most the ``limit`` newest messages, and ten times as many of each
    other kind.
    """
    gathering = _Gathering(lookup, limit)
    gathering.find(wanted, accounts)
    gathering.follow_turns()
    return gathering.rows()


class _Gathering:
    """Collects rows, each once."""

    def __init__(self, lookup: Lookup, limit: int) -> None:
        self._lookup = lookup
        self._limit = limit
        self._most_others = _OTHERS * limit
        self._inbound: dict[int, InboundRow] = {}
        self._outbound: dict[int, OutboundRow] = {}
        self._approvals: dict[str, Approval] = {}
        self._questions: dict[str, QuestionRow] = {}
        self._turns: dict[str, None] = {}

    def find(self, wanted: str, accounts: Collection[Account]) -> None:
        """What the id itself names. It may be several things at once: platforms number as they like."""
        try:
            direction, number = parse_ref(wanted)
        except NotADeadLetter:
            self._find_by_name(wanted)
            self._find_on_platform(wanted, accounts)
            return
        if direction == "in":
            self._take_messages("id", number)
        else:
            self._take_replies("id", number)

    def _find_by_name(self, wanted: str) -> None:
        if _TURN.fullmatch(wanted):
            self._take_turn(wanted)
        # Of several requests with one code the newest is meant.
        names: tuple[ApprovalKey, ...] = ("id", "code")
        for by in names:
            for approval in self._lookup.approvals(by, wanted, limit=1):
                self._take_turn(approval.turn_id)
        for question in self._lookup.questions("id", wanted, limit=1):
            self._take_turn(question.turn_id)
        self._take_messages("session_key", wanted)

    def _find_on_platform(self, wanted: str, accounts: Collection[Account]) -> None:
        parts = wanted.split("/", 2)
        named = [((parts[0], parts[1]), parts[2])] if len(parts) == 3 else []
        for account, key in [*((account, wanted) for account in accounts), *named]:
            self._take_messages("event_key", key, account)
            self._take_messages("given_key", key, account)
        self._take_messages("message_id", wanted)
        self._take_replies("message_id", wanted)
        for account, message_id in named:
            self._take_messages("message_id", message_id, account)
            self._take_replies("message_id", message_id, account)

    def follow_turns(self) -> None:
        """From the turns of what was found to all that belongs to them."""
        for reply in list(self._outbound.values()):
            if reply.turn_id is not None:
                self._take_turn(reply.turn_id)
        for row in list(self._inbound.values()):
            self._turns.update(dict.fromkeys(_turns_of(row)))
        for turn_id in self._turns:
            self._take_messages("turn_id", turn_id)
            self._take_replies("turn_id", turn_id)
            approvals = self._lookup.approvals("turn_id", turn_id, limit=self._most_others + 1)
            questions = self._lookup.questions("turn_id", turn_id, limit=self._most_others + 1)
            self._approvals.update((found.id, found) for found in approvals)
            self._questions.update((found.id, found) for found in questions)

    def _take_turn(self, turn_id: str) -> None:
        """A turn bears the number of its first message, also when that runs under another turn by now."""
        self._turns[turn_id] = None
        if named := _TURN.fullmatch(turn_id):
            self._take_messages("id", int(named[1]))

    def _take_messages(self, by: MessageKey, value: str | int, account: Account | None = None) -> None:
        found = self._lookup.messages(by, value, account=account, limit=self._limit + 1)
        self._inbound.update((row.id, row) for row in found)

    def _take_replies(self, by: ReplyKey, value: str | int, account: Account | None = None) -> None:
        found = self._lookup.replies(by, value, account=account, limit=self._most_others + 1)
        self._outbound.update((row.id, row) for row in found)

    def rows(self) -> TraceRows:
        """The newest of each kind, by number or time."""
        most = self._most_others
        inbound = sorted(self._inbound.values(), key=lambda row: row.id)
        outbound = sorted(self._outbound.values(), key=lambda row: row.id)
        approvals = sorted(self._approvals.values(), key=lambda row: (row.created_at, row.ordinal))
        questions = sorted(self._questions.values(), key=lambda row: (row.created_at, row.ordinal))
        more = len(inbound) > self._limit or max(len(outbound), len(approvals), len(questions)) > most
        inbound, outbound = inbound[-self._limit :], outbound[-most:]
        audit = self._audit([*map(ref_of, inbound), *map(ref_of, outbound)])
        return TraceRows(inbound, outbound, approvals[-most:], questions[-most:], audit[-most:], more)

    def _audit(self, refs: Iterable[str]) -> list[AuditRow]:
        found = [row for ref in refs for row in self._lookup.audit(ref, limit=self._limit)]
        return sorted(found, key=lambda row: row.seq)


def _turns_of(row: InboundRow) -> Iterator[str]:
    """The turns of a message: that of each retry, and the one that it ran in."""
    for retry in range(row.retries, max(-1, row.retries - _TURNS_OF_RETRIES), -1):
        yield f"turn-{row.id}-{retry}" if retry else f"turn-{row.id}"
    if row.turn_id is not None:
        yield row.turn_id
