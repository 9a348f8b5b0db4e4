"""The audit log. Entries are added, each with the hash over the one before; triggers refuse every other change."""

import sqlite3
from collections.abc import Collection
from typing import Final

from msgspec.json import encode

from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, AuditRow, chained
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables

_ENTRIES: Final = Rows("audit", AuditRow, name="seq")


class AuditTable(Tables):
    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        return await self._write(lambda connection: append_audit(connection, draft))

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        return await self._read(lambda connection: _ENTRIES.select(connection, "seq > ? ORDER BY seq LIMIT ?", (seq, limit)))

    async def audit_head(self) -> AuditRow | None:
        return await self._read(_newest)

    async def audit_about(self, subjects: Collection[str], *, limit: int) -> list[AuditRow]:
        condition = "subject IN (SELECT value FROM json_each(?)) ORDER BY seq DESC LIMIT ?"
        values = (encode(list(subjects)).decode(), limit)
        return await self._read(lambda connection: _ENTRIES.select(connection, condition, values)[::-1])


def append_audit(connection: sqlite3.Connection, draft: AuditDraft) -> AuditRow:
    """Add an entry in the transaction of the change that it describes: both are stored, or neither."""
    newest = _newest(connection)
    head = BEGINNING if newest is None else AuditHead(newest.seq, newest.hash)
    row = chained(draft, head)
    _ENTRIES.insert(connection, row)
    return row


def _newest(connection: sqlite3.Connection) -> AuditRow | None:
    return _ENTRIES.find(connection, "1 ORDER BY seq DESC LIMIT 1")
