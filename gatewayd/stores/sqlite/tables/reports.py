"""Delivery reports: their effects on replies, and those that wait for the receipt of their reply."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

import msgspec

from gatewayd.model.lifecycle import FAIL, OUTBOUND
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.model.message.report import DeliveryReport, ReportKind, failure_in
from gatewayd.ports.store import WAITING_REPORT_SECONDS, WAITING_REPORTS, OutboundRow, Reported
from gatewayd.stores.sqlite.engine.conditions import among, quoted
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables

OUTBOUND_ROWS: Final = Rows(
    "outbound",
    OutboundRow,
    blobs={"payload": msgspec.json.Decoder(OutboundPayload), "receipt": msgspec.json.Decoder(Receipt)},
)
_OF_MESSAGE: Final = """
    SELECT id FROM outbound WHERE message_id = ? AND +channel = ? AND +account = ? AND edits IS NULL ORDER BY id DESC LIMIT 1
"""
_MARKED: Final = among(OUTBOUND.marked["add_inbound"])
_APPLY: Final[Mapping[ReportKind, str]] = {
    "delivered": f"UPDATE outbound SET delivered_at = :at WHERE id = :id AND {_MARKED} AND delivered_at IS NULL",
    "read": f"UPDATE outbound SET read_at = :at WHERE id = :id AND {_MARKED} AND read_at IS NULL",
    "failed": f"""
        UPDATE outbound SET state = {quoted(FAIL.target)}, reason = :reason, settled_at = :now
        WHERE id = :id AND {among(FAIL.sources)} AND delivered_at IS NULL AND read_at IS NULL
    """,
}
_ANY: Final = "SELECT EXISTS (SELECT 1 FROM report)"
_WAIT: Final = """
    INSERT INTO report (channel, account, message_id, kind, at, reason, received_at) VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT DO NOTHING
"""
_TOO_MANY: Final = f"""
    DELETE FROM report WHERE channel = :channel AND account = :account AND seq <= (
        SELECT seq FROM report WHERE channel = :channel AND account = :account
        ORDER BY seq DESC LIMIT 1 OFFSET {WAITING_REPORTS}
    )
"""
_TOO_OLD: Final = "DELETE FROM report WHERE received_at < ?"
_WAITING: Final = """
    SELECT r.message_id, r.kind, r.at, r.reason FROM outbound o
        JOIN report r ON r.channel = o.channel AND r.account = o.account AND r.message_id = :message_id
    WHERE o.id = :id AND o.edits IS NULL ORDER BY r.seq
"""
_TAKE: Final = """
    DELETE FROM report WHERE (channel, account, message_id) = (SELECT channel, account, message_id FROM outbound WHERE id = :id)
"""


class ReportTable(Tables):
    # Whether a report may wait; None: not known yet. Only the thread of the writer uses it.
    _some_wait: bool | None = None

    async def prune_reports(self) -> int:
        before = self._now() - WAITING_REPORT_SECONDS
        return await self._write(lambda connection: connection.execute(_TOO_OLD, (before,)).rowcount)

    def _report(
        self, connection: sqlite3.Connection, channel: str, account: str, report: DeliveryReport, now: float
    ) -> Reported | None:
        """Apply a report, or let it wait for its reply. Runs within the transaction of the caller."""
        found = connection.execute(_OF_MESSAGE, (report.message_id, channel, account)).fetchone()
        if found is not None:
            return _apply(connection, found[0], report, now)
        self._let_wait(connection, channel, account, report, now)
        return None

    def _let_wait(self, connection: sqlite3.Connection, channel: str, account: str, report: DeliveryReport, now: float) -> None:
        self._some_wait = True
        at = now if report.at is None else report.at
        connection.execute(_WAIT, (channel, account, report.message_id, report.kind, at, report.reason, now))
        connection.execute(_TOO_OLD, (now - WAITING_REPORT_SECONDS,))
        connection.execute(_TOO_MANY, {"channel": channel, "account": account})

    def _waiting_reports(self, connection: sqlite3.Connection, outbound_id: int, message_id: str) -> list[DeliveryReport]:
        """The reports that wait for this receipt of a row, in their order."""
        if self._some_wait is None:
            self._some_wait = bool(connection.execute(_ANY).fetchone()[0])
        if not self._some_wait:
            return []
        return [DeliveryReport(*values) for values in connection.execute(_WAITING, {"id": outbound_id, "message_id": message_id})]


def apply_waiting(connection: sqlite3.Connection, row_id: int, reports: Sequence[DeliveryReport], now: float) -> list[Reported]:
    """Apply the reports that have waited for a row, which has just become ``sent``, or ``dead`` with the failure among them."""
    failure = failure_in(reports)
    reported: list[Reported] = []
    for report in reports:
        if report is failure:
            reported.append(Reported(_row(connection, row_id), report.kind))
        elif report.kind != "failed" and (changed := _apply(connection, row_id, report, now)) is not None:
            reported.append(changed)
    if reports:
        connection.execute(_TAKE, {"id": row_id})
    return reported


def _row(connection: sqlite3.Connection, row_id: int) -> OutboundRow:
    [row] = OUTBOUND_ROWS.select(connection, "id = ?", (row_id,))
    return row


def _apply(connection: sqlite3.Connection, outbound_id: int, report: DeliveryReport, now: float) -> Reported | None:
    at = now if report.at is None else report.at
    values = {"id": outbound_id, "at": at, "reason": report.reason, "now": now}
    if connection.execute(_APPLY[report.kind], values).rowcount == 0:
        return None
    return Reported(_row(connection, outbound_id), report.kind)
