"""The tables of the life-cycles fit the types of the states, and each other."""

from typing import Any, get_args

import pytest
from msgspec.structs import fields

from gatewayd.model import lifecycle
from gatewayd.model.lifecycle import APPROVAL, INBOUND, LIFE_CYCLES, OUTBOUND, PAIRING, QUESTION, LifeCycle
from gatewayd.model.records.dead_letter import DeadLetterCounts
from gatewayd.model.status import OutboxStatus
from gatewayd.stores.sqlite import SqliteStore

TYPES = {
    "inbound": lifecycle.InboundState,
    "outbound": lifecycle.OutboundState,
    "approval": lifecycle.ApprovalState,
    "question": lifecycle.QuestionState,
    "pairing": lifecycle.PairingState,
}


@pytest.mark.parametrize("cycle", LIFE_CYCLES, ids=lambda cycle: cycle.table)
def test_each_state_has_its_stage(cycle: LifeCycle[Any]) -> None:
    assert tuple(cycle.stages) == get_args(TYPES[cycle.table])


@pytest.mark.parametrize("cycle", LIFE_CYCLES, ids=lambda cycle: cycle.table)
def test_only_states_and_operations_of_the_store_are_named(cycle: LifeCycle[Any]) -> None:
    tables = [cycle.made, cycle.marked, cycle.deleted]
    states = {state for table in tables for states in table.values() for state in states}
    states |= {state for move in cycle.moves for state in (*move.sources, *move.targets)}
    assert states == set(cycle.stages), "each is one of the table's, and each is named"
    operations = {by for table in tables for by in table} | {move.by for move in cycle.moves}
    assert [by for by in operations if not hasattr(SqliteStore, by)] == []


@pytest.mark.parametrize("cycle", LIFE_CYCLES, ids=lambda cycle: cycle.table)
def test_a_stage_is_what_becomes_of_a_row(cycle: LifeCycle[Any]) -> None:
    beginning = {state for states in cycle.made.values() for state in states}
    reached = beginning | {target for state in cycle.stages for target in cycle.targets(state)}
    assert reached == set(cycle.stages)
    for state, stage in cycle.stages.items():
        by = {move.by for move in cycle.moves if state in move.sources}
        if stage == "over":
            assert by <= {"add_inbound"}, f"only what its platform reports moves what is {state}"
        elif stage == "dead_letter":
            assert by == {"retry_dead_letters"}, f"only a person moves what is {state}"
            assert state in cycle.marked["drop_dead_letters"]
        elif cycle is not PAIRING:
            assert by, f"nobody ends what is {state}"
    swept = cycle.deleted.get("sweep", ())
    assert cycle is PAIRING or set(swept) == set(cycle.at("over") + cycle.at("dead_letter"))


def test_the_ends_are_those_of_the_tables() -> None:
    ended = {*lifecycle.END_INBOUND.targets}
    assert ended == {*get_args(lifecycle.EndState)} == {*INBOUND.at("over"), *INBOUND.at("dead_letter")}
    assert {*get_args(lifecycle.Outcome)} == {*APPROVAL.at("over")}
    assert {*get_args(lifecycle.QuestionEnd)} == {*QUESTION.at("over")}
    assert {*get_args(lifecycle.PairingDecision)} == {*PAIRING.at("over")}
    dead_letters = {*INBOUND.at("dead_letter"), *OUTBOUND.at("dead_letter")}
    assert {*get_args(lifecycle.DeadLetterState)} == dead_letters
    outcomes = {target for move in OUTBOUND.moves if move.by == "settle_outbound" for target in move.targets}
    assert {*get_args(lifecycle.SendOutcome)} == outcomes


def test_what_may_have_been_seen_is_never_sent_again_by_itself() -> None:
    again = {
        state for move in OUTBOUND.moves if move.by != "retry_dead_letters" and "ready" in move.targets for state in move.sources
    }
    assert again == {"ready", "sending"}  # a driver says that it was not sent; or the channel, that it may be repeated
    assert tuple(lifecycle.SEEN) == tuple(OUTBOUND.stages)


def test_each_reason_belongs_to_an_end() -> None:
    assert set(lifecycle.REASONS) == set(get_args(lifecycle.EndState))
    for reasons in lifecycle.REASONS.values():
        assert list(reasons) == sorted(set(reasons))


def test_what_is_counted_has_a_field_for_each_state() -> None:
    waiting = {*OUTBOUND.at("open"), *OUTBOUND.at("dead_letter")}
    assert {field.name for field in fields(OutboxStatus)} == waiting
    counted = {f"in_{state}" for state in INBOUND.at("dead_letter")} | {f"out_{state}" for state in OUTBOUND.at("dead_letter")}
    assert {field.name for field in fields(DeadLetterCounts) if not field.name.startswith("oldest_")} == counted
    oldest = {field.name for field in fields(DeadLetterCounts) if field.name.startswith("oldest_")}
    assert oldest == {f"oldest_{state}_at" for state in get_args(lifecycle.DeadLetterState)}
