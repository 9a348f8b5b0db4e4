"""The event log. Its numbers have no gaps: AUTOINCREMENT never reuses one, and an insert that is rolled back uses none."""

import sqlite3
from collections.abc import Sequence

from msgspec import Raw

from gatewayd.model.records.event import Event
from gatewayd.ports.store import EventDraft
from gatewayd.stores.sqlite.engine.table import Tables

PRUNED_AT_ONCE = 5_000
"""The most events that one transaction deletes, so that other writes do not wait long for a large prune."""


class EventTable(Tables):
    async def add_events(self, drafts: Sequence[EventDraft]) -> list[Event]:
        return await self._write(lambda connection: [_insert(connection, draft) for draft in drafts])

    async def events_after(self, seq: int, *, limit: int) -> list[Event]:
        sql = "SELECT seq, at, kind, data FROM event WHERE seq > ? ORDER BY seq LIMIT ?"
        records = await self._read(lambda connection: connection.execute(sql, (seq, limit)).fetchall())
        return [Event(seq=seq, at=at, kind=kind, data=Raw(data)) for seq, at, kind, data in records]

    async def event_bounds(self) -> tuple[int, int]:
        # Two subqueries: SQLite finds one min or max at the end of the b-tree, but scans the table for both in one SELECT.
        sql = "SELECT ifnull((SELECT min(seq) FROM event), 0), ifnull((SELECT max(seq) FROM event), 0)"
        oldest, newest = await self._read(lambda connection: connection.execute(sql).fetchone())
        return oldest, newest

    async def prune_events(self, *, keep: int) -> int:
        sql = """
            DELETE FROM event WHERE seq IN (
                SELECT seq FROM event WHERE seq <= (SELECT max(seq) FROM event) - ? ORDER BY seq LIMIT ?
            )
        """
        pruned = 0
        while True:
            deleted = await self._write(lambda connection: connection.execute(sql, (keep, PRUNED_AT_ONCE)).rowcount)
            pruned += deleted
            if deleted < PRUNED_AT_ONCE:
                return pruned


def _insert(connection: sqlite3.Connection, draft: EventDraft) -> Event:
    cursor = connection.execute("INSERT INTO event (at, kind, data) VALUES (?, ?, ?)", (draft.at, draft.kind, draft.data))
    assert cursor.lastrowid is not None
    return Event(seq=cursor.lastrowid, at=draft.at, kind=draft.kind, data=Raw(draft.data))
