"""Votes as their rule has it, grants, and the entry of the log that is written with each."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite import SqliteStore
from gatewayd.testing.store_contract.people.votes import REFUSE_ENTRIES, asked, entry, vote


async def test_a_new_session_forgets_the_grants_of_the_one_before(tmp_path: Path, store: SqliteStore) -> None:
    for number, session in ((1, "s1"), (2, "s2")):
        await store.add_approval(asked(number=number, session_id=session))
        await vote(store, "telegram:1", state="allowed", grants=("abc",), number=number)
    with closing(sqlite3.connect(tmp_path / "state" / "gatewayd.db")) as connection:
        assert connection.execute("SELECT DISTINCT session_id FROM approval_grant").fetchall() == [("s2",)]


@pytest.fixture
def other_hand(tmp_path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Another connection to the open file."""
    with closing(sqlite3.connect(tmp_path / "state" / "gatewayd.db", isolation_level=None)) as connection:
        yield connection


async def test_without_its_entry_nothing_is_decided(store: SqliteStore, other_hand: sqlite3.Connection) -> None:
    await store.add_approval(asked())
    other_hand.execute(REFUSE_ENTRIES)
    with pytest.raises(sqlite3.IntegrityError, match="no entry"):
        await vote(store, "telegram:1")
    with pytest.raises(sqlite3.IntegrityError, match="no entry"):
        await store.decide_approval("approval-1", "expired", by="gatewayd", note=None, now=5.0, audit=entry())
    with pytest.raises(sqlite3.IntegrityError, match="no entry"):
        await store.add_approval(asked(number=2), audit=entry())
    assert await store.list_approvals(None, limit=10) == [asked()]
    other_hand.execute("DROP TRIGGER no_entry")
    row = await vote(store, "telegram:1")
    assert row is not None
    assert [(found.action, found.subject) for found in await store.audit_after(0, limit=10)] == [("approval.allow", "approval-1")]


async def test_what_is_not_decided_has_no_entry(store: SqliteStore, other_hand: sqlite3.Connection) -> None:
    await store.add_approval(asked())
    other_hand.execute("CREATE TRIGGER no_vote BEFORE UPDATE ON approval BEGIN SELECT RAISE(ABORT, 'no vote'); END")
    with pytest.raises(sqlite3.IntegrityError, match="no vote"):
        await vote(store, "telegram:1")
    assert await store.audit_after(0, limit=10) == []


@pytest.mark.parametrize("column", ["votes", "asked_groups"])
@pytest.mark.parametrize("value", ["", "[", "{}", "[1]", '[{"by":1}]'])
async def test_a_damaged_row_is_refused_in_words_and_decides_nothing(
    store: SqliteStore, other_hand: sqlite3.Connection, column: str, value: str
) -> None:
    await store.add_approval(asked())
    await store.add_approval(replace(asked(number=2), code="XXXXXX"))
    other_hand.execute(f"UPDATE approval SET {column} = ? WHERE id = 'approval-1'", (value,))  # noqa: S608
    words = "approval row approval-1 of the store cannot be read"
    with pytest.raises(StoreRefused, match=words):
        await store.get_approval("approval-1")
    with pytest.raises(StoreRefused, match=words):
        await vote(store, "telegram:1")
    with pytest.raises(StoreRefused, match=words):
        await store.list_approvals("pending", limit=10)
    assert await store.audit_after(0, limit=10) == []
    assert not await store.consume_approval("approval-1", now=6.0)
    assert await vote(store, "telegram:1", number=2) is not None, "the next one is fine"
    assert store.statistics().healthy
