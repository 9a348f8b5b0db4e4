"""Requests for permission: decided once, used once."""

from typing import Literal

import pytest
from msgspec.structs import replace

from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.rows import approval


class ApprovalsContract:
    async def test_asking_again_gives_the_first_row(self, store: Store) -> None:
        first = await store.add_approval(approval(1))
        assert first == approval(1)
        again = replace(approval(2, ordinal=1), input="{}")
        assert await store.add_approval(again) == first
        assert await store.get_approval(again.id) is None
        assert await store.add_approval(approval(3, turn_id="turn-2", ordinal=1)) != first

    async def test_asking_again_gives_the_decision_too(self, store: Store) -> None:
        await store.add_approval(approval(1))
        decided = await store.decide_approval("approval-1", "denied", by="bob", note="no", now=5.0)
        assert decided == replace(approval(1), state="denied", decided_by="bob", note="no", decided_at=5.0)
        assert await store.add_approval(approval(1)) == decided
        assert await store.get_approval("approval-1") == decided

    async def test_a_decision_is_made_once(self, store: Store) -> None:
        await store.add_approval(approval(1))
        assert await store.decide_approval("approval-1", "allowed", by="bob", note=None, now=5.0) is not None
        assert await store.decide_approval("approval-1", "denied", by="eve", note=None, now=6.0) is None
        assert await store.decide_approval("approval-9", "denied", by="eve", note=None, now=6.0) is None
        row = await store.get_approval("approval-1")
        assert row is not None
        assert (row.state, row.decided_by) == ("allowed", "bob")

    async def test_an_allowed_row_is_consumed_once(self, store: Store) -> None:
        await store.add_approval(approval(1))
        assert await store.consume_approval("approval-1", now=4.0) is False
        await store.decide_approval("approval-1", "allowed", by="bob", note=None, now=5.0)
        assert await store.consume_approval("approval-1", now=6.0) is True
        assert await store.consume_approval("approval-1", now=7.0) is False
        row = await store.get_approval("approval-1")
        assert row is not None
        assert row.consumed_at == 6.0

    @pytest.mark.parametrize("state", ["denied", "expired", "withdrawn"])
    async def test_nothing_but_allowed_is_consumed(self, store: Store, state: Literal["denied", "expired", "withdrawn"]) -> None:
        await store.add_approval(approval(1))
        await store.decide_approval("approval-1", state, by="bob", note=None, now=5.0)
        assert await store.consume_approval("approval-1", now=6.0) is False

    async def test_pending_rows_are_a_queue_and_the_others_a_history(self, store: Store) -> None:
        for number in (3, 1, 2):
            await store.add_approval(approval(number))
        await store.decide_approval("approval-1", "allowed", by="bob", note=None, now=5.0)
        assert [row.id for row in await store.list_approvals("pending", limit=5)] == ["approval-3", "approval-2"]
        assert [row.id for row in await store.list_approvals(None, limit=2)] == ["approval-2", "approval-1"]
        assert [row.id for row in await store.list_approvals("allowed", limit=5)] == ["approval-1"]
        assert await store.list_approvals("expired", limit=5) == []
