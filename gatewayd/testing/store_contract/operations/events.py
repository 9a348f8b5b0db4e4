"""The event log."""

from gatewayd.ports.store import EventDraft, Store


def drafts(count: int) -> list[EventDraft]:
    return [EventDraft(at=float(number), kind="test.event", data=b'{"number":%d}' % number) for number in range(count)]


class EventsContract:
    async def test_numbers_grow_by_one_in_order(self, store: Store) -> None:
        assert await store.event_bounds() == (0, 0)
        added = await store.add_events(drafts(3)) + await store.add_events(drafts(2))
        assert [event.seq for event in added] == [1, 2, 3, 4, 5]
        assert await store.event_bounds() == (1, 5)
        assert await store.events_after(0, limit=10) == added
        assert await store.events_after(2, limit=2) == added[2:4]
        assert bytes(added[1].data) == b'{"number":1}'
        assert await store.events_after(5, limit=2) == []

    async def test_pruning_keeps_the_newest(self, store: Store) -> None:
        added = await store.add_events(drafts(10))
        assert await store.prune_events(keep=3) == 7
        assert await store.events_after(0, limit=10) == added[-3:]
        assert await store.event_bounds() == (8, 10)
        assert await store.prune_events(keep=3) == 0

    async def test_pruning_leaves_the_newest(self, store: Store) -> None:
        await store.add_events(drafts(20))
        assert await store.prune_events(keep=5) == 15
        assert await store.event_bounds() == (16, 20)
        assert await store.prune_events(keep=5) == 0
        assert await store.prune_events(keep=0) == 5
        assert await store.event_bounds() == (0, 0)
        [event] = await store.add_events(drafts(1))
        assert event.seq == 21, "numbers are not used again"
