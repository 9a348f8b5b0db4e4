from pathlib import Path

from gatewayd.ports.store import EventDraft
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.events import PRUNED_AT_ONCE


def drafts(count: int) -> list[EventDraft]:
    return [EventDraft(at=float(number), kind="test.event", data=b'{"number":%d}' % number) for number in range(count)]


async def test_numbers_grow_by_one_in_order(store: SqliteStore) -> None:
    assert await store.event_bounds() == (0, 0)
    added = await store.add_events(drafts(3)) + await store.add_events(drafts(2))
    assert [event.seq for event in added] == [1, 2, 3, 4, 5]
    assert await store.event_bounds() == (1, 5)
    assert await store.events_after(0, limit=10) == added
    assert await store.events_after(2, limit=2) == added[2:4]
    assert bytes(added[1].data) == b'{"number":1}'
    assert await store.events_after(5, limit=2) == []


async def test_pruning_keeps_the_newest(store: SqliteStore) -> None:
    added = await store.add_events(drafts(10))
    assert await store.prune_events(keep=3) == 7
    assert await store.events_after(0, limit=10) == added[-3:]
    assert await store.event_bounds() == (8, 10)
    assert await store.prune_events(keep=3) == 0


async def test_pruning_many_is_done_in_pieces(store: SqliteStore) -> None:
    await store.add_events(drafts(2 * PRUNED_AT_ONCE + 10))
    commits = store.statistics().commits
    assert await store.prune_events(keep=5) == 2 * PRUNED_AT_ONCE + 5
    assert store.statistics().commits == commits + 3
    assert await store.event_bounds() == (2 * PRUNED_AT_ONCE + 6, 2 * PRUNED_AT_ONCE + 10)


async def test_numbers_are_not_used_again_even_when_all_are_pruned(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        await store.add_events(drafts(4))
        assert await store.prune_events(keep=0) == 4
        assert await store.event_bounds() == (0, 0)
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert [event.seq for event in await store.add_events(drafts(1))] == [5]
