"""The store keeps to the life-cycles: no operation makes another move than theirs, and each of theirs is made by its own."""

import re
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any, get_args

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule
from msgspec.structs import replace

from gatewayd.model.lifecycle import (
    APPROVAL,
    APPROVAL_OPEN,
    INBOUND,
    INBOUND_DEAD_LETTERS,
    INBOUND_OPEN,
    INBOUND_OVER,
    LIFE_CYCLES,
    OUTBOUND,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OVER,
    PAIRING,
    PAIRING_OPEN,
    QUESTION,
    QUESTION_OPEN,
    SEND,
    EndState,
    LifeCycle,
    Outcome,
    PairingDecision,
    QuestionEnd,
    SendOutcome,
)
from gatewayd.model.message.report import ReportKind
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.engine.conditions import among, outside
from gatewayd.testing.store_contract.rows import approval, pairing
from tests.examples import examples
from tests.stores.sqlite.walked import LEGAL, Walk

Step = Callable[[Walk, Any], Awaitable[None]]
"""What is done to a row, by its number, id or code."""


def each(step: Callable[[Walk, Any, Any], Awaitable[None]], kinds: object) -> list[Step]:
    return [lambda walk, row, kind=kind: step(walk, row, kind) for kind in get_args(kinds)]  # type: ignore[misc]


async def put_back_in_doubt(walk: Walk, row: int) -> None:
    await walk.settle(row, "ready", in_doubt=True)


async def in_doubt_and_stale(walk: Walk, row: int) -> None:
    await put_back_in_doubt(walk, row)
    await walk.recover(stale_before=50.0)


async def in_doubt_and_given_up(walk: Walk, row: int) -> None:
    await put_back_in_doubt(walk, row)
    await walk.settle(row, "parked")
    await walk.settle(row, "dead")
    await walk.settle(row, "unknown")


INBOUND_STEPS: list[Step] = [
    Walk.start,
    *each(Walk.end, EndState),
    Walk.answer,
    lambda walk, row: walk.do("note_stop", [row]),
    lambda walk, row: walk.retry(f"in-{row}"),
    lambda walk, row: walk.drop(f"in-{row}"),
    lambda walk, row: walk.sweep(),
]
OUTBOUND_STEPS: list[Step] = [
    lambda walk, row: walk.do("mark_sending", row),
    *each(Walk.settle, SendOutcome),
    *each(Walk.report, ReportKind),
    lambda walk, row: walk.settle_after(row, "read", "delivered"),
    lambda walk, row: walk.settle_after(row, "failed"),
    lambda walk, row: walk.recover(),
    lambda walk, row: walk.recover(resend=lambda found: True),
    lambda walk, row: walk.recover(stale_before=50.0),
    put_back_in_doubt,
    in_doubt_and_stale,
    in_doubt_and_given_up,
    lambda walk, row: walk.retry(f"out-{row}"),
    lambda walk, row: walk.drop(f"out-{row}"),
    lambda walk, row: walk.sweep(),
]
APPROVAL_STEPS: list[Step] = [
    lambda walk, row: walk.vote(row, allow=True),
    lambda walk, row: walk.vote(row, allow=False),
    *each(Walk.decide, Outcome),
    lambda walk, row: walk.do("consume_approval", row, now=3.0),
    lambda walk, row: walk.sweep(),
]
QUESTION_STEPS: list[Step] = [
    *each(lambda walk, row, end: walk.do("end_question", row, end, now=3.0), QuestionEnd),
    lambda walk, row: walk.sweep(),
]
PAIRING_STEPS: list[Step] = [
    *each(lambda walk, code, to: walk.do("decide_pairing", code, to, by="x", now=3.0), PairingDecision),
    *each(lambda walk, code, to: walk.ask_again(code, to), PairingDecision),
    lambda walk, code: walk.do("revoke_pairing", "telegram", "main", code),
    lambda walk, code: walk.do("add_pairing", pairing("LATE", "late", at=150.0, expires_at=151.0)),
]


async def test_each_operation_keeps_to_the_tables_in_each_state_and_no_line_of_them_is_dead(store: SqliteStore) -> None:
    walk = Walk()
    await walk.watch(store)
    kinds: list[tuple[LifeCycle[Any], Callable[[Any], Awaitable[Any]], list[Step]]] = [
        (INBOUND, walk.inbound, INBOUND_STEPS),
        (OUTBOUND, walk.outbound, OUTBOUND_STEPS),
        (APPROVAL, walk.approval, APPROVAL_STEPS),
        (APPROVAL, partial(walk.approval, quorum=2), APPROVAL_STEPS),
        (QUESTION, walk.question, QUESTION_STEPS),
        (PAIRING, walk.pairing, PAIRING_STEPS),
    ]
    for cycle, enter, steps in kinds:
        for state in cycle.stages:
            for step in steps:
                await step(walk, await enter(state))
    for state in APPROVAL.made["add_approval"]:  # what a rule has decided is a row at once
        await walk.do("add_approval", replace(approval(walk.number()), state=state))
    assert LEGAL - walk.seen == set(), "what no operation does is no line of a table"


@pytest.mark.parametrize("state", ["expired", "withdrawn", "undeliverable"])
async def test_no_row_begins_in_another_state(state: Outcome, store: SqliteStore) -> None:
    with pytest.raises(AssertionError, match=f"no request begins as {state}"):
        await store.add_approval(replace(approval(1), state=state))
    assert await store.list_approvals(None, limit=10) == []


class Walker(RuleBasedStateMachine):
    """Any operations in any order, on any row; and stops of the store between them."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.portal_manager = start_blocking_portal("trio")
        self.portal = self.portal_manager.__enter__()
        self.walk = Walk()
        self.named: dict[str, list[str]] = {"approval": [], "question": [], "pairing": []}
        self.open()

    def open(self) -> None:
        opening = open_store(self.directory, now=lambda: 0.0, run_blocking=run_inline)
        self.opened = self.portal.wrap_async_context_manager(opening)
        self.portal.call(self.walk.watch, self.opened.__enter__())

    def teardown(self) -> None:
        self.opened.__exit__(None, None, None)
        self.portal_manager.__exit__(None, None, None)
        shutil.rmtree(self.directory)

    def step(self, data: st.DataObject, steps: list[Step], rows: list[Any]) -> None:
        self.portal.call(data.draw(st.sampled_from(steps)), self.walk, data.draw(st.sampled_from(rows)))

    @rule(state=st.sampled_from(list(INBOUND.stages)))
    def add_inbound(self, state: Any) -> None:
        self.portal.call(self.walk.inbound, state)

    @rule(state=st.sampled_from(list(OUTBOUND.stages)))
    def add_outbound(self, state: Any) -> None:
        self.portal.call(self.walk.outbound, state)

    @rule(quorum=st.integers(1, 2))
    def add_approval(self, quorum: int) -> None:
        self.named["approval"].append(self.portal.call(partial(self.walk.approval, "pending", quorum=quorum)))

    @rule()
    def add_question(self) -> None:
        self.named["question"].append(self.portal.call(self.walk.question, "pending"))

    @rule(state=st.sampled_from(list(PAIRING.stages)))
    def add_pairing(self, state: Any) -> None:
        self.named["pairing"].append(self.portal.call(self.walk.pairing, state))

    @precondition(lambda self: self.walk.rows("inbound"))
    @rule(data=st.data())
    def step_inbound(self, data: st.DataObject) -> None:
        self.step(data, INBOUND_STEPS, self.walk.rows("inbound"))

    @precondition(lambda self: self.walk.rows("outbound"))
    @rule(data=st.data())
    def step_outbound(self, data: st.DataObject) -> None:
        self.step(data, OUTBOUND_STEPS, self.walk.rows("outbound"))

    @precondition(lambda self: self.named["approval"])
    @rule(data=st.data(), by=st.sampled_from(["a:1", "b:2"]))
    def step_approval(self, data: st.DataObject, by: str) -> None:
        self.step(data, [*APPROVAL_STEPS, partial(Walk.vote, allow=True, by=by)], self.named["approval"])

    @precondition(lambda self: self.named["question"])
    @rule(data=st.data())
    def step_question(self, data: st.DataObject) -> None:
        self.step(data, QUESTION_STEPS, self.named["question"])

    @precondition(lambda self: self.named["pairing"])
    @rule(data=st.data())
    def step_pairing(self, data: st.DataObject) -> None:
        self.step(data, PAIRING_STEPS, self.named["pairing"])

    @rule()
    def stop_and_start(self) -> None:
        self.opened.__exit__(None, None, None)
        self.open()


Walker.TestCase.settings = settings(
    max_examples=examples(20), stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAnyWalkIsLegal = Walker.TestCase


NOT_DROPPED = "closed_at IS NULL"
INDEXES = {
    "inbound_pending": among(INBOUND_OPEN),
    "inbound_dead_letter": f"{among(INBOUND_DEAD_LETTERS)} AND {NOT_DROPPED}",
    "inbound_over": f"{among(INBOUND_OVER)} OR closed_at IS NOT NULL",
    "outbound_ready": among(SEND.sources),
    "outbound_dead_letter": f"{among(OUTBOUND_DEAD_LETTERS)} AND {NOT_DROPPED}",
    "outbound_over": f"{among(OUTBOUND_OVER)} OR closed_at IS NOT NULL",
    "approval_ref": f"ref IS NOT NULL AND {among(APPROVAL_OPEN)}",
    "approval_over": outside(APPROVAL_OPEN),
    "question_pending": among(QUESTION_OPEN),
    "question_over": outside(QUESTION_OPEN),
    "pairing_code": among(PAIRING_OPEN),
}
"""The conditions of the partial indexes. A new state wants a migration that makes them anew."""


async def test_the_partial_indexes_have_the_states_of_today(store: SqliteStore) -> None:
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
    indexes = await store._read(lambda connection: dict(connection.execute(sql).fetchall()))
    conditions = {name: " ".join(text.partition(" WHERE ")[2].split()) for name, text in indexes.items()}
    assert {name: condition for name, condition in conditions.items() if "state" in condition} == INDEXES


async def test_the_tables_take_the_states_of_today(store: SqliteStore) -> None:
    sql = "SELECT name, sql FROM sqlite_master WHERE type = 'table'"
    tables = await store._read(lambda connection: dict(connection.execute(sql).fetchall()))
    checked = {name: re.findall(r"CHECK \((state [^()]*\([^()]*\))\)", text) for name, text in tables.items()}
    assert {name: checks for name, checks in checked.items() if checks} == {
        cycle.table: [among(tuple(cycle.stages))] for cycle in LIFE_CYCLES
    }
