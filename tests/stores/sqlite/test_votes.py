"""Votes as their rule has it, grants, and the entry of the log that is written with each."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path

import anyio
import pytest
from msgspec.structs import replace

from gatewayd.model.approval import Approval, Vote
from gatewayd.model.audit import AuditDraft
from gatewayd.model.errors import Conflict, StoreRefused
from gatewayd.model.lifecycle import ApprovalState
from gatewayd.ports.store import ANY_INPUT, Voted
from gatewayd.stores.sqlite import SqliteStore
from tests.stores.sqlite.samples import approval


def asked(*, number: int = 1, session_id: str = "s1") -> Approval:
    row = replace(approval(number), code="BCDFGH", session_id=session_id, groups=("team", "operators"), quorum=2)
    return replace(row, asked_by="telegram:42", ref="per_1", session_grant="tool")


def entry(action: str = "approval.allow") -> AuditDraft:
    return AuditDraft(5.0, "operator:me", action, "approval-1")


async def vote(
    store: SqliteStore, by: str, *, state: ApprovalState = "pending", grants: tuple[str, ...] = (), number: int = 1
) -> Approval | None:
    """A vote whose rule says what becomes of the row."""

    def rule(row: Approval) -> Voted:
        votes = (*row.votes, Vote(by, True, 5.0, "session", f"{by} says so", inbound_id=3))
        if state == "pending":
            return Voted(replace(row, votes=votes))
        row = replace(row, votes=votes, state=state, scope="session", decided_by=by, note="a note", decided_at=5.0)
        return Voted(row, grants)

    return await store.vote_approval(f"approval-{number}", rule, audit=entry())


async def test_what_the_rule_makes_of_a_row_is_kept(store: SqliteStore) -> None:
    await store.add_approval(asked())
    assert await store.get_approval("approval-1") == asked()
    await vote(store, "telegram:1")
    row = await vote(store, "telegram:2", state="allowed")
    assert row == await store.get_approval("approval-1")
    assert row is not None
    assert [given.by for given in row.votes] == ["telegram:1", "telegram:2"]
    assert replace(row, votes=()) == replace(
        asked(), state="allowed", scope="session", decided_at=5.0, decided_by="telegram:2", note="a note"
    )


async def test_a_rule_that_says_none_changes_nothing(store: SqliteStore) -> None:
    await store.add_approval(asked())
    assert await store.vote_approval("approval-1", lambda row: None, audit=entry()) is None
    assert await store.get_approval("approval-1") == asked()
    assert await store.audit_after(0, limit=10) == []


async def test_a_rule_that_raises_changes_nothing(store: SqliteStore) -> None:
    def rule(row: Approval) -> Voted:
        raise Conflict(f"{row.id} is not for them")

    await store.add_approval(asked())
    with pytest.raises(Conflict, match="approval-1 is not for them"):
        await store.vote_approval("approval-1", rule, audit=entry())
    assert await store.get_approval("approval-1") == asked()


async def test_a_vote_leads_only_where_the_life_cycle_does(store: SqliteStore) -> None:
    await store.add_approval(asked())
    with pytest.raises(AssertionError, match="no vote makes a request withdrawn"):
        await vote(store, "telegram:1", state="withdrawn")
    assert await store.get_approval("approval-1") == asked()


async def test_of_what_is_not_pending_the_rule_is_not_asked(store: SqliteStore) -> None:
    await store.add_approval(asked())
    await vote(store, "telegram:1", state="denied")
    called = list[Approval]()
    assert await store.vote_approval("approval-1", lambda row: called.append(row), audit=entry()) is None
    assert called == []


async def test_of_two_votes_at_once_the_second_sees_the_first(store: SqliteStore) -> None:
    await store.add_approval(asked())
    seen = list[int]()

    def rule(row: Approval) -> Voted:
        seen.append(len(row.votes))
        return Voted(replace(row, votes=(*row.votes, Vote("x", True, 5.0))))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(partial(store.vote_approval, "approval-1", rule, audit=entry()))
    assert seen == [0, 1, 2]


async def test_by_id_or_by_code_in_any_case_and_the_newest_of_one_code(store: SqliteStore) -> None:
    await store.add_approval(asked())
    await store.add_approval(asked(number=2))
    for name, found in (("approval-1", "approval-1"), ("BCDFGH", "approval-2"), ("bcdfgh", "approval-2")):
        row = await store.get_approval(name)
        assert row is not None
        assert row.id == found
    assert await store.get_approval("BCDFG") is None
    assert await store.get_approval("") is None


@pytest.mark.parametrize(
    ("inputs", "same", "other"), [((), False, False), (("abc",), True, False), (("abc", ANY_INPUT), True, True)]
)
async def test_a_grant_is_found_by_each_of_its_inputs(
    store: SqliteStore, inputs: tuple[str, ...], same: bool, other: bool
) -> None:
    await store.add_approval(asked())
    await vote(store, "telegram:1", state="allowed", grants=inputs)
    key = asked().session_key

    async def granted(session_id: str = "s1", tool: str = "shell", input_hash: str = "abc", session_key: str = key) -> bool:
        found = await store.find_grant(session_key, session_id, tool, (input_hash, ANY_INPUT))
        assert found in (None, "approval-1")
        return found is not None

    assert await granted() == same
    assert await granted(input_hash="def") == other
    assert not await granted(tool="write")
    assert not await granted(session_id="s2")
    assert not await granted(session_key="other")
    assert (await store.find_grant(key, "s1", "shell", ("abc",)) is not None) == same
    assert await store.find_grant(key, "s1", "shell", ("def",)) is None
    assert await store.find_grant(key, "s1", "shell", ()) is None


async def test_a_new_session_forgets_the_grants_of_the_one_before(tmp_path: Path, store: SqliteStore) -> None:
    for number, session in ((1, "s1"), (2, "s2")):
        await store.add_approval(asked(number=number, session_id=session))
        await vote(store, "telegram:1", state="allowed", grants=("abc",), number=number)
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
