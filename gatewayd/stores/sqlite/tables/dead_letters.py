"""Lists and counts of dead letters, over both tables. What is done to them is in repair.py."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import math
import sqlite3
from heapq import merge
from itertools import islice
from typing import Final

from msgspec import Struct

from gatewayd.model.lifecycle import INBOUND_DEAD_LETTERS, OUTBOUND_DEAD_LETTERS
from gatewayd.model.records.dead_letter import DeadLetter, DeadLetterCounts, DeadLetterCursor, DeadLetterFilter, Direction
from gatewayd.ports.store import DeadLetterRow, InboundRow, OutboundRow, dead_letter_of
from gatewayd.stores.sqlite.engine.conditions import among
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables
from gatewayd.stores.sqlite.tables.inbox import INBOUND_ROWS
from gatewayd.stores.sqlite.tables.reports import OUTBOUND_ROWS

_NEWEST: Final = (math.inf, 2**63 - 1)
_OLDEST: Final = (-math.inf, 0)
INBOUND_DEAD_LETTER_ROWS: Final = (
    f"inbound INDEXED BY inbound_dead_letter WHERE {among(INBOUND_DEAD_LETTERS)} AND closed_at IS NULL"
)
OUTBOUND_DEAD_LETTER_ROWS: Final = (
    f"outbound INDEXED BY outbound_dead_letter WHERE {among(OUTBOUND_DEAD_LETTERS)} AND closed_at IS NULL"
)
# The index of the inbound dead letters does not have their state, because there is only one.
[_INBOUND_STATE] = INBOUND_DEAD_LETTERS
_COUNT: Final = f"""
    SELECT 'in_{_INBOUND_STATE}', count(*), min(ended_at) FROM {INBOUND_DEAD_LETTER_ROWS} UNION ALL
    SELECT 'out_' || state, count(*), min(settled_at) FROM {OUTBOUND_DEAD_LETTER_ROWS} GROUP BY state
"""


class _Table(Struct, frozen=True):
    """One of the two tables. Its dead letters are always found by its partial index."""

    direction: Direction
    dead_letters: str
    end: str
    rows: Rows[InboundRow] | Rows[OutboundRow]


_INBOUND = _Table("in", INBOUND_DEAD_LETTER_ROWS, "ended_at", INBOUND_ROWS)
_OUTBOUND = _Table("out", OUTBOUND_DEAD_LETTER_ROWS, "settled_at", OUTBOUND_ROWS)


class DeadLetterTable(Tables):
    async def list_dead_letters(
        self, wanted: DeadLetterFilter, *, before: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetter]:
        def page(connection: sqlite3.Connection, table: _Table) -> list[DeadLetter]:
            # One at a time: a text may have a million characters, and the list keeps its beginning only.
            records = _page(connection, table, table.rows.columns, wanted, before, limit, newest=True)
            return [dead_letter_of(table.rows.read(record)) for record in records]

        def read(connection: sqlite3.Connection) -> list[DeadLetter]:
            pages = [page(connection, table) for table in _tables(wanted)]
            return list(islice(merge(*pages, key=lambda dead_letter: dead_letter.cursor, reverse=True), limit))

        return await self._read(read)

    async def oldest_dead_letters(
        self, wanted: DeadLetterFilter, *, after: DeadLetterCursor | None, limit: int
    ) -> list[DeadLetterCursor]:
        def page(connection: sqlite3.Connection, table: _Table) -> list[DeadLetterCursor]:
            records = _page(connection, table, f"{table.end}, id", wanted, after, limit, newest=False)
            return [DeadLetterCursor(at, table.direction, row_id) for at, row_id in records]

        def read(connection: sqlite3.Connection) -> list[DeadLetterCursor]:
            return list(islice(merge(*[page(connection, table) for table in _tables(wanted)]), limit))

        return await self._read(read)

    async def count_dead_letters(self) -> DeadLetterCounts:
        records = await self._read(lambda connection: connection.execute(_COUNT).fetchall())
        counts = {name: count for name, count, _ in records}
        oldest = {name: at for name, _, at in records}
        dead = [at for name in ("in_dead", "out_dead") if (at := oldest.get(name)) is not None]
        return DeadLetterCounts(
            **counts,
            oldest_dead_at=min(dead, default=None),
            oldest_unknown_at=oldest.get("out_unknown"),
            oldest_parked_at=oldest.get("out_parked"),
        )


def _tables(wanted: DeadLetterFilter) -> list[_Table]:
    tables = [_INBOUND] if wanted.direction != "out" and wanted.state in (None, _INBOUND_STATE) else []
    return [*tables, _OUTBOUND] if wanted.direction != "in" else tables


def _conditions(table: _Table, wanted: DeadLetterFilter) -> tuple[str, list[str | float]]:
    sql, values = "", list[str | float]()
    for column in ("channel", "account", "reason", "state"):
        value: str | None = getattr(wanted, column)
        if value is not None and (column != "state" or table is _OUTBOUND):
            sql += f" AND {column} = ?"
            values.append(value)
    if wanted.ended_before is not None:
        sql += f" AND {table.end} < ?"
        values.append(wanted.ended_before)
    return sql, values


def _bound(table: _Table, cursor: DeadLetterCursor | None, default: tuple[float, int]) -> tuple[float, int]:
    """The cursor in the order of one table. At the same time, inbound dead letters come before outbound ones."""
    if cursor is None:
        return default
    if cursor.direction == table.direction:
        return cursor.ended_at, cursor.id
    return cursor.ended_at, _OLDEST[1] if table is _OUTBOUND else _NEWEST[1]


def _page(
    connection: sqlite3.Connection,
    table: _Table,
    columns: str,
    wanted: DeadLetterFilter,
    cursor: DeadLetterCursor | None,
    limit: int,
    *,
    newest: bool,
) -> sqlite3.Cursor:
    beyond, order, default = ("<", "DESC", _NEWEST) if newest else (">", "ASC", _OLDEST)
    conditions, values = _conditions(table, wanted)
    sql = f"""
        SELECT {columns} FROM {table.dead_letters} AND ({table.end}, id) {beyond} (?, ?) {conditions}
        ORDER BY {table.end} {order}, id {order} LIMIT ?
    """
    return connection.execute(sql, (*_bound(table, cursor, default), *values, limit))


def get_row(connection: sqlite3.Connection, direction: Direction, row_id: int) -> DeadLetterRow | None:
    rows = INBOUND_ROWS if direction == "in" else OUTBOUND_ROWS
    return rows.find(connection, "id = ?", (row_id,))
