"""The audit log: rows are added, each with the hash of the one before it, and triggers refuse every other change."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection

from msgspec.json import encode
from msgspec.structs import astuple

from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, AuditRow, chained
from gatewayd.stores.sqlite.engine.table import Tables

# The order of the struct's fields.
_COLUMNS = ", ".join(AuditRow.__struct_fields__)
_PLACES = ", ".join("?" for _ in AuditRow.__struct_fields__)


class AuditTable(Tables):
    async def add_audit(self, draft: AuditDraft) -> AuditRow:
        return await self._write(lambda connection: append_audit(connection, draft))

    async def audit_after(self, seq: int, *, limit: int) -> list[AuditRow]:
        sql = f"SELECT {_COLUMNS} FROM audit WHERE seq > ? ORDER BY seq LIMIT ?"
        records = await self._read(lambda connection: connection.execute(sql, (seq, limit)).fetchall())
        return [AuditRow(*record) for record in records]

    async def audit_head(self) -> AuditRow | None:
        return await self._read(_newest)

    async def audit_about(self, subjects: Collection[str], *, limit: int) -> list[AuditRow]:
        sql = f"SELECT {_COLUMNS} FROM audit WHERE subject IN (SELECT value FROM json_each(?)) ORDER BY seq DESC LIMIT ?"
        values = (encode(list(subjects)).decode(), limit)
        records = await self._read(lambda connection: connection.execute(sql, values).fetchall())
        return [AuditRow(*record) for record in reversed(records)]


def append_audit(connection: sqlite3.Connection, draft: AuditDraft) -> AuditRow:
    """Add an entry inside the transaction of the caller, which writes what the entry tells of: both are stored, or neither."""
    newest = _newest(connection)
    head = BEGINNING if newest is None else AuditHead(newest.seq, newest.hash)
    row = chained(draft, head)
    connection.execute(f"INSERT INTO audit ({_COLUMNS}) VALUES ({_PLACES})", astuple(row))
    return row


def _newest(connection: sqlite3.Connection) -> AuditRow | None:
    record = connection.execute(f"SELECT {_COLUMNS} FROM audit ORDER BY seq DESC LIMIT 1").fetchone()
    return None if record is None else AuditRow(*record)
