"""What belongs together, looked up. Each look-up goes by an index."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from gatewayd.model.records.approval import Approval
from gatewayd.model.records.audit import AuditRow
from gatewayd.model.records.question import QuestionRow
from gatewayd.ports.store import (
    Account,
    ApprovalKey,
    InboundRow,
    Lookup,
    MessageKey,
    OutboundRow,
    QuestionKey,
    ReplyKey,
)
from gatewayd.stores.sqlite.engine.table import Tables
from gatewayd.stores.sqlite.tables.approvals import select_approvals
from gatewayd.stores.sqlite.tables.audit import AUDIT_COLUMNS
from gatewayd.stores.sqlite.tables.inbox import INBOUND_COLUMNS, inbound_row
from gatewayd.stores.sqlite.tables.outbox import OUTBOUND_COLUMNS, outbound_rows
from gatewayd.stores.sqlite.tables.questions import select_questions

T = TypeVar("T")
_AUDIT: Final = f"SELECT {AUDIT_COLUMNS} FROM audit WHERE subject = ? ORDER BY seq DESC LIMIT ?"
# By the index on the key: with the account first, all of an account's rows would be read.
_OF_ACCOUNT: Final = "AND +channel = ? AND +account = ?"
_ACCOUNT_OF: Final[Mapping[str, str]] = {"event_key": "AND channel = ? AND account = ?"}


class TraceTable(Tables):
    async def read_trace(self, gather: Callable[[Lookup], T]) -> T:
        return await self._read(lambda connection: gather(_Lookup(connection)))


class _Lookup:
    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def messages(self, by: MessageKey, value: str | int, *, account: Account | None = None, limit: int) -> list[InboundRow]:
        found = self._connection.execute(*_select(INBOUND_COLUMNS, "inbound", by, value, account, limit))
        return [inbound_row(record) for record in found]

    def replies(self, by: ReplyKey, value: str | int, *, account: Account | None = None, limit: int) -> list[OutboundRow]:
        return outbound_rows(self._connection.execute(*_select(OUTBOUND_COLUMNS, "outbound", by, value, account, limit)))

    def approvals(self, by: ApprovalKey, value: str, *, limit: int) -> list[Approval]:
        return select_approvals(self._connection, f"{by} = ? ORDER BY seq DESC LIMIT ?", (value, limit))

    def questions(self, by: QuestionKey, value: str, *, limit: int) -> list[QuestionRow]:
        return select_questions(self._connection, f"{by} = ? ORDER BY seq DESC LIMIT ?", (value, limit))

    def audit(self, subject: str, *, limit: int) -> list[AuditRow]:
        return [AuditRow(*record) for record in self._connection.execute(_AUDIT, (subject, limit))]


def _select(
    columns: str, table: str, by: str, value: str | int, account: Account | None, limit: int
) -> tuple[str, tuple[str | int, ...]]:
    here = "" if account is None else _ACCOUNT_OF.get(by, _OF_ACCOUNT)
    sql = f"SELECT {columns} FROM {table} WHERE {by} = ? {here} ORDER BY id DESC LIMIT ?"
    return sql, (value, *(account or ()), limit)
