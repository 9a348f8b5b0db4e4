"""Retention: deletes old rows, a few at a time, the oldest first.

A call looks at a bounded number of rows. Rows that stay do not make the next call slower, because it starts behind them.
"""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections import Counter
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from gatewayd.model.lifecycle import (
    APPROVAL_OPEN,
    INBOUND_OPEN,
    INBOUND_OVER,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OPEN,
    OUTBOUND_OVER,
    QUESTION_OPEN,
)
from gatewayd.ports.store import KeepRule, OldRow, Referrer, RetentionKind, RetentionResult
from gatewayd.stores.sqlite.engine.conditions import among, outside
from gatewayd.stores.sqlite.engine.table import Tables
from gatewayd.stores.sqlite.tables.dead_letters import INBOUND_DEAD_LETTER_ROWS, OUTBOUND_DEAD_LETTER_ROWS


class _Kind(Struct, frozen=True):
    """``over`` selects the rows, with the index that has them by their ``end``. ``times`` are the times of receipt and of the
    drop. ``referrers`` are the conditions that a row of each kind refers to the row."""

    table: str
    over: str
    end: str
    times: str
    referrers: Mapping[Referrer, str]
    number: str = "id"

    @property
    def facts(self) -> str:
        conditions = "".join(f", {condition}" for condition in self.referrers.values())
        return f"SELECT row.state, {self.times}{conditions} FROM {self.table} row WHERE row.{self.number} = ?"


_DEAD_LETTER: Final = f"({among(OUTBOUND_DEAD_LETTERS, 'o.state')} AND o.closed_at IS NULL)"
_UNSETTLED: Final = f"({among(OUTBOUND_OPEN, 'o.state')} OR {_DEAD_LETTER})"
_ASKED: Final = among(APPROVAL_OPEN, "a.state")
_QUESTIONED: Final = among(QUESTION_OPEN, "q.state")
# The subject of a notice is the subject of its request with "/notice" behind it.
_SUBJECT: Final = (
    "CASE instr(row.subject, '/') WHEN 0 THEN row.subject ELSE substr(row.subject, 1, instr(row.subject, '/') - 1) END"
)
_MESSAGES: Final[Mapping[Referrer, str]] = {
    "reply": f"EXISTS (SELECT 1 FROM outbound o WHERE o.turn_id = row.turn_id AND {_UNSETTLED})",
    "approval": f"EXISTS (SELECT 1 FROM approval a WHERE a.turn_id = row.turn_id AND {_ASKED})",
    "question": f"EXISTS (SELECT 1 FROM question q WHERE q.turn_id = row.turn_id AND {_QUESTIONED})",
}
_REPLIES: Final[Mapping[Referrer, str]] = {
    "edit": f"EXISTS (SELECT 1 FROM outbound o WHERE o.edits = row.id AND {_UNSETTLED})",
    "approval": f"EXISTS (SELECT 1 FROM approval a WHERE a.id = {_SUBJECT} AND {_ASKED})",
    "question": f"EXISTS (SELECT 1 FROM question q WHERE q.id = {_SUBJECT} AND {_QUESTIONED})",
}
# A turn that is run again finds its requests again.
_REQUESTS: Final[Mapping[Referrer, str]] = {
    "message": f"EXISTS (SELECT 1 FROM inbound i WHERE i.turn_id = row.turn_id AND {among(INBOUND_OPEN, 'i.state')})",
    "reply": f"EXISTS (SELECT 1 FROM outbound o WHERE o.subject IN (row.id, row.id || '/notice') AND {_UNSETTLED})",
}
_OVER_INBOUND: Final = f"inbound INDEXED BY inbound_over WHERE ({among(INBOUND_OVER)} OR closed_at IS NOT NULL)"
_OVER_OUTBOUND: Final = f"outbound INDEXED BY outbound_over WHERE ({among(OUTBOUND_OVER)} OR closed_at IS NOT NULL)"
_OVER_APPROVAL: Final = f"approval INDEXED BY approval_over WHERE {outside(APPROVAL_OPEN)}"
_OVER_QUESTION: Final = f"question INDEXED BY question_over WHERE {outside(QUESTION_OPEN)}"
_RECEIVED: Final = "row.received_at, row.closed_at"
_WRITTEN: Final = "NULL, row.closed_at"
_KINDS: Final[Mapping[RetentionKind, _Kind]] = {
    "inbound": _Kind("inbound", _OVER_INBOUND, "ended_at", _RECEIVED, _MESSAGES),
    "outbound": _Kind("outbound", _OVER_OUTBOUND, "settled_at", _WRITTEN, _REPLIES),
    "approval": _Kind("approval", _OVER_APPROVAL, "decided_at", "NULL, NULL", _REQUESTS, "seq"),
    "question": _Kind("question", _OVER_QUESTION, "ended_at", "NULL, NULL", _REQUESTS, "seq"),
    "inbound_dead_letter": _Kind("inbound", INBOUND_DEAD_LETTER_ROWS, "ended_at", _RECEIVED, _MESSAGES),
    "outbound_dead_letter": _Kind("outbound", OUTBOUND_DEAD_LETTER_ROWS, "settled_at", _WRITTEN, _REPLIES),
}


class RetentionTable(Tables):
    async def sweep(
        self, kind: RetentionKind, keeps: KeepRule, *, before: float, after: tuple[float, int] | None, limit: int
    ) -> RetentionResult:
        return await self._write(lambda connection: _sweep(connection, _KINDS[kind], keeps, before, after, limit))

    async def bytes_used(self) -> int:
        def read(connection: sqlite3.Connection) -> int:
            size, count, free = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")
            )
            return size * (count - free)

        return await self._read(read)


def _sweep(
    connection: sqlite3.Connection,
    kind: _Kind,
    keeps: KeepRule,
    before: float,
    after: tuple[float, int] | None,
    limit: int,
) -> RetentionResult:
    at, number = after or (float("-inf"), 0)
    end, rowid = kind.end, kind.number
    order = f"ORDER BY {end}, {rowid} LIMIT ?"
    sql = f"SELECT {end}, {rowid} FROM {kind.over} AND {end} < ? AND ({end}, {rowid}) > (?, ?) {order}"
    looked_at = connection.execute(sql, (before, at, number, limit)).fetchall()
    facts = kind.facts
    states: Counter[str] = Counter()
    for _, number in looked_at:
        state, received_at, closed_at, *found = connection.execute(facts, (number,)).fetchone()
        referrers = frozenset(name for name, is_there in zip(kind.referrers, found, strict=True) if is_there)
        if not keeps(OldRow(received_at, closed_at, referrers)):
            connection.execute(f"DELETE FROM {kind.table} WHERE {rowid} = ?", (number,))
            states[state] += 1
    return RetentionResult(dict(states), looked_at[-1] if len(looked_at) == limit else None)
