"""The event log: numbers without gaps, nothing shown before its commit; slow readers are closed and can resume."""

from pathlib import Path

import anyio
import msgspec
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.events import EventLog
from gatewayd.model.errors import StoreRefused
from gatewayd.model.records.event import Event
from gatewayd.ports.store import EventDraft
from gatewayd.stores.sqlite import run_inline
from tests.hub.house import now
from tests.stores.opened_before import open_store


async def test_events_are_numbered_published_and_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    for first in (1, 3):
        async with open_store(tmp_path, now=now, run_blocking=run_inline) as store, anyio.create_task_group() as tasks:
            log = EventLog(store, now=now, keep=lambda: 100)
            await tasks.start(log.run)
            async with log.subscribe() as reader:
                log.emit("gateway.test", n=1)
                log.emit("gateway.test", n=2)
                got = [await reader.receive(), await reader.receive()]
            assert [event.seq for event in got] == [first, first + 1]
            assert bytes(got[0].data) == b'{"n":1}'
            assert [event.seq for event in await log.after(0, limit=10)] == list(range(1, first + 2))
            assert log.last_seq == first + 1
            tasks.cancel_scope.cancel()


async def test_a_reader_that_lags_is_closed_and_resumes_without_a_gap(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store, anyio.create_task_group() as tasks:
        log = EventLog(store, now=now, keep=lambda: 10_000)
        await tasks.start(log.run)
        async with log.subscribe() as reader:
            for n in range(1000):
                log.emit("gateway.test", n=n)
            await log.wait_flushed()
            seen = [event.seq async for event in reader]
        assert 0 < len(seen) < 1000
        rest = await log.after(seen[-1], limit=2000)
        assert seen + [event.seq for event in rest] == list(range(1, 1001))
        tasks.cancel_scope.cancel()


async def test_old_events_are_pruned(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store, anyio.create_task_group() as tasks:
        log = EventLog(store, now=now, keep=lambda: 50)
        await tasks.start(log.run)
        for n in range(500):
            log.emit("gateway.test", n=n)
        await log.wait_flushed()
        await trio.testing.wait_all_tasks_blocked()
        assert log.last_seq == 500
        assert 50 <= log.last_seq - log.first_seq + 1 <= 60
        tasks.cancel_scope.cancel()


class FullDisk:
    """A store whose disk is full for a while."""

    def __init__(self) -> None:
        self.full = True
        self.kept: list[EventDraft] = []

    async def event_bounds(self) -> tuple[int, int]:
        return (0, 0)

    async def add_events(self, drafts: list[EventDraft]) -> list[Event]:
        if self.full:
            raise StoreRefused("disk full")
        raise AssertionError

    async def events_after(self, seq: int, *, limit: int) -> list[Event]:
        return []

    async def prune_events(self, *, keep: int) -> int:
        return 0


@pytest.mark.parametrize("count", [10, 10_050])
async def test_a_full_disk_keeps_the_newest_events_and_counts_the_others(autojump_clock: MockClock, count: int) -> None:
    async with anyio.create_task_group() as tasks:
        log = EventLog(FullDisk(), now=now, keep=lambda: 50)  # type: ignore[arg-type]
        await tasks.start(log.run)
        for n in range(count):
            log.emit("gateway.test", n=n)
        await anyio.sleep(10)
        assert log.dropped == max(0, count - 10_000)
        tasks.cancel_scope.cancel()


async def test_half_a_character_in_a_reason_does_not_end_the_daemon(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_store(tmp_path, now=now, run_blocking=run_inline) as store, anyio.create_task_group() as tasks:
        log = EventLog(store, now=now, keep=lambda: 100)
        await tasks.start(log.run)
        log.emit("gateway.test", reason="broken \ud83d", n=1)
        await log.wait_flushed()
        [event] = await log.after(0, limit=10)
        assert msgspec.json.decode(event.data) == {"reason": "broken \ufffd", "n": 1}
        tasks.cancel_scope.cancel()
