"""Votes, grants, and the entry of the log that is written with each."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from gatewayd.model.approval import Approval, Scope, SessionGrant, Vote
from gatewayd.model.audit import AuditDraft
from gatewayd.model.errors import StoreRefused
from gatewayd.stores.sqlite import SqliteStore
from tests.stores.sqlite.samples import approval


def asked(*, quorum: int = 1, number: int = 1, session_id: str = "s1", grant: SessionGrant = "off") -> Approval:
    row = replace(approval(number), code="BCDFGH", session_id=session_id, groups=("team", "operators"), quorum=quorum)
    return replace(row, asked_by="telegram:42", ref="per_1", session_grant=grant)


def entry(action: str = "approval.allow") -> AuditDraft:
    return AuditDraft(5.0, "operator:me", action, "approval-1")


async def vote(
    store: SqliteStore,
    by: str,
    *,
    allow: bool = True,
    scope: Scope = "once",
    number: int = 1,
    person_of: Callable[[str], str] = str,
) -> Approval | None:
    given = Vote(by, allow, 5.0, scope, f"{by} says so", inbound_id=3)
    return await store.vote_approval(f"approval-{number}", given, person_of=person_of, now=5.0, audit=entry())


async def test_all_of_a_row_is_kept(store: SqliteStore) -> None:
    await store.add_approval(asked())
    assert await store.get_approval("approval-1") == asked()
    row = await vote(store, "telegram:1")
    assert row == await store.get_approval("approval-1")
    assert row == replace(
        asked(),
        state="allowed",
        decided_at=5.0,
        decided_by="telegram:1",
        note="telegram:1 says so",
        votes=(Vote("telegram:1", True, 5.0, "once", "telegram:1 says so", 3),),
    )


async def test_a_quorum_is_of_different_voters(store: SqliteStore) -> None:
    await store.add_approval(asked(quorum=3))
    for by in ("telegram:1", "telegram:2"):
        row = await vote(store, by)
        assert row is not None
        assert row.state == "pending"
        assert await vote(store, by) is None
        assert await vote(store, by, allow=False) is None, "nor is a yes taken back"
    row = await vote(store, "operator:me")
    assert row is not None
    assert (row.state, row.decided_by) == ("allowed", "telegram:1 and telegram:2 and operator:me")
    assert await vote(store, "telegram:4", allow=False) is None
    assert len(await store.audit_after(0, limit=10)) == 3, "a vote that does not count leaves no entry here"


async def test_votes_count_by_whose_they_are_now(store: SqliteStore) -> None:
    ann = {"telegram:1": "ann", "operator:ann": "ann"}
    await store.add_approval(asked(quorum=2))
    assert await vote(store, "telegram:1") is not None
    assert await vote(store, "operator:ann", person_of=lambda by: ann.get(by, by)) is None, "they have become one person"
    await store.add_approval(asked(quorum=3, number=2))
    for by in ("telegram:1", "operator:ann"):
        assert await vote(store, by, number=2) is not None
    row = await vote(store, "operator:bob", number=2, person_of=lambda by: ann.get(by, by))
    assert row is not None
    assert row.state == "pending", "three votes of two people"
    row = await vote(store, "operator:eve", number=2)
    assert row is not None
    assert row.state == "allowed"


async def test_one_no_denies(store: SqliteStore) -> None:
    await store.add_approval(asked(quorum=3))
    await vote(store, "telegram:1")
    row = await vote(store, "telegram:2", allow=False)
    assert row is not None
    assert (row.state, row.decided_by, row.note) == ("denied", "telegram:2", "telegram:2 says so")
    assert not await store.consume_approval("approval-1", now=6.0)


async def test_by_id_or_by_code_in_any_case_and_the_newest_of_one_code(store: SqliteStore) -> None:
    await store.add_approval(asked())
    await store.add_approval(asked(number=2))
    for name, found in (("approval-1", "approval-1"), ("BCDFGH", "approval-2"), ("bcdfgh", "approval-2")):
        row = await store.get_approval(name)
        assert row is not None
        assert row.id == found
    assert await store.get_approval("BCDFG") is None
    assert await store.get_approval("") is None


@pytest.mark.parametrize(("grant", "same", "other"), [("off", False, False), ("input", True, False), ("tool", True, True)])
async def test_a_grant_covers_what_was_offered(store: SqliteStore, grant: SessionGrant, same: bool, other: bool) -> None:
    await store.add_approval(asked(grant=grant))
    await vote(store, "telegram:1", scope="session")
    key = asked().session_key

    async def granted(session_id: str = "s1", tool: str = "shell", input_hash: str = "abc", session_key: str = key) -> bool:
        found = await store.find_grant(session_key, session_id, tool, input_hash, any_input=True)
        assert found in (None, "approval-1")
        return found is not None

    assert await granted() == same
    assert await granted(input_hash="def") == other
    assert not await granted(tool="write")
    assert not await granted(session_id="s2")
    assert not await granted(session_key="other")
    exactly = await store.find_grant(key, "s1", "shell", "abc", any_input=False)
    assert (exactly is not None) == same, "also when no more than this input is allowed by now"
    assert await store.find_grant(key, "s1", "shell", "def", any_input=False) is None


@pytest.mark.parametrize("scopes", [("once", "session"), ("session", "once"), ("once", "once")])
async def test_a_grant_needs_every_yes_to_be_for_the_session(store: SqliteStore, scopes: tuple[Scope, Scope]) -> None:
    await store.add_approval(asked(quorum=2, grant="tool"))
    for number, scope in enumerate(scopes):
        row = await vote(store, f"telegram:{number}", scope=scope)
    assert row is not None
    assert (row.state, row.scope) == ("allowed", "once")
    assert await store.find_grant(row.session_key, "s1", "shell", "abc", any_input=True) is None


async def test_a_no_grants_nothing(store: SqliteStore) -> None:
    await store.add_approval(asked(grant="tool"))
    await vote(store, "telegram:1", allow=False, scope="session")
    assert await store.find_grant(asked().session_key, "s1", "shell", "abc", any_input=True) is None


async def test_a_new_session_forgets_the_grants_of_the_one_before(tmp_path: Path, store: SqliteStore) -> None:
    for number, session in ((1, "s1"), (2, "s2")):
        await store.add_approval(asked(number=number, session_id=session, grant="tool"))
        await vote(store, "telegram:1", scope="session", number=number)
    with closing(sqlite3.connect(tmp_path / "state" / "gatewayd.db")) as connection:
        assert connection.execute("SELECT DISTINCT session_id FROM approval_grant").fetchall() == [("s2",)]


# --- The entry and what it tells of are one


@pytest.fixture
def other_hand(tmp_path: Path, store: SqliteStore) -> Iterator[sqlite3.Connection]:
    """Another connection to the open file."""
    with closing(sqlite3.connect(tmp_path / "state" / "gatewayd.db", isolation_level=None)) as connection:
        yield connection


REFUSE_ENTRIES = "CREATE TRIGGER no_entry BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no entry'); END"


async def test_without_its_entry_nothing_is_decided(store: SqliteStore, other_hand: sqlite3.Connection) -> None:
    await store.add_approval(asked(quorum=2))
    other_hand.execute(REFUSE_ENTRIES)
    with pytest.raises(sqlite3.IntegrityError, match="no entry"):
        await vote(store, "telegram:1")
    with pytest.raises(sqlite3.IntegrityError, match="no entry"):
        await store.decide_approval("approval-1", "expired", by="gatewayd", note=None, now=5.0, audit=entry())
    with pytest.raises(sqlite3.IntegrityError, match="no entry"):
        await store.add_approval(asked(number=2), audit=entry())
    assert await store.list_approvals(None, limit=10) == [asked(quorum=2)]
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


async def test_a_row_that_is_there_already_writes_no_second_entry(store: SqliteStore) -> None:
    for _ in range(2):
        await store.add_approval(asked(), audit=entry("approval.allowed"))
    assert len(await store.audit_after(0, limit=10)) == 1
    await store.decide_approval("approval-1", "withdrawn", by="gatewayd", note=None, now=5.0, audit=entry())
    assert await store.decide_approval("approval-1", "expired", by="gatewayd", note=None, now=5.0, audit=entry()) is None
    assert len(await store.audit_after(0, limit=10)) == 2


# --- Damage


@pytest.mark.parametrize("column", ["votes", "asked_groups"])
@pytest.mark.parametrize("value", ["", "[", "{}", "[1]", '[{"by":1}]'])
async def test_a_damaged_row_is_refused_in_words_and_decides_nothing(
    store: SqliteStore, other_hand: sqlite3.Connection, column: str, value: str
) -> None:
    await store.add_approval(asked())
    await store.add_approval(replace(asked(number=2), code="XXXXXX"))
    other_hand.execute(f"UPDATE approval SET {column} = ? WHERE id = 'approval-1'", (value,))  # noqa: S608
    words = "approval approval-1 of the store cannot be read"
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
