"""The task that deletes: how much at once, when, and that nothing waits for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import get_args

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.operations.retention import EVERY_SECONDS, ROWS_TOGETHER, Retention, is_kept
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.hub.outbox.outcomes import ReplyOutcomes
from gatewayd.model.config import RetentionSection
from gatewayd.model.errors import StoreRefused
from gatewayd.model.lifecycle import OutboundState
from gatewayd.model.message.report import DeliveryReport
from gatewayd.ports.store import WAITING_REPORT_SECONDS, KeepRule, OldRow, Referrer, RetentionKind, RetentionResult
from gatewayd.stores.sqlite import SqliteStore, run_inline
from gatewayd.testing.store_contract.rows import ended, settled
from tests.hub.house import EPOCH, configuration, message, now
from tests.stores.opened_before import open_store

DAY = 86_400.0
MIGHTY = RetentionSection(keep_seconds=10 * DAY, dead_letter_seconds=30 * DAY)


class Watched:
    """The real store, with a note of every sweep."""

    def __init__(self, store: SqliteStore) -> None:
        self.store = store
        self.deleted: list[int] = []
        self.swept: list[RetentionKind] = []
        self.refuses = False
        self.size: int | None = None

    async def sweep(
        self, kind: RetentionKind, keeps: KeepRule, *, before: float, after: tuple[float, int] | None, limit: int
    ) -> RetentionResult:
        if self.refuses:
            raise StoreRefused("the disk is full; nothing was stored")
        rows = self.store.statistics().rows
        swept = await self.store.sweep(kind, keeps, before=before, after=after, limit=limit)
        self.deleted.append(self.store.statistics().rows - rows)
        self.swept.append(kind)
        return swept

    async def prune_reports(self) -> int:
        return await self.store.prune_reports()

    async def bytes_used(self) -> int:
        return await self.store.bytes_used() if self.size is None else self.size


class Cellar:
    """A store and its retention."""

    def __init__(self, store: SqliteStore, section: RetentionSection) -> None:
        self.real = store
        self.store = Watched(store)
        self.config = replace(configuration(), retention=section)
        self.configured = Configured(self.config, {})
        self.events = EventLog(store, now=now, keep=lambda: 1000)
        self.outbox = Outbox(store, self.events, self.configured, ReplyOutcomes(), notice=lambda row, of_turn: None, now=now)
        self.retention = Retention(self.store, self.outbox, self.events, self.configured, now=now)

    async def fill(self, count: int, *, age: float, size: int = 10) -> None:
        """So many answered messages that ended so long ago, without much ado."""
        at = now() - age
        sql = """
            INSERT INTO inbound (channel, account, event_key, peer, state, received_at, ended_at, reason, turn_id, envelope)
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
            SELECT 'chat', 'main', ? || i, 'dm:7', 'done', ?, ? + i / 1000.0, 'answered', 'turn-' || ? || i, zeroblob(?) FROM n
        """
        await self.real._write(lambda connection: connection.execute(sql, (count, age, at, at, age, size)).rowcount)

    async def count(self, table: str = "inbound") -> int:
        sql = f"SELECT count(*) FROM {table}"  # noqa: S608
        return int(await self.real._read(lambda connection: connection.execute(sql).fetchone()[0]))


@asynccontextmanager
async def open_cellar(state_dir: Path, section: RetentionSection = MIGHTY) -> AsyncIterator[Cellar]:
    async with open_store(state_dir, now=now, run_blocking=run_inline) as store:
        yield Cellar(store, section)


async def test_a_delivery_report_does_not_wait_for_ever(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_cellar(tmp_path) as cellar:
        await cellar.real.add_inbound([], reports=[("chat", "main", DeliveryReport("m1", "read"))])
        await cellar.retention.run_once()
        assert await cellar.count("report") == 1
        await anyio.sleep(WAITING_REPORT_SECONDS + 1)
        await cellar.retention.run_once()
        assert await cellar.count("report") == 0


@pytest.mark.slow
async def test_fifty_thousand_rows_go_a_few_at_a_time(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    """No transaction does more than its share, and whoever writes beside it waits for one of them at most."""
    async with open_cellar(tmp_path) as cellar, trio.open_nursery() as nursery:
        await cellar.fill(50_000, age=20 * DAY)
        waited: list[int] = []

        async def write() -> None:
            while True:
                before = len(cellar.store.swept)
                await cellar.real.add_inbound([message()])
                waited.append(len(cellar.store.swept) - before)
                await anyio.sleep(0.04)

        nursery.start_soon(write)
        await cellar.retention.run_once()
        nursery.cancel_scope.cancel()
    assert cellar.retention.statistics().rows_deleted == 50_000
    assert max(cellar.store.deleted) <= ROWS_TOGETHER + 1  # and the write that shared the transaction
    assert len(waited) > 200
    assert max(waited) <= 1


async def test_it_keeps_to_its_times(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_cellar(tmp_path) as cellar:
        await cellar.fill(3, age=11 * DAY)
        await cellar.fill(4, age=9 * DAY)
        dead_letters = [await ended(cellar.real, at=EPOCH - age * DAY) for age in (29, 31)]
        await cellar.retention.run_once()
        assert await cellar.count() == 4 + 1
        assert await cellar.real.get_inbound(dead_letters[0]) is not None
        statistics = cellar.retention.statistics()
        assert (statistics.runs, statistics.rows_deleted, statistics.over_size) == (1, 4, False)
        assert statistics.bytes_used == await cellar.real.bytes_used()


async def test_a_full_store_loses_the_oldest_first_and_dead_letters_last(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_cellar(tmp_path, replace(MIGHTY, max_megabytes=16)) as cellar:
        dead_letter = await ended(cellar.real, at=EPOCH - 9 * DAY)
        for age in (5, 8, 6):
            await cellar.fill(400, age=age * DAY, size=20_000)
        await cellar.fill(1000, age=1 * DAY, size=20)
        await settled(cellar.real, "sent", at=EPOCH - 7 * DAY)
        assert await cellar.real.bytes_used() > 20 * 2**20
        await cellar.retention.run_once()
        assert await cellar.real.bytes_used() < 16 * 2**20
        left = "SELECT (? - min(ended_at)) / 86400 FROM inbound WHERE state = 'done'"
        [oldest] = await cellar.real._read(lambda connection: connection.execute(left, (EPOCH,)).fetchone())
        assert 4 < oldest < 7  # those of eight days ago went first
        assert await cellar.real.get_inbound(dead_letter) is not None
        assert cellar.retention.statistics().over_size is False


async def test_what_is_young_stays_however_full_it_is(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_cellar(tmp_path) as cellar:
        dead_letter = await ended(cellar.real, at=EPOCH - 9 * DAY)
        young = await ended(cellar.real, at=EPOCH - 1 * DAY)
        await cellar.fill(500, age=1.9 * DAY)
        await cellar.fill(500, age=2.1 * DAY)
        cellar.store.size = 2**40
        await cellar.retention.run_once()
        assert cellar.retention.statistics().over_size is True
        assert await cellar.real.get_inbound(dead_letter) is None
        assert await cellar.real.get_inbound(young) is not None
        assert await cellar.count() == 501


async def test_dead_letters_that_go_are_counted_no_more(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_cellar(tmp_path) as cellar:
        states: list[OutboundState] = ["unknown", "unknown", "parked", "dead"]
        for state in states:
            await settled(cellar.real, state, at=EPOCH - 31 * DAY)
        await settled(cellar.real, "unknown", at=EPOCH)
        await cellar.outbox.recover([])
        assert cellar.outbox.status().unknown == 3
        await cellar.retention.run_once()
        status = cellar.outbox.status()
        assert (status.unknown, status.parked, status.dead) == (1, 0, 0)


async def test_a_store_that_refuses_is_waited_out(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_cellar(tmp_path) as cellar, trio.open_nursery() as nursery:
        await cellar.fill(3, age=11 * DAY)
        cellar.store.refuses = True
        nursery.start_soon(cellar.retention.run)
        await anyio.sleep(EVERY_SECONDS * 3)
        assert (await cellar.count(), cellar.retention.statistics().last_error) == (3, "the disk is full; nothing was stored")
        cellar.store.refuses = False
        await anyio.sleep(EVERY_SECONDS + 10)
        assert (await cellar.count(), cellar.retention.statistics().last_error) == (0, None)
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("step", "left"), [(3650 * DAY, 3), (-3650 * DAY, 3), (0.0, 3)])
async def test_a_clock_that_is_set_makes_nothing_old(
    step: float, left: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_cellar(tmp_path) as cellar, trio.open_nursery() as nursery:
        jumped = 0.0
        cellar.retention = Retention(cellar.store, cellar.outbox, cellar.events, cellar.configured, now=lambda: now() + jumped)
        await cellar.fill(left, age=9 * DAY)
        nursery.start_soon(cellar.retention.run)
        await anyio.sleep(1)
        jumped = step
        await anyio.sleep(DAY / 2)
        assert await cellar.count() == left
        assert cellar.retention.statistics().runs > 100
        nursery.cancel_scope.cancel()


async def test_new_bounds_hold_at_once(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    async with open_cellar(tmp_path) as cellar:
        await cellar.fill(3, age=9 * DAY)
        await cellar.retention.run_once()
        assert await cellar.count() == 3
        cellar.configured.replace(replace(cellar.config, retention=replace(MIGHTY, keep_seconds=2 * DAY)))
        await cellar.retention.run_once()
        assert await cellar.count() == 0


times = st.one_of(st.none(), st.floats(0.0, 1000.0))


@given(
    received_at=times, closed_at=times, referrers=st.frozensets(st.sampled_from(get_args(Referrer))), since=st.floats(0.0, 1000.0)
)
def test_what_is_needed_or_young_stays(
    received_at: float | None, closed_at: float | None, referrers: frozenset[Referrer], since: float
) -> None:
    """A platform may bring a message again that was received lately, though it ended long ago by a clock that was set; and
    somebody may ask for a dead letter that was dropped lately."""
    young = [at for at in (received_at, closed_at) if at is not None and at >= since]
    assert is_kept(OldRow(received_at, closed_at, referrers), since=since) == bool(referrers or young)


def test_of_the_same_instant_it_is_not_old() -> None:
    for row in (OldRow(10.0, None, frozenset()), OldRow(None, 10.0, frozenset())):
        assert is_kept(row, since=10.0)
        assert not is_kept(row, since=10.1)
    assert not is_kept(OldRow(None, None, frozenset()), since=0.0), "a request, or a reply that nobody has dropped"
