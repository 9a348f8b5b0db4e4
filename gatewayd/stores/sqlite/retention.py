"""What is old goes, a few rows at a time and the oldest first; what something still refers to stays.

A call looks at a bounded number of rows, whatever it deletes of them: rows that stay never make the next call slower, because it
goes on behind them.
"""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections import Counter
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
from gatewayd.ports.store import Leftover, Swept
from gatewayd.stores.sqlite.letters import INBOUND_LETTERS, OUTBOUND_LETTERS
from gatewayd.stores.sqlite.states import among, outside
from gatewayd.stores.sqlite.tables import Tables


class _Kind(Struct, frozen=True):
    """``over`` are the rows, with the index that lists them by their ``end``; ``kept`` is what of them stays."""

    table: str
    over: str
    end: str
    kept: str
    number: str = "id"


_LETTER: Final = f"({among(OUTBOUND_DEAD_LETTERS, 'o.state')} AND o.closed_at IS NULL)"
_UNSETTLED: Final = f"({among(OUTBOUND_OPEN, 'o.state')} OR {_LETTER})"
_ASKED: Final = among(APPROVAL_OPEN, "a.state")
_QUESTIONED: Final = among(QUESTION_OPEN, "q.state")
# A letter that was dropped is kept from then on, for whoever asks what became of it.
_JUST_DROPPED: Final = "coalesce(row.closed_at, 0) >= :before"
_MESSAGE_IS_USED: Final = f"""
    EXISTS (SELECT 1 FROM outbound o WHERE o.turn_id = row.turn_id AND {_UNSETTLED})
    OR EXISTS (SELECT 1 FROM approval a WHERE a.turn_id = row.turn_id AND {_ASKED})
    OR EXISTS (SELECT 1 FROM question q WHERE q.turn_id = row.turn_id AND {_QUESTIONED})
    OR row.received_at >= :before
    OR {_JUST_DROPPED}
"""
# The subject of a notice is that of its request, and a word behind a slash.
_SUBJECT: Final = (
    "CASE instr(row.subject, '/') WHEN 0 THEN row.subject ELSE substr(row.subject, 1, instr(row.subject, '/') - 1) END"
)
_REPLY_IS_USED: Final = f"""
    EXISTS (SELECT 1 FROM outbound o WHERE o.edits = row.id AND {_UNSETTLED})
    OR EXISTS (SELECT 1 FROM approval a WHERE a.id = {_SUBJECT} AND {_ASKED})
    OR EXISTS (SELECT 1 FROM question q WHERE q.id = {_SUBJECT} AND {_QUESTIONED})
    OR {_JUST_DROPPED}
"""
# A turn that is run again finds what it had asked.
_REQUEST_IS_USED: Final = f"""
    EXISTS (SELECT 1 FROM inbound i WHERE i.turn_id = row.turn_id AND {among(INBOUND_OPEN, "i.state")})
    OR EXISTS (SELECT 1 FROM outbound o WHERE o.subject IN (row.id, row.id || '/notice') AND {_UNSETTLED})
"""
_KINDS: Final[dict[Leftover, _Kind]] = {
    "inbound": _Kind(
        "inbound",
        f"inbound INDEXED BY inbound_over WHERE ({among(INBOUND_OVER)} OR closed_at IS NOT NULL)",
        "ended_at",
        _MESSAGE_IS_USED,
    ),
    "outbound": _Kind(
        "outbound",
        f"outbound INDEXED BY outbound_over WHERE ({among(OUTBOUND_OVER)} OR closed_at IS NOT NULL)",
        "settled_at",
        _REPLY_IS_USED,
    ),
    "approval": _Kind(
        "approval",
        f"approval INDEXED BY approval_over WHERE {outside(APPROVAL_OPEN)}",
        "decided_at",
        _REQUEST_IS_USED,
        "seq",
    ),
    "question": _Kind(
        "question",
        f"question INDEXED BY question_over WHERE {outside(QUESTION_OPEN)}",
        "ended_at",
        _REQUEST_IS_USED,
        "seq",
    ),
    "inbound_letter": _Kind("inbound", INBOUND_LETTERS, "ended_at", _MESSAGE_IS_USED),
    "outbound_letter": _Kind("outbound", OUTBOUND_LETTERS, "settled_at", _REPLY_IS_USED),
}


class RetentionTable(Tables):
    async def sweep(self, kind: Leftover, *, before: float, after: tuple[float, int] | None, limit: int) -> Swept:
        return await self._write(lambda connection: _sweep(connection, _KINDS[kind], before, after, limit))

    async def bytes_used(self) -> int:
        def read(connection: sqlite3.Connection) -> int:
            size, count, free = (
                int(connection.execute(f"PRAGMA {name}").fetchone()[0]) for name in ("page_size", "page_count", "freelist_count")
            )
            return size * (count - free)

        return await self._read(read)


def _sweep(connection: sqlite3.Connection, kind: _Kind, before: float, after: tuple[float, int] | None, limit: int) -> Swept:
    at, number = after or (float("-inf"), 0)
    end, rowid = kind.end, kind.number
    order = f"ORDER BY {end}, {rowid} LIMIT ?"
    sql = f"SELECT {end}, {rowid} FROM {kind.over} AND {end} < ? AND ({end}, {rowid}) > (?, ?) {order}"
    looked_at = connection.execute(sql, (before, at, number, limit)).fetchall()
    state = f"SELECT row.state FROM {kind.table} row WHERE row.{rowid} = :number AND NOT ({kind.kept})"
    states: Counter[str] = Counter()
    for _, number in looked_at:
        found = connection.execute(state, {"number": number, "before": before}).fetchone()
        if found is not None:
            connection.execute(f"DELETE FROM {kind.table} WHERE {rowid} = ?", (number,))
            states[found[0]] += 1
    return Swept(dict(states), looked_at[-1] if len(looked_at) == limit else None)
