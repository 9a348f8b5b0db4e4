import resource
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import trio
import trio.testing

from gatewayd.model.errors import StoreRefused
from gatewayd.ports.store import StoreStatistics
from gatewayd.stores.sqlite import RunBlocking, SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.engine.files import open_files
from gatewayd.stores.sqlite.engine.writer import BATCH_LENGTH, QUEUE_LENGTH, Writer
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, Clock, approval, draft, envelope

T = TypeVar("T")


class GatedDisk:
    """Runs blocking work inline, but none while the gate is shut: a slow disk."""

    def __init__(self) -> None:
        self.gate = trio.Event()
        self.gate.set()
        self.waiting = 0

    def shut(self) -> None:
        self.gate = trio.Event()

    def open(self) -> None:
        self.gate.set()

    async def __call__(self, work: Callable[[], T], /) -> T:
        self.waiting += 1
        await self.gate.wait()
        self.waiting -= 1
        return await run_inline(work)


class Machine:
    """A writer on a real file, and a second connection to look at what is committed."""

    def __init__(self, writer: Writer, connection: sqlite3.Connection, path: Path) -> None:
        self.writer = writer
        self.connection = connection
        self.path = path

    async def insert(self, value: int) -> int:
        await self.writer.submit(lambda connection: connection.execute("INSERT INTO sample VALUES (?)", (value,)).rowcount)
        return value

    def committed(self) -> list[int]:
        with closing(sqlite3.connect(self.path)) as connection:
            return [value for (value,) in connection.execute("SELECT value FROM sample ORDER BY rowid")]

    def statistics(self) -> StoreStatistics:
        return self.writer.statistics(checked_whole=True)


@asynccontextmanager
async def machine(directory: Path, run_blocking: RunBlocking = run_inline) -> AsyncIterator[Machine]:
    with closing(open_files(directory)) as files:
        files.writer.execute("CREATE TABLE sample (value INTEGER UNIQUE)")
        writer = Writer(files.writer, files.path, run_blocking, now=lambda: 77.0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            try:
                yield Machine(writer, files.writer, files.path)
            finally:
                writer.close()


async def test_those_who_wait_share_one_commit(store: SqliteStore) -> None:
    before = store.statistics()
    async with trio.open_nursery() as nursery:
        for number in range(50):
            nursery.start_soon(store.add_inbound, [envelope(str(number))])
    after = store.statistics()
    assert after.operations == before.operations + 50
    assert after.rows >= before.rows + 50
    assert after.commits <= before.commits + 2
    assert len(await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=100)) == 50


async def test_a_batch_is_bounded(tmp_path: Path) -> None:
    disk = GatedDisk()
    async with machine(tmp_path, disk) as it:
        disk.shut()
        async with trio.open_nursery() as nursery:
            for value in range(2 * BATCH_LENGTH):
                nursery.start_soon(it.insert, value)
            await trio.testing.wait_all_tasks_blocked()
            disk.open()
        assert 2 <= it.statistics().commits <= 3
        assert sorted(it.committed()) == list(range(2 * BATCH_LENGTH))


async def test_nothing_is_returned_before_the_commit(tmp_path: Path) -> None:
    disk = GatedDisk()
    async with machine(tmp_path, disk) as it:
        disk.shut()
        done: list[int] = []

        async def insert(value: int) -> None:
            done.append(await it.insert(value))
            assert value in it.committed()

        async with trio.open_nursery() as nursery:
            for value in range(5):
                nursery.start_soon(insert, value)
            await trio.testing.wait_all_tasks_blocked()
            assert done == []
            assert it.committed() == []
            assert it.statistics().queue_depth == 5
            assert it.statistics().committing_since is not None
            disk.open()
        assert sorted(done) == list(range(5))
        assert it.statistics().queue_depth == 0


async def test_one_that_fails_does_not_hurt_its_neighbours(tmp_path: Path) -> None:
    disk = GatedDisk()
    outcomes: list[object] = []

    async def insert(it: Machine, value: int) -> None:
        try:
            outcomes.append(await it.insert(value))
        except sqlite3.IntegrityError:
            outcomes.append("taken")

    async def insert_and_fail(it: Machine) -> None:
        def fail(connection: sqlite3.Connection) -> None:
            connection.execute("INSERT INTO sample VALUES (99)")
            raise LookupError("a bug")

        with pytest.raises(LookupError, match="a bug"):
            await it.writer.submit(fail)

    async with machine(tmp_path, disk) as it:
        await it.insert(1)
        disk.shut()
        async with trio.open_nursery() as nursery:
            for value in (1, 2, 1, 3):
                nursery.start_soon(insert, it, value)
            nursery.start_soon(insert_and_fail, it)
            await trio.testing.wait_all_tasks_blocked()
            disk.open()
        assert sorted(outcomes, key=str) == [2, 3, "taken", "taken"]
        assert sorted(it.committed()) == [1, 2, 3]
        assert it.statistics().healthy


async def test_a_caller_cancelled_in_the_queue_leaves_nothing_behind(tmp_path: Path) -> None:
    disk = GatedDisk()
    async with machine(tmp_path, disk) as it:
        disk.shut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.insert, 1)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0) as scope:  # 1 is under way, 2 waits behind it
                await it.insert(2)
            assert scope.cancelled_caught
            disk.open()
        assert await it.insert(3) == 3
        assert it.committed() == [1, 3]


async def test_a_caller_cancelled_during_the_commit_leaves_the_writer_fine(tmp_path: Path) -> None:
    disk = GatedDisk()
    async with machine(tmp_path, disk) as it:
        disk.shut()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(it.insert, 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
        assert disk.waiting == 1
        disk.open()
        assert await it.insert(2) == 2
        assert it.committed() == [1, 2]


async def test_a_full_queue_makes_callers_wait(tmp_path: Path) -> None:
    disk = GatedDisk()
    count = QUEUE_LENGTH + 20
    async with machine(tmp_path, disk) as it:
        disk.shut()
        async with trio.open_nursery() as nursery:
            for value in range(count):
                nursery.start_soon(it.insert, value)
            await trio.testing.wait_all_tasks_blocked()
            assert it.statistics().queue_depth == count
            disk.open()
        assert len(it.committed()) == count


async def test_what_was_submitted_is_committed_when_the_store_closes(tmp_path: Path) -> None:
    disk = GatedDisk()
    async with machine(tmp_path, disk) as it, trio.open_nursery() as nursery:
        disk.shut()
        for value in range(3):
            nursery.start_soon(it.insert, value)
        await trio.testing.wait_all_tasks_blocked()
        it.writer.close()
        with pytest.raises(StoreRefused, match="closed"):
            await it.insert(9)
        disk.open()
    with closing(sqlite3.connect(tmp_path / "gatewayd.db")) as connection:
        assert connection.execute("SELECT count(*) FROM sample").fetchone() == (3,)


async def test_last_rows_are_settled_while_all_is_cancelled(tmp_path: Path) -> None:
    with trio.CancelScope() as scope:
        async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
            [row] = await store.add_outbound([draft("hi")], now=1.0)
            await store.mark_sending(row.id)
            scope.cancel()
            with trio.CancelScope(shield=True):
                await store.settle_outbound(row.id, "sent", now=2.0)
            await trio.lowlevel.checkpoint()
            pytest.fail("the checkpoint did not cancel")
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        settled = await store.get_outbound(row.id)
    assert settled is not None
    assert settled.state == "sent"


async def test_a_closed_store_refuses(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        pass
    with pytest.raises(StoreRefused, match="closed"):
        await store.save_state("telegram", "main", "offset", "1")
    with pytest.raises(StoreRefused, match="closed"):
        await store.load_state("telegram", "main", "offset")


async def test_no_caller_waits_for_ever_when_no_thread_can_be_started(tmp_path: Path) -> None:
    refused: list[str] = []
    starting = trio.Event()

    async def run_blocking(work: Callable[[], T], /) -> T:
        if saving:
            saving.clear()  # the store is still to be closed
            await starting.wait()
            raise RuntimeError("can't start new thread")
        return await run_inline(work)

    async def save(store: SqliteStore, key: str) -> None:
        with trio.CancelScope(shield=True):
            try:
                await store.save_state("telegram", "main", key, "1")
            except StoreRefused as error:
                refused.append(error.reason)

    saving: list[str] = []
    with pytest.RaisesGroup(pytest.RaisesExc(RuntimeError, match="new thread"), flatten_subgroups=True):
        async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_blocking) as store, trio.open_nursery() as nursery:
            saving += ["a", "b", "c", "d"]
            for key in ("a", "b", "c", "d"):  # the first is under way, the others wait for their turn
                nursery.start_soon(save, store, key)
                await trio.testing.wait_all_tasks_blocked()
            starting.set()
    assert len(refused) == 4
    assert all("nothing was stored" in reason for reason in refused)


async def test_a_full_disk_acknowledges_nothing_and_is_survived(tmp_path: Path) -> None:
    outcomes: list[str] = []

    async def insert(it: Machine, value: int) -> None:
        try:
            await it.insert(value)
            outcomes.append("stored")
        except StoreRefused as error:
            outcomes.append(error.reason)

    async with machine(tmp_path) as it:
        await it.insert(1)
        [pages] = it.connection.execute("PRAGMA page_count").fetchone()
        it.connection.execute(f"PRAGMA max_page_count = {pages}")
        async with trio.open_nursery() as nursery:
            for value in range(10):
                nursery.start_soon(insert, it, 10 + value)
            nursery.start_soon(fill, it)
        assert len(outcomes) == 10
        assert all("the disk is full" in outcome and "nothing was stored" in outcome for outcome in outcomes)
        assert it.committed() == [1]
        sick = it.statistics()
        assert not sick.healthy
        assert sick.last_error is not None
        assert "the disk is full" in sick.last_error
        assert sick.last_error_at == 77.0

        # A commit that writes nothing succeeds on a full disk, too.
        await it.writer.submit(lambda connection: connection.execute("DELETE FROM sample WHERE value = -1").rowcount)
        assert it.statistics().commits == sick.commits + 1
        assert not it.statistics().healthy

        it.connection.execute(f"PRAGMA max_page_count = {pages + 1000}")
        await it.insert(2)
        assert it.committed() == [1, 2]
        assert it.statistics().healthy
        assert it.statistics().last_error == sick.last_error


async def fill(it: Machine) -> None:
    """One operation that needs more room than there is, between others that would fit."""
    with pytest.raises(StoreRefused):
        await it.writer.submit(lambda connection: connection.execute("CREATE TABLE more AS SELECT zeroblob(100000)").rowcount)


@contextmanager
def files_cannot_grow(beyond_bytes: int) -> Iterator[None]:
    """The kernel refuses to write behind this position of any file (Python ignores SIGXFSZ)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (beyond_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_an_io_error_acknowledges_nothing_and_is_survived(tmp_path: Path, store: SqliteStore, clock: Clock) -> None:
    clock.time = 5.0
    [first] = (await store.add_inbound([envelope("1")])).rows
    log = tmp_path / "state" / "gatewayd.db-wal"
    with files_cannot_grow(log.stat().st_size + 5000):
        with pytest.raises(StoreRefused, match=r"gatewayd\.db: the disk reported an I/O error .*; nothing was stored"):
            await store.add_inbound([envelope("2", text="x" * 100_000)], state=[("telegram", "main", "offset", "3")])
        assert not store.statistics().healthy
        assert store.statistics().last_error_at == 5.0
        assert await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10) == [first]
    [second] = (await store.add_inbound([envelope("2", text="x" * 100_000)])).rows
    assert await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10) == [first, second]
    assert await store.load_state("telegram", "main", "offset") is None
    assert store.statistics().healthy


async def test_a_locked_file_is_refused_in_words(tmp_path: Path) -> None:
    async with machine(tmp_path) as it:
        it.connection.execute("PRAGMA busy_timeout = 0")
        with closing(sqlite3.connect(it.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreRefused, match="another program holds the file locked"):
                await it.insert(1)
        assert await it.insert(2) == 2


async def test_a_bug_in_an_operation_reaches_its_caller_as_it_is(store: SqliteStore) -> None:
    await store.add_approval(approval(1))
    with pytest.raises(sqlite3.IntegrityError):
        await store.add_approval(approval(1, turn_id="another turn"))
    assert store.statistics().healthy


async def test_real_threads_serve_many_tasks(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0) as store:
        found: list[str] = []

        async def work(number: int) -> None:
            for step in range(10):
                key = f"{number}-{step}"
                [row] = (await store.add_inbound([envelope(key)])).rows
                assert await store.get_inbound(row.id) == row
                found.append(key)

        async with trio.open_nursery() as nursery:
            for number in range(16):
                nursery.start_soon(work, number)
        rows = await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=1000)
    assert sorted(row.envelope.event_key for row in rows) == sorted(found)
    assert len(found) == 160
