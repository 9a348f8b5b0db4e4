import json
from collections.abc import Sequence
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.model.records.audit import BEGINNING, AuditDraft, AuditHead, AuditRow, ChainBroken, chained, hash_of, verify

# Texts as they can be stored: SQLite refuses a lone surrogate.
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
drafts = st.builds(AuditDraft, at=st.floats(0, 4e9), actor=texts, action=texts, subject=texts, detail=texts)
CHANGES = {"at": 1e10, "actor": "x" * 40, "action": "x" * 40, "subject": "x" * 40, "detail": "x" * 40, "seq": 99}


def chain(drafts: Sequence[AuditDraft]) -> list[AuditRow]:
    rows: list[AuditRow] = []
    head = BEGINNING
    for draft in drafts:
        row = chained(draft, head)
        rows.append(row)
        head = AuditHead(row.seq, row.hash)
    return rows


def log(length: int) -> list[AuditRow]:
    return chain([AuditDraft(float(number), "operator:ann", "channels.stop", f"telegram/{number}") for number in range(length)])


def test_the_rule_as_it_is_written_down() -> None:
    row = chained(AuditDraft(1.5, "operator:ann", "agents.restart", "coder", '{"é":"\\n"}'), BEGINNING)
    written = (
        '{"action":"agents.restart","actor":"operator:ann","at":1500000,'
        '"detail":"{\\"é\\":\\"\\\\n\\"}","seq":1,"subject":"coder"}'
    )
    assert row.hash == sha256(("0" * 64 + written).encode()).hexdigest()
    assert row.previous == "0" * 64
    assert json.loads(written)["detail"] == row.detail


@given(st.lists(drafts, max_size=8), st.integers(0, 8))
def test_a_log_is_whole_in_one_piece_and_in_two(drafts: list[AuditDraft], cut: int) -> None:
    rows = chain(drafts)
    head = verify(rows)
    assert head == (AuditHead(rows[-1].seq, rows[-1].hash) if rows else BEGINNING)
    assert verify(rows[cut:], verify(rows[:cut])) == head


@given(st.integers(1, 6), st.integers(0, 5), st.sampled_from(sorted(CHANGES)))
def test_a_change_is_found_where_it_was_made(length: int, at: int, field: str) -> None:
    at %= length
    rows = log(length)
    rows[at] = replace(rows[at], **{field: CHANGES[field]})
    with pytest.raises(ChainBroken) as broken:
        verify(rows)
    assert broken.value.seq == at + 1


@given(st.integers(2, 6), st.integers(0, 4))
def test_an_entry_that_was_changed_and_hashed_again_breaks_the_next(length: int, at: int) -> None:
    at %= length - 1
    rows = log(length)
    changed = replace(rows[at], actor="nobody")
    rows[at] = replace(changed, hash=hash_of(changed.previous, changed))
    with pytest.raises(ChainBroken) as broken:
        verify(rows)
    assert broken.value.seq == at + 2


def test_a_missing_entry_is_named() -> None:
    rows = log(4)
    del rows[1]
    with pytest.raises(ChainBroken, match="entry 2: it is missing; the next one is 3"):
        verify(rows)


def test_a_log_written_anew_is_whole_but_has_another_head() -> None:
    first, second = log(3), chain([AuditDraft(9.0, "operator:eve", "nothing", "") for _ in range(3)])
    assert verify(second).seq == verify(first).seq
    assert verify(second).hash != verify(first).hash
