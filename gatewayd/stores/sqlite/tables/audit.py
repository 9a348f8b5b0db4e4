"""The audit log: rows are added, each with the hash of the one before it, and triggers refuse every other change."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3

from msgspec.structs import astuple

from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, AuditRow, chained
from gatewayd.stores.sqlite.engine.table import Tables

# The order of the struct's fields.
AUDIT_COLUMNS = ", ".join(AuditRow.__struct_fields__)
_PLACES = ", ".join("?" for _ in AuditRow.__struct_fields__)


class AuditTable(Tables):
    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        return await self._write(lambda connection: append_audit(connection, draft))

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        sql = f"SELECT {AUDIT_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
        records = await self._read(lambda connection: connection.execute(sql, (seq, limit)).fetchall())
        return [AuditRow(*record) for record in records]

    async def audit_head(self) -> AuditRow | None:
        return await self._read(_newest)


def append_audit(connection: sqlite3.Connection, draft: AuditDraft) -> AuditRow:
    """Add an entry inside the transaction of the caller, which writes what the entry tells of: both are stored, or neither."""
    newest = _newest(connection)
    head = BEGINNING if newest is None else AuditHead(newest.seq, newest.hash)
    row = chained(draft, head)
    connection.execute(f"INSERT INTO audit ({AUDIT_COLUMNS}) VALUES ({_PLACES})", astuple(row))
    return row


def _newest(connection: sqlite3.Connection) -> AuditRow | None:
    record = connection.execute(f"SELECT {AUDIT_COLUMNS} FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return None if record is None else AuditRow(*record)
