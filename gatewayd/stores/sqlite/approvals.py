"""Tool requests and what the operator decided."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from typing import Literal

from msgspec.structs import astuple

from gatewayd.model.approval import Approval, ApprovalState
from gatewayd.stores.sqlite.tables import Tables

# The order of the struct's fields.
_COLUMNS = ", ".join(Approval.__struct_fields__)
_PLACES = ", ".join("?" for _ in Approval.__struct_fields__)


class ApprovalTable(Tables):
    async def add_approval(self, approval: Approval) -> Approval:
        insert = f"INSERT INTO approval ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT (turn_id, ordinal) DO NOTHING"

        def add(connection: sqlite3.Connection) -> Approval:
            connection.execute(insert, astuple(approval))
            row = _select(connection, "turn_id = ? AND ordinal = ?", (approval.turn_id, approval.ordinal))
            assert row is not None
            return row

        return await self._write(add)

    async def get_approval(self, approval_id: str) -> Approval | None:
        return await self._read(lambda connection: _select(connection, "id = ?", (approval_id,)))

    async def list_approvals(self, state: ApprovalState | None, *, limit: int) -> list[Approval]:
        condition, values = ("", (limit,)) if state is None else ("WHERE state = ?", (state, limit))
        order = "ASC" if state == "pending" else "DESC"
        sql = f"SELECT {_COLUMNS} FROM approval {condition} ORDER BY seq {order} LIMIT ?"
        records = await self._read(lambda connection: connection.execute(sql, values).fetchall())
        return [Approval(*record) for record in records]

    async def decide_approval(
        self,
        approval_id: str,
        state: Literal["allowed", "denied", "expired", "withdrawn"],
        *,
        by: str,
        note: str | None,
        now: float,
    ) -> Approval | None:
        update = "UPDATE approval SET state = ?, decided_by = ?, note = ?, decided_at = ? WHERE id = ? AND state = 'pending'"

        def decide(connection: sqlite3.Connection) -> Approval | None:
            if connection.execute(update, (state, by, note, now, approval_id)).rowcount == 0:
                return None
            return _select(connection, "id = ?", (approval_id,))

        return await self._write(decide)

    async def consume_approval(self, approval_id: str, *, now: float) -> bool:
        sql = "UPDATE approval SET consumed_at = ? WHERE id = ? AND state = 'allowed' AND consumed_at IS NULL"
        return await self._write(lambda connection: connection.execute(sql, (now, approval_id)).rowcount == 1)


def _select(connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...]) -> Approval | None:
    record = connection.execute(f"SELECT {_COLUMNS} FROM approval WHERE {condition}", values).fetchone()
    return None if record is None else Approval(*record)
