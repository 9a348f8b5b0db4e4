"""Approvals with their votes, and the grants for sessions."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Sequence
from typing import Final

import msgspec

from gatewayd.model.lifecycle import APPROVAL, APPROVAL_OPEN, APPROVAL_USABLE, DECIDE, VOTE, ApprovalState, Outcome
from gatewayd.model.records.approval import Approval, Vote
from gatewayd.model.records.audit import AuditDraft
from gatewayd.ports.store import Account, VoteRule
from gatewayd.stores.sqlite.engine.conditions import TURN_OF_ACCOUNTS, accounts_value, among
from gatewayd.stores.sqlite.engine.rows import Rows
from gatewayd.stores.sqlite.engine.table import Tables
from gatewayd.stores.sqlite.tables.audit import append_audit

# "groups" is a keyword of SQL.
APPROVALS: Final = Rows(
    "approval",
    Approval,
    texts={"groups": msgspec.json.Decoder(tuple[str, ...]), "votes": msgspec.json.Decoder(tuple[Vote, ...])},
    renamed={"groups": "asked_groups"},
)
_CAN_VOTE: Final = f"id = ? AND {among(VOTE.sources)}"
_DECIDE: Final = f"""
    UPDATE approval SET state = ?, decided_by = ?, note = ?, decided_at = ? WHERE id = ? AND {among(DECIDE.sources)}
"""
_VOTE: Final = "UPDATE approval SET state = ?, decided_by = ?, note = ?, decided_at = ?, votes = ?, scope = ? WHERE id = ?"
_CONSUME: Final = (
    f"UPDATE approval SET consumed_at = ?, ref = ? WHERE id = ? AND {among(APPROVAL_USABLE)} AND consumed_at IS NULL"
)


class ApprovalTable(Tables):
    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        assert approval.state in APPROVAL.made["add_approval"], f"no request begins as {approval.state}"

        def add(connection: sqlite3.Connection) -> Approval:
            if APPROVALS.insert(connection, approval, conflict="ON CONFLICT (turn_id, ordinal) DO NOTHING"):
                _audit(connection, audit)
            [row] = APPROVALS.select(connection, "turn_id = ? AND ordinal = ?", (approval.turn_id, approval.ordinal))
            return row

        return await self._write(add)

    async def get_approval(self, approval_id: str) -> Approval | None:
        by_code = "seq = (SELECT max(seq) FROM approval WHERE code = ?)"
        return await self._read(
            lambda connection: (
                APPROVALS.find(connection, "id = ?", (approval_id,)) or APPROVALS.find(connection, by_code, (approval_id,))
            )
        )

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        return await self._read(lambda connection: APPROVALS.select(connection, "turn_id = ? ORDER BY ordinal", (turn_id,)))

    async def list_approvals(
        self, state: ApprovalState | None, *, limit: int, accounts: Collection[Account] | None = None
    ) -> list[Approval]:
        conditions = ["state = :state"] * (state is not None) + [TURN_OF_ACCOUNTS] * (accounts is not None)
        order = "ASC" if state in APPROVAL_OPEN else "DESC"
        condition = f"{' AND '.join(conditions) or 1} ORDER BY seq {order} LIMIT :limit"
        values = {"state": state, "accounts": accounts_value(accounts or ()), "limit": limit}
        return await self._read(lambda connection: APPROVALS.select(connection, condition, values))

    async def vote_approval(self, approval_id: str, rule: VoteRule, *, audit: AuditDraft) -> Approval | None:
        def vote(connection: sqlite3.Connection) -> Approval | None:
            found = APPROVALS.find(connection, _CAN_VOTE, (approval_id,))
            voted = None if found is None else rule(found)
            if voted is None:
                return None
            row = voted.row
            assert row.state in VOTE.targets, f"no vote makes a request {row.state}"
            connection.execute(
                _VOTE,
                (row.state, row.decided_by, row.note, row.decided_at, msgspec.json.encode(row.votes).decode(), row.scope, row.id),
            )
            if voted.grants:
                _grant(connection, row, voted.grants)
            _audit(connection, audit)
            return row

        return await self._write(vote)

    async def decide_approval(
        self, approval_id: str, state: Outcome, *, by: str, note: str | None, now: float, audit: AuditDraft | None = None
    ) -> Approval | None:
        def decide(connection: sqlite3.Connection) -> Approval | None:
            if connection.execute(_DECIDE, (state, by, note, now, approval_id)).rowcount == 0:
                return None
            _audit(connection, audit)
            return APPROVALS.find(connection, "id = ?", (approval_id,))

        return await self._write(decide)

    async def consume_approval(self, approval_id: str, *, ref: str | None = None, now: float) -> bool:
        return await self._write(lambda connection: connection.execute(_CONSUME, (now, ref, approval_id)).rowcount == 1)

    async def find_grant(self, session_key: str, session_id: str, tool: str, inputs: Collection[str]) -> str | None:
        sql = f"""
            SELECT approval_id FROM approval_grant
            WHERE session_key = ? AND session_id = ? AND tool = ? AND input_hash IN ({", ".join("?" for _ in inputs)})
        """
        values = (session_key, session_id, tool, *inputs)
        record = await self._read(lambda connection: connection.execute(sql, values).fetchone())
        return None if record is None else str(record[0])


def _grant(connection: sqlite3.Connection, row: Approval, inputs: Sequence[str]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO approval_grant VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(row.session_key, row.session_id, row.tool, each, row.id, row.decided_by, row.decided_at) for each in inputs],
    )
    # /new gives the key another session: the grants of the session before are over.
    connection.execute("DELETE FROM approval_grant WHERE session_key = ? AND session_id <> ?", (row.session_key, row.session_id))


def _audit(connection: sqlite3.Connection, audit: AuditDraft | None) -> None:
    if audit is not None:
        append_audit(connection, audit)
