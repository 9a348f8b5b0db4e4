"""Votes, and what they grant."""

from functools import partial

import anyio
import pytest
from msgspec.structs import replace

from gatewayd.model.errors import Conflict
from gatewayd.model.lifecycle import ApprovalState
from gatewayd.model.records.approval import Approval, Vote
from gatewayd.model.records.audit import AuditDraft
from gatewayd.ports.store import ANY_INPUT, Store, VoteResult
from gatewayd.testing.store_contract.rows import approval


def asked(*, number: int = 1, session_id: str = "s1") -> Approval:
    row = replace(approval(number), code="BCDFGH", session_id=session_id, groups=("team", "operators"), quorum=2)
    return replace(row, asked_by="telegram:42", ref="per_1", session_grant="tool")


def entry(action: str = "approval.allow") -> AuditDraft:
    return AuditDraft(5.0, "operator:me", action, "approval-1")


async def vote(
    store: Store, by: str, *, state: ApprovalState = "pending", grants: tuple[str, ...] = (), number: int = 1
) -> Approval | None:
    """A vote whose rule says what becomes of the row."""

    def rule(row: Approval) -> VoteResult:
        votes = (*row.votes, Vote(by, True, 5.0, "session", f"{by} says so", inbound_id=3))
        if state == "pending":
            return VoteResult(replace(row, votes=votes))
        row = replace(row, votes=votes, state=state, scope="session", decided_by=by, note="a note", decided_at=5.0)
        return VoteResult(row, grants)

    return await store.vote_approval(f"approval-{number}", rule, audit=entry())


REFUSE_ENTRIES = "CREATE TRIGGER no_entry BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'no entry'); END"


class VotesContract:
    async def test_what_the_rule_makes_of_a_row_is_kept(self, store: Store) -> None:
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

    async def test_a_rule_that_says_none_changes_nothing(self, store: Store) -> None:
        await store.add_approval(asked())
        assert await store.vote_approval("approval-1", lambda row: None, audit=entry()) is None
        assert await store.get_approval("approval-1") == asked()
        assert await store.audit_after(0, limit=10) == []

    async def test_a_rule_that_raises_changes_nothing(self, store: Store) -> None:
        def rule(row: Approval) -> VoteResult:
            raise Conflict(f"{row.id} is not for them")

        await store.add_approval(asked())
        with pytest.raises(Conflict, match="approval-1 is not for them"):
            await store.vote_approval("approval-1", rule, audit=entry())
        assert await store.get_approval("approval-1") == asked()

    async def test_a_vote_leads_only_where_the_life_cycle_does(self, store: Store) -> None:
        await store.add_approval(asked())
        with pytest.raises(AssertionError, match="no vote makes a request withdrawn"):
            await vote(store, "telegram:1", state="withdrawn")
        assert await store.get_approval("approval-1") == asked()

    async def test_of_what_is_not_pending_the_rule_is_not_asked(self, store: Store) -> None:
        await store.add_approval(asked())
        await vote(store, "telegram:1", state="denied")
        called = list[Approval]()
        assert await store.vote_approval("approval-1", lambda row: called.append(row), audit=entry()) is None
        assert called == []

    async def test_of_two_votes_at_once_the_second_sees_the_first(self, store: Store) -> None:
        await store.add_approval(asked())
        seen = list[int]()

        def rule(row: Approval) -> VoteResult:
            seen.append(len(row.votes))
            return VoteResult(replace(row, votes=(*row.votes, Vote("x", True, 5.0))))

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(partial(store.vote_approval, "approval-1", rule, audit=entry()))
        assert seen == [0, 1, 2]

    async def test_by_id_or_by_code_in_any_case_and_the_newest_of_one_code(self, store: Store) -> None:
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
        self, store: Store, inputs: tuple[str, ...], same: bool, other: bool
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

    async def test_a_row_that_is_there_already_writes_no_second_entry(self, store: Store) -> None:
        for _ in range(2):
            await store.add_approval(asked(), audit=entry("approval.allowed"))
        assert len(await store.audit_after(0, limit=10)) == 1
        await store.decide_approval("approval-1", "withdrawn", by="gatewayd", note=None, now=5.0, audit=entry())
        assert await store.decide_approval("approval-1", "expired", by="gatewayd", note=None, now=5.0, audit=entry()) is None
        assert len(await store.audit_after(0, limit=10)) == 2
