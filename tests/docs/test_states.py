"""The pages that name states and reasons name those that there are."""

import re
from pathlib import Path
from typing import get_args

import pytest

from gatewayd.model.lifecycle import (
    APPROVAL,
    END_INBOUND,
    INBOUND,
    INBOUND_DEAD_LETTERS,
    LIFE_CYCLES,
    OUTBOUND,
    OUTBOUND_DEAD_LETTERS,
    OUTBOUND_OPEN,
    OUTBOUND_OVER,
    QUESTION,
    REASONS,
    DeadLetterState,
)
from gatewayd.model.turn import TURN

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
HTTP = (DOCS / "reference/http.md").read_text()


def words(text: str) -> set[str]:
    return set(re.findall(r"`([a-z_]+)`", text))


def cells(page: str, *, first: str) -> list[list[str]]:
    """The rows of a page's tables whose first cell matches."""
    lines = (DOCS / page).read_text().splitlines()
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines if line.startswith("| ")]
    return [row for row in rows if re.fullmatch(first, row[0])]


def test_the_architecture_has_every_state_and_what_becomes_of_it() -> None:
    tables = "|".join(cycle.table for cycle in LIFE_CYCLES)
    rows = [row for row in cells("architecture.md", first=tables) if len(row) == 4]
    found = {(table, *words(state)): words(becomes) for table, state, _, becomes in rows}
    assert found == {(cycle.table, state): {*cycle.targets(state)} for cycle in LIFE_CYCLES for state in cycle.stages}


def test_the_architecture_has_every_state_of_a_turn_and_what_holds_in_it() -> None:
    rows = [row for row in cells("architecture.md", first="turn") if len(row) == 6]
    found = {word: (phase, slot, words(becomes)) for _, state, _, phase, slot, becomes in rows for word in words(state)}
    assert found == {state: (stage.phase, stage.slot, {*stage.becomes}) for state, stage in TURN.items()}


def test_what_a_person_does_is_said_there() -> None:
    by_person = {
        (row[0], *words(row[1])) for row in cells("architecture.md", first="inbound|outbound") if "by a person" in row[3]
    }
    dead_letters = {("inbound", state) for state in INBOUND_DEAD_LETTERS} | {
        ("outbound", state) for state in OUTBOUND_DEAD_LETTERS
    }
    assert by_person == dead_letters


@pytest.mark.parametrize(
    ("kind", "states"),
    [
        ("inbound", {*INBOUND.made["add_inbound"], *END_INBOUND.targets}),
        # Nobody is told of the begin of a call, and everybody of what the platform reports.
        ("outbound", {*OUTBOUND.stages, "delivered", "read"} - {"sending"}),
        ("approval", {*APPROVAL.stages, "vote", "refused"}),
        ("question", {*QUESTION.stages}),
    ],
)
def test_each_state_that_is_told_of_is_a_kind_of_event(kind: str, states: set[str]) -> None:
    assert set(re.findall(rf"`{kind}\.([a-z]+)`", HTTP.partition("## Events\n")[2].partition("\n## ")[0])) == states


def test_approvals_are_listed_by_each_state() -> None:
    [line] = [line for line in HTTP.splitlines() if line.startswith("| `GET /v1/approvals?state=pending`")]
    assert words(line.split("|")[3]) == {*APPROVAL.at("over"), "all"}


def test_dead_letters_are_listed_by_each_state() -> None:
    [line] = [line for line in HTTP.splitlines() if line.startswith("| `GET /v1/dead-letters` |")]
    [states] = re.findall(r"`state=([a-z\\|]+)`", line)
    assert states.split(r"\|") == list(get_args(DeadLetterState))


def test_the_gauges_have_a_series_for_each_state() -> None:
    [[*_, outbox]] = cells("reference/metrics.md", first="`gatewayd_outbox`")
    assert words(outbox) == {*OUTBOUND_OPEN, *OUTBOUND_DEAD_LETTERS}
    [[*_, dead_letters]] = cells("reference/metrics.md", first="`gatewayd_dead_letters`")
    messages, _, replies = dead_letters.partition("replies")
    assert (words(messages) - {"in"}, words(replies) - {"out"}) == ({*INBOUND_DEAD_LETTERS}, {*OUTBOUND_DEAD_LETTERS})
    [[*_, messages]] = cells("reference/metrics.md", first="`gatewayd_inbound_total`")
    assert words(messages) == {*INBOUND.made["add_inbound"], *END_INBOUND.targets}
    [[*_, replies]] = cells("reference/metrics.md", first="`gatewayd_outbound_total`")
    assert words(replies) == {*OUTBOUND_OVER, *OUTBOUND_DEAD_LETTERS}
    [[*_, requests]] = cells("reference/metrics.md", first="`gatewayd_approvals_total`")
    assert words(requests) == {*APPROVAL.at("over")}


def test_the_console_has_words_for_each_kind_of_dead_letter() -> None:
    kinds = [f"in {state}" for state in INBOUND_DEAD_LETTERS] + [f"out {state}" for state in OUTBOUND_DEAD_LETTERS]
    pages = ROOT / "gatewayd/web/pages/console"
    what = (pages / "dead-letters.js").read_text().partition("const WHAT = {")[2].partition("}")[0]
    assert sorted(re.findall(r'"([a-z ]+)":', what)) == sorted(kinds)
    assert sorted(re.findall(r'<option value="([a-z]+ [a-z]+)">', (pages / "dead-letters.html").read_text())) == sorted(kinds)


def test_the_page_of_repair_has_every_dead_letter_and_the_reasons_of_dead_messages() -> None:
    dead_letters = {(ref, *words(state)) for ref, state, _ in cells("how-to/repair.md", first="`(in-12|out-7)`")}
    assert dead_letters == {("`in-12`", state) for state in INBOUND_DEAD_LETTERS} | {
        ("`out-7`", state) for state in OUTBOUND_DEAD_LETTERS
    }
    reasons = "|".join(REASONS["dead"])
    assert {row[0].strip("`") for row in cells("how-to/repair.md", first=f"`({reasons}|[a-z_]+)`")} == {*REASONS["dead"]}
