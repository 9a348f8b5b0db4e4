"""Problems, from facts alone: each kind with its level, its place and its true beginning."""

from typing import get_args

import pytest
from msgspec.structs import replace

from gatewayd.hub.operations.health import (
    FAILED_IN_A_ROW,
    INTERRUPTED_SECONDS,
    OLD_SECONDS,
    STALL_TOLD_SECONDS,
    Facts,
    RejectedReload,
    problems_of,
)
from gatewayd.model.records.dead_letter import DeadLetterCounts
from gatewayd.model.status import AbandonedTask, AccountStatus, AgentStatus, InboxStatus, Lack, Problem, ProblemCode, Stall
from gatewayd.ports.store import StoreStatistics

NOW = 1_800_000_000.0
THEN = NOW - 1000
STORE = StoreStatistics(0, 0, 0, 0, 0.0, healthy=True, last_error=None, last_error_at=None, checked_whole=True)
ACCOUNT = AccountStatus("telegram", "main", "connected", THEN)
AGENT = AgentStatus("assistant", "echo", "open", since=THEN)
WELL = Facts(
    now=NOW,
    state="ready",
    state_since=THEN,
    store=STORE,
    inbox=InboxStatus(limit=10),
    dead_letters=DeadLetterCounts(),
    accounts=(ACCOUNT,),
    agents=(AGENT,),
)


def with_account(**changes: object) -> Facts:
    return replace(WELL, accounts=(ACCOUNT, replace(ACCOUNT, account="other", **changes)))


def with_agent(**changes: object) -> Facts:
    return replace(WELL, agents=(AGENT, replace(AGENT, agent="other", **changes)))


# Each fault: the facts, then the code, the level and the subject. All of them began at THEN.
FAULTS: list[tuple[Facts, str, str, str]] = [
    (replace(WELL, state="starting"), "starting", "failing", ""),
    (replace(WELL, state="draining"), "draining", "failing", ""),
    (
        replace(WELL, store=replace(STORE, healthy=False, failing_since=THEN, last_error="full", last_error_at=NOW - 1)),
        "store_unwritable",
        "failing",
        "",
    ),
    (replace(WELL, store=replace(STORE, committing_since=THEN)), "store_unwritable", "failing", ""),
    (replace(WELL, inbox=InboxStatus(10, 10, full_since=THEN)), "inbox_full", "failing", ""),
    (replace(WELL, no_descriptors_since=THEN), "no_descriptors", "failing", ""),
    (with_account(inbox_waiting=9, inbox_full_since=THEN), "account_full", "failing", "telegram/other"),
    (with_account(state="starting", since=NOW - 1, down_since=THEN), "account_down", "failing", "telegram/other"),
    (with_account(state="waiting", since=NOW - 1, down_since=THEN, reason="cut"), "account_down", "failing", "telegram/other"),
    (with_account(state="parked", since=NOW - 1, down_since=THEN), "account_down", "failing", "telegram/other"),
    (with_account(state="interrupted", since=THEN, down_since=THEN, reason="cut"), "account_down", "failing", "telegram/other"),
    (with_account(lacks=(Lack("#ops", "banned", THEN),)), "account_degraded", "warning", "telegram/other"),
    (with_agent(state="waiting", since=NOW - 1, down_since=THEN, reason="cut"), "agent_down", "failing", "other"),
    (with_agent(state="parked", since=NOW - 1, down_since=THEN), "agent_down", "failing", "other"),
    (with_agent(away_since=THEN, away_reason="no route"), "agent_away", "failing", "other"),
    (with_agent(failed_in_a_row=FAILED_IN_A_ROW, failing_since=THEN, last_error="no"), "agent_failing", "failing", "other"),
    (
        replace(WELL, abandoned_tasks=(AbandonedTask("other", 2, THEN, ("a.py:1 in f", "a.py:9 in f")),)),
        "agent_task_abandoned",
        "warning",
        "other",
    ),
    (with_account(oldest_pending_at=THEN), "outbox_old", "warning", "telegram/other"),
    (replace(WELL, dead_letters=DeadLetterCounts(in_dead=1, oldest_dead_at=THEN)), "dead_letters", "warning", ""),
    (replace(WELL, dead_letters=DeadLetterCounts(out_parked=1, oldest_parked_at=THEN)), "dead_letters", "warning", ""),
    (replace(WELL, dead_letters=DeadLetterCounts(out_unknown=2, oldest_unknown_at=THEN)), "unknown_sends", "warning", ""),
    (replace(WELL, stall=Stall(THEN, NOW - THEN - 1, "core.py:7 in run")), "loop_stalled", "warning", ""),
    (replace(WELL, refused=RejectedReload(THEN, "[limits].turns: …")), "config_refused", "warning", ""),
]


def test_nothing_is_wrong_with_what_is_well() -> None:
    assert problems_of(WELL) == ()


@pytest.mark.parametrize(("facts", "code", "level", "subject"), FAULTS, ids=[code for _, code, _, _ in FAULTS])
def test_each_fault_is_one_problem_since_it_began(facts: Facts, code: str, level: str, subject: str) -> None:
    [problem] = problems_of(facts)
    assert problem == Problem(code, level, subject, THEN, problem.text)  # type: ignore[arg-type]
    assert subject in problem.text
    assert problem.text.strip()


def test_every_code_there_is_has_its_fault() -> None:
    assert {code for _, code, _, _ in FAULTS} == set(get_args(ProblemCode))


@pytest.mark.parametrize(
    "facts",
    [
        with_account(state="stopped"),
        with_account(state="disabled"),
        with_account(oldest_pending_at=NOW - OLD_SECONDS),
        with_agent(failed_in_a_row=FAILED_IN_A_ROW - 1, failing_since=THEN),
        replace(WELL, stall=Stall(NOW - STALL_TOLD_SECONDS - 5, 5.0, "core.py:7 in run")),
    ],
)
def test_what_is_no_problem_is_none(facts: Facts) -> None:
    assert problems_of(facts) == ()


def test_old_replies_of_an_account_that_is_down_are_part_of_its_being_down() -> None:
    [problem] = problems_of(with_account(state="waiting", reason="cut", down_since=THEN, oldest_pending_at=THEN, outbox_depth=3))
    assert problem.text == "telegram/other is waiting: cut; replies that wait: 3"


def test_what_fails_comes_before_what_warns() -> None:
    facts = replace(
        with_account(state="parked"), dead_letters=DeadLetterCounts(out_dead=1, oldest_dead_at=THEN), state="draining"
    )
    assert [problem.code for problem in problems_of(facts)] == ["draining", "account_down", "dead_letters"]


@pytest.mark.parametrize(
    ("dead_letters", "said"),
    [
        (DeadLetterCounts(in_dead=1, oldest_dead_at=THEN), "1 message was given up"),
        (DeadLetterCounts(out_dead=1, oldest_dead_at=THEN), "1 reply was given up"),
        (DeadLetterCounts(in_dead=2, out_dead=1, out_parked=2, oldest_dead_at=THEN), "2 messages and 3 replies were given up"),
        (DeadLetterCounts(out_unknown=1, oldest_unknown_at=THEN), "1 reply was cut off, and may or may not have been seen"),
        (DeadLetterCounts(out_unknown=2, oldest_unknown_at=THEN), "2 replies were cut off, and may or may not have been seen"),
    ],
)
def test_dead_letters_are_told_in_numbers_that_read_well(dead_letters: DeadLetterCounts, said: str) -> None:
    [problem] = problems_of(replace(WELL, dead_letters=dead_letters))
    assert problem.text == f"{said}: gatewayctl dead-letters list"


def test_a_short_interruption_is_no_problem() -> None:
    since = NOW - INTERRUPTED_SECONDS + 1
    assert problems_of(with_account(state="interrupted", since=since, down_since=since)) == ()


def test_of_many_parts_that_do_not_work_some_are_named() -> None:
    [problem] = problems_of(with_account(lacks=tuple(Lack(f"#{number}", "banned", THEN + number) for number in range(9))))
    assert problem.since == THEN
    assert problem.text == "telegram/other is degraded: #0: banned; #1: banned; #2: banned; and 6 more"
