"""Everything that belongs to one message, from any id that somebody has of it. Each look-up goes by an index."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import re
import sqlite3
from collections.abc import Collection, Iterable

from gatewayd.model.approval import Approval
from gatewayd.model.audit import AuditRow
from gatewayd.model.letter import NotALetter, parse_ref
from gatewayd.model.question import QuestionRow
from gatewayd.ports.store import Account, InboundRow, OutboundRow, StoryRows
from gatewayd.stores.sqlite.approvals import select_approvals
from gatewayd.stores.sqlite.audit import AUDIT_COLUMNS
from gatewayd.stores.sqlite.inbox import INBOUND_COLUMNS, inbound_row
from gatewayd.stores.sqlite.outbox import OUTBOUND_COLUMNS, outbound_rows
from gatewayd.stores.sqlite.questions import select_questions
from gatewayd.stores.sqlite.tables import Tables

_TURN = re.compile(r"turn-([1-9][0-9]{0,17})(-[0-9]+)?", re.ASCII)
_TURNS_OF_RETRIES = 20
_OTHERS = 10
"""Of every other kind this many times as many rows as of messages."""


class StoryTable(Tables):
    async def story_rows(self, wanted: str, *, accounts: Collection[Account], limit: int) -> StoryRows:
        def read(connection: sqlite3.Connection) -> StoryRows:
            gathering = _Gathering(connection, limit)
            gathering.find(wanted, accounts)
            gathering.follow_turns()
            return gathering.rows()

        return await self._read(read)


class _Gathering:
    """Collects rows, each once."""

    def __init__(self, connection: sqlite3.Connection, limit: int) -> None:
        self._connection = connection
        self._limit = limit
        self._inbound: dict[int, InboundRow] = {}
        self._outbound: dict[int, OutboundRow] = {}
        self._approvals: dict[str, Approval] = {}
        self._questions: dict[str, QuestionRow] = {}
        self._turns: dict[str, None] = {}

    def find(self, wanted: str, accounts: Collection[Account]) -> None:
        """What the id itself names. It may be several things at once: platforms number as they like."""
        try:
            direction, number = parse_ref(wanted)
        except NotALetter:
            self._find_by_name(wanted)
            self._find_on_platform(wanted, accounts)
            return
        if direction == "in":
            self._take_inbound("id = ?", number)
        else:
            self._take_outbound("id = ?", number)

    def _find_by_name(self, wanted: str) -> None:
        if _TURN.fullmatch(wanted):
            self._take_turn(wanted)
        newest_with_code = "seq = (SELECT max(seq) FROM approval WHERE code = ?)"
        for approval in (*self._select_approvals("id = ?", wanted), *self._select_approvals(newest_with_code, wanted)):
            self._take_turn(approval.turn_id)
        for question in self._select_questions("id = ?", wanted):
            self._take_turn(question.turn_id)
        self._take_inbound("session_key = ?", wanted)

    def _find_on_platform(self, wanted: str, accounts: Collection[Account]) -> None:
        parts = wanted.split("/", 2)
        places = [*((*account, wanted) for account in accounts), *([(parts[0], parts[1], parts[2])] if len(parts) == 3 else [])]
        for place in places:
            self._take_inbound("channel = ? AND account = ? AND event_key = ?", *place)
            self._take_inbound("+channel = ? AND +account = ? AND given_key = ?", *place)
        self._take_inbound("message_id = ?", wanted)
        self._take_outbound("message_id = ?", wanted)
        if len(parts) == 3:
            # By the index on message_id: with the account first, all of an account's rows would be read.
            here = "message_id = ? AND +channel = ? AND +account = ?"
            self._take_inbound(here, parts[2], parts[0], parts[1])
            self._take_outbound(here, parts[2], parts[0], parts[1])

    def follow_turns(self) -> None:
        """From the turns of what was found to all that belongs to them."""
        for reply in list(self._outbound.values()):
            if reply.turn_id is not None:
                self._take_turn(reply.turn_id)
        for row in list(self._inbound.values()):
            for retry in range(row.retries, max(-1, row.retries - _TURNS_OF_RETRIES), -1):
                self._turns[f"turn-{row.id}-{retry}" if retry else f"turn-{row.id}"] = None
            if row.turn_id is not None:
                self._turns[row.turn_id] = None
        for turn_id in self._turns:
            self._take_inbound("turn_id = ?", turn_id)
            self._take_outbound("turn_id = ?", turn_id)
            self._approvals.update((found.id, found) for found in self._select_approvals("turn_id = ?", turn_id))
            self._questions.update((found.id, found) for found in self._select_questions("turn_id = ?", turn_id))

    def _take_turn(self, turn_id: str) -> None:
        """A turn bears the number of its first message, also when that runs under another turn by now."""
        self._turns[turn_id] = None
        if named := _TURN.fullmatch(turn_id):
            self._take_inbound("id = ?", int(named[1]))

    def rows(self) -> StoryRows:
        """The newest of each kind, by number or time."""
        most = _OTHERS * self._limit
        inbound = sorted(self._inbound.values(), key=lambda row: row.id)
        outbound = sorted(self._outbound.values(), key=lambda row: row.id)
        approvals = sorted(self._approvals.values(), key=lambda row: (row.created_at, row.ordinal))
        questions = sorted(self._questions.values(), key=lambda row: (row.created_at, row.ordinal))
        more = len(inbound) > self._limit or max(len(outbound), len(approvals), len(questions)) > most
        inbound, outbound = inbound[-self._limit :], outbound[-most:]
        refs = [*(f"in-{row.id}" for row in inbound), *(f"out-{row.id}" for row in outbound)]
        return StoryRows(inbound, outbound, approvals[-most:], questions[-most:], self._audit(refs)[-most:], more)

    def _take_inbound(self, condition: str, *values: str | int) -> None:
        sql = f"SELECT {INBOUND_COLUMNS} FROM inbound WHERE {condition} ORDER BY id DESC LIMIT ?"
        for record in self._connection.execute(sql, (*values, self._limit + 1)):
            row = inbound_row(record)
            self._inbound[row.id] = row

    def _take_outbound(self, condition: str, *values: str | int) -> None:
        sql = f"SELECT {OUTBOUND_COLUMNS} FROM outbound WHERE {condition} ORDER BY id DESC LIMIT ?"
        found = outbound_rows(self._connection.execute(sql, (*values, _OTHERS * self._limit + 1)))
        self._outbound.update((row.id, row) for row in found)

    def _select_approvals(self, condition: str, value: str) -> list[Approval]:
        return select_approvals(self._connection, f"{condition} ORDER BY seq DESC LIMIT ?", (value, _OTHERS * self._limit + 1))

    def _select_questions(self, condition: str, value: str) -> list[QuestionRow]:
        return select_questions(self._connection, f"{condition} ORDER BY seq DESC LIMIT ?", (value, _OTHERS * self._limit + 1))

    def _audit(self, refs: Iterable[str]) -> list[AuditRow]:
        sql = f"SELECT {AUDIT_COLUMNS} FROM audit WHERE subject = ? ORDER BY seq DESC LIMIT ?"
        found = [AuditRow(*record) for ref in refs for record in self._connection.execute(sql, (ref, self._limit))]
        return sorted(found, key=lambda row: row.seq)
