from pathlib import Path

from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.tables.events import PRUNED_AT_ONCE
from gatewayd.testing.store_contract.operations.events import drafts


async def test_numbers_are_not_used_again_even_when_all_are_pruned(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        await store.add_events(drafts(4))
        assert await store.prune_events(keep=0) == 4
        assert await store.event_bounds() == (0, 0)
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert [event.seq for event in await store.add_events(drafts(1))] == [5]


async def test_pruning_many_is_done_in_pieces(store: SqliteStore) -> None:
    await store.add_events(drafts(2 * PRUNED_AT_ONCE + 10))
    commits = store.statistics().commits
    assert await store.prune_events(keep=5) == 2 * PRUNED_AT_ONCE + 5
    assert store.statistics().commits == commits + 3
    assert await store.event_bounds() == (2 * PRUNED_AT_ONCE + 6, 2 * PRUNED_AT_ONCE + 10)
