"""A store whose every change of a row is held against the life-cycles: triggers of the writing connection tell them all, also
those within one transaction and those that leave the state as it was."""

# ruff: noqa: S608 -- only constants are put into the SQL

import sqlite3
from typing import Any, get_args

from msgspec.structs import replace

from gatewayd.model.lifecycle import (
    LIFE_CYCLES,
    ApprovalState,
    EndState,
    InboundState,
    OutboundState,
    Outcome,
    PairingDecision,
    PairingState,
    QuestionEnd,
    QuestionState,
    SendOutcome,
)
from gatewayd.model.message.payload import Receipt
from gatewayd.model.message.report import DeliveryReport, ReportKind
from gatewayd.model.records.audit import AuditDraft
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import ResendRule, RetentionKind
from gatewayd.stores.sqlite import SqliteStore
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, approval, draft, dropping, envelope, pairing, retrying, voting

Change = tuple[str, str, str | None, str | None]
"""Table, operation, and the state before and after; None: there was no row, or there is none any more."""
AUDIT = AuditDraft(1.0, "operator:ann", "approval.allow", "x")
LATER = 1_000_000.0

_TRIGGERS = (
    ("insert", "INSERT", "new.rowid, NULL, new.state"),
    ("update", "UPDATE", "new.rowid, old.state, new.state"),
    ("delete", "DELETE", "old.rowid, old.state, NULL"),
)


class Walk:
    """``seen`` are the changes so far. ``do`` calls an operation of the store and looks at what it did."""

    def __init__(self) -> None:
        self.store: SqliteStore
        self.seen: set[Change] = set()
        self._states: dict[tuple[str, int], str] = {}
        self._numbers = iter(range(1, 1_000_000))

    async def watch(self, store: SqliteStore) -> None:
        self.store = store
        await store._write(_watch)

    async def do(self, operation: str, /, *values: Any, **named: Any) -> Any:
        result = await getattr(self.store, operation)(*values, **named)
        for table, number, was, now in await self.store._write(_take):
            assert (table, operation, was, now) in LEGAL, f"{operation}: {table} {number} {was} -> {now}"
            assert self._states.pop((table, number), None) == was
            if now is not None:
                self._states[table, number] = now
            self.seen.add((table, operation, was, now))
        return result

    def number(self) -> int:
        return next(self._numbers)

    def rows(self, table: str) -> list[int]:
        return [number for of, number in self._states if of == table]

    # One row in any state, by the shortest way there.

    async def inbound(self, state: InboundState) -> int:
        [row] = (await self.do("add_inbound", [envelope(f"key-{self.number()}")])).rows
        if state in ("running", "done", "dead"):
            await self.start(row.id)
        if state in ("done", "dropped", "dead"):
            await self.do("end_inbound", [row.id], state=state, reason="stopped", now=2.0)
        return int(row.id)

    async def outbound(self, state: OutboundState) -> int:
        [row] = await self.do("add_outbound", [draft("hi", turn_id=f"turn-{self.number()}")], now=1.0)
        if state not in ("ready", "parked"):
            await self.do("mark_sending", row.id)
        if state not in ("ready", "sending"):
            receipt = Receipt(f"m{row.id}") if state == "sent" else None
            await self.do("settle_outbound", row.id, state, now=2.0, reason="stale", receipt=receipt)
        return int(row.id)

    async def approval(self, state: ApprovalState, *, quorum: int = 1) -> str:
        number = self.number()
        row = replace(approval(number, turn_id=f"turn-{number}"), quorum=quorum)
        await self.do("add_approval", row)
        if state != "pending":
            await self.do("decide_approval", row.id, state, by="x", note=None, now=2.0)
        return row.id

    async def question(self, state: QuestionState) -> str:
        number = self.number()
        row = QuestionRow(f"qu_{number}", f"turn-{number}", 0, "key", Question("Where to?"), "pending", 1.0, 2.0)
        await self.do("add_question", row)
        if state != "pending":
            await self.do("end_question", row.id, state, now=2.0)
        return row.id

    async def pairing(self, state: PairingState) -> str:
        """The sender's id is the code, too."""
        code = f"P{self.number()}"
        await self.do("add_pairing", pairing(code, code))
        if state != "pending":
            await self.do("decide_pairing", code, state, by="x", now=2.0)
        return code

    # What can be done to a row.

    async def start(self, number: int) -> None:
        await self.do("start_turn", [number], turn_id=f"turn-{number}", session_key="key")

    async def end(self, number: int, state: EndState) -> None:
        await self.do("end_inbound", [number], state=state, reason="stopped", now=3.0, replies=[draft("a reply")])

    async def answer(self, number: int, end: QuestionEnd = "answered") -> None:
        await self.do("end_question", await self.question("pending"), end, now=3.0, inbound_ids=[number])

    async def settle(self, number: int, outcome: SendOutcome, *, in_doubt: bool | None = None) -> None:
        notice = replace(draft("it may not have arrived", turn_id=f"notice-{self.number()}"), subject="re_X")
        named = {"now": 3.0, "reason": "cut", "in_doubt": in_doubt, "notice": lambda row, of_turn: notice}
        await self.do("settle_outbound", number, outcome, **named)

    async def report(self, number: int, kind: ReportKind) -> None:
        """A report for a row, whether it has been sent or not; then a failure, which is about no other."""
        for each in (kind, "failed", "delivered"):
            await self.do("add_inbound", [], reports=[("telegram", "main", DeliveryReport(f"m{number}", each, 3.0))])

    async def settle_after(self, number: int, *kinds: ReportKind) -> None:
        """Reports come before the receipt."""
        for kind in kinds:
            await self.do("add_inbound", [], reports=[("telegram", "main", DeliveryReport(f"early{number}", kind, 3.0))])
        await self.do("settle_outbound", number, "sent", now=3.0, receipt=Receipt(f"early{number}"))

    async def recover(self, *, stale_before: float = 0.0, resend: ResendRule | None = None) -> None:
        notice = replace(draft("it may not have arrived", turn_id=f"notice-{self.number()}"), subject="re_X")
        named = {"stale_before": stale_before, "now": 3.0, "resend": resend, "notice": lambda row, of_turn: notice}
        await self.do("recover_outbound", EVERY_ACCOUNT, **named)

    async def vote(self, approval_id: str, *, allow: bool, by: str = "a:1") -> None:
        await self.do("vote_approval", approval_id, voting(by, allow=allow, at=3.0), audit=AUDIT)

    async def retry(self, ref: str) -> None:
        await self.do("retry_dead_letters", [ref], retrying(), now=3.0)

    async def drop(self, ref: str) -> None:
        await self.do("drop_dead_letters", [ref], dropping(), now=3.0)

    async def sweep(self) -> None:
        for kind in get_args(RetentionKind):
            await self.do("sweep", kind, lambda row: bool(row.referrers), before=LATER, after=None, limit=1000)

    async def ask_again(self, sender: str, decision: PairingDecision) -> None:
        code = f"P{self.number()}"
        await self.do("add_pairing", pairing(code, sender))
        await self.do("decide_pairing", code, decision, by="x", now=3.0)

    async def decide(self, approval_id: str, outcome: Outcome) -> None:
        await self.do("decide_approval", approval_id, outcome, by="x", note=None, now=3.0)


def legal_changes() -> set[Change]:
    """Every line of the tables."""
    found: set[Change] = set()
    for cycle in LIFE_CYCLES:
        found |= {(cycle.table, by, None, state) for by, states in cycle.made.items() for state in states}
        found |= {(cycle.table, by, state, state) for by, states in cycle.marked.items() for state in states}
        found |= {(cycle.table, by, state, None) for by, states in cycle.deleted.items() for state in states}
        found |= {(cycle.table, move.by, was, now) for move in cycle.moves for was in move.sources for now in move.targets}
    return found


LEGAL = legal_changes()


def _watch(connection: sqlite3.Connection) -> None:
    connection.execute("CREATE TEMP TABLE change (of TEXT, number INTEGER, was TEXT, now TEXT)")
    for cycle in LIFE_CYCLES:
        for name, event, values in _TRIGGERS:
            connection.execute(
                f"CREATE TEMP TRIGGER {cycle.table}_{name} AFTER {event} ON main.{cycle.table} "
                f"BEGIN INSERT INTO change VALUES ('{cycle.table}', {values}); END"
            )


def _take(connection: sqlite3.Connection) -> list[tuple[str, int, str | None, str | None]]:
    found = connection.execute("SELECT of, number, was, now FROM temp.change ORDER BY rowid").fetchall()
    connection.execute("DELETE FROM temp.change")
    return found
