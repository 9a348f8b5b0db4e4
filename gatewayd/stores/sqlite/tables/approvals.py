"""Tool requests, what people said of them, and what they allowed for a whole session."""

# ruff: noqa: S608 -- only constants of this module are put into the SQL

import sqlite3
from collections.abc import Collection, Sequence
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from gatewayd.model.lifecycle import APPROVAL, APPROVAL_OPEN, APPROVAL_USABLE, DECIDE, VOTE, ApprovalState, Outcome
from gatewayd.model.records.approval import Approval, Vote
from gatewayd.model.records.audit import AuditDraft
from gatewayd.ports.store import Account, VoteRule
from gatewayd.stores.sqlite.engine.columns import OF_NO_OTHERS, accounts_value, decode_column
from gatewayd.stores.sqlite.engine.states import among
from gatewayd.stores.sqlite.engine.table import Tables
from gatewayd.stores.sqlite.tables.audit import append_audit

# The order of the struct's fields; "groups" is a word of SQL.
_COLUMNS = ", ".join("asked_groups" if name == "groups" else name for name in Approval.__struct_fields__)
_PLACES = ", ".join("?" for _ in Approval.__struct_fields__)
_CAN_VOTE: Final = f"id = ? AND {among(VOTE.sources)}"
_DECIDE: Final = f"""
    UPDATE approval SET state = ?, decided_by = ?, note = ?, decided_at = ? WHERE id = ? AND {among(DECIDE.sources)}
"""
_VOTE: Final = "UPDATE approval SET state = ?, decided_by = ?, note = ?, decided_at = ?, votes = ?, scope = ? WHERE id = ?"
_CONSUME: Final = (
    f"UPDATE approval SET consumed_at = ?, ref = ? WHERE id = ? AND {among(APPROVAL_USABLE)} AND consumed_at IS NULL"
)
_GROUPS = msgspec.json.Decoder(tuple[str, ...])
_VOTES = msgspec.json.Decoder(tuple[Vote, ...])


class ApprovalTable(Tables):
    async def add_approval(self, approval: Approval, *, audit: AuditDraft | None = None) -> Approval:
        assert approval.state in APPROVAL.made["add_approval"], f"no request begins as {approval.state}"

        def add(connection: sqlite3.Connection) -> Approval:
            if _insert(connection, approval):
                _audit(connection, audit)
                return approval
            row = _select(connection, "turn_id = ? AND ordinal = ?", (approval.turn_id, approval.ordinal))
            assert row is not None
            return row

        return await self._write(add)

    async def get_approval(self, approval_id: str) -> Approval | None:
        by_code = "seq = (SELECT max(seq) FROM approval WHERE code = ?)"
        return await self._read(
            lambda connection: _select(connection, "id = ?", (approval_id,)) or _select(connection, by_code, (approval_id,))
        )

    async def approvals_of(self, turn_id: str) -> list[Approval]:
        return await self._read(lambda connection: select_approvals(connection, "turn_id = ? ORDER BY ordinal", (turn_id,)))

    async def list_approvals(
        self, state: ApprovalState | None, *, limit: int, accounts: Collection[Account] | None = None
    ) -> list[Approval]:
        conditions = [*(["state = :state"] if state is not None else []), *([OF_NO_OTHERS] if accounts is not None else [])]
        where = f"WHERE {' AND '.join(conditions)}" if conditions else ""
        order = "ASC" if state in APPROVAL_OPEN else "DESC"
        sql = f"SELECT {_COLUMNS} FROM approval row {where} ORDER BY seq {order} LIMIT :limit"
        values = {"state": state, "accounts": accounts_value(accounts or ()), "limit": limit}
        return [_row(record) for record in await self._read(lambda connection: connection.execute(sql, values).fetchall())]

    async def vote_approval(self, approval_id: str, rule: VoteRule, *, audit: AuditDraft) -> Approval | None:
        def vote(connection: sqlite3.Connection) -> Approval | None:
            found = _select(connection, _CAN_VOTE, (approval_id,))
            voted = None if found is None else rule(found)
            if voted is None:
                return None
            row = voted.row
            assert row.state in VOTE.targets, f"no vote makes a request {row.state}"
            connection.execute(_VOTE, (row.state, row.decided_by, row.note, row.decided_at, _json(row.votes), row.scope, row.id))
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
            return _select(connection, "id = ?", (approval_id,))

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


def _insert(connection: sqlite3.Connection, approval: Approval) -> bool:
    insert = f"INSERT INTO approval ({_COLUMNS}) VALUES ({_PLACES}) ON CONFLICT (turn_id, ordinal) DO NOTHING"
    values = {name: getattr(approval, name) for name in Approval.__struct_fields__}
    values |= {"groups": _json(approval.groups), "votes": _json(approval.votes)}
    return connection.execute(insert, tuple(values.values())).rowcount == 1


def _grant(connection: sqlite3.Connection, row: Approval, inputs: Sequence[str]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO approval_grant VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(row.session_key, row.session_id, row.tool, each, row.id, row.decided_by, row.decided_at) for each in inputs],
    )
    # /new gives the key another session: what was allowed in the one before is over.
    connection.execute("DELETE FROM approval_grant WHERE session_key = ? AND session_id <> ?", (row.session_key, row.session_id))


def _audit(connection: sqlite3.Connection, audit: AuditDraft | None) -> None:
    if audit is not None:
        append_audit(connection, audit)


def select_approvals(connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...]) -> list[Approval]:
    """``condition`` is of our own making; it may go on with an order and a limit."""
    return [_row(record) for record in connection.execute(f"SELECT {_COLUMNS} FROM approval WHERE {condition}", values)]


def _select(connection: sqlite3.Connection, condition: str, values: tuple[str | int, ...]) -> Approval | None:
    return next(iter(select_approvals(connection, condition, values)), None)


def _row(record: tuple[Any, ...]) -> Approval:
    row = Approval(*record)
    where = f"approval {row.id}"
    groups = decode_column(_GROUPS, record[Approval.__struct_fields__.index("groups")].encode(), where)
    votes = decode_column(_VOTES, record[Approval.__struct_fields__.index("votes")].encode(), where)
    return replace(row, groups=groups, votes=votes)


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
