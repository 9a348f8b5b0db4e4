import sqlite3
from contextlib import closing
from pathlib import Path
from typing import get_args

import pytest
import trio
import trio.testing

from gatewayd.hub.operations.trace_rows import gather
from gatewayd.model.errors import StoreRefused
from gatewayd.model.records.dead_letter import DeadLetterCursor, DeadLetterFilter
from gatewayd.ports.store import RetentionKind
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.engine.files import open_files
from gatewayd.stores.sqlite.engine.reader import Reader
from gatewayd.stores.sqlite.engine.writer import Writer
from gatewayd.testing.store_contract.rows import (
    ACCOUNTS,
    ALICE,
    EVERY_ACCOUNT,
    Clock,
    approval,
    draft,
    dropping,
    ended,
    envelope,
    numbered,
    ready,
    retrying,
    settled,
)
from tests.stores.sqlite.engine.test_writer import GatedDisk


async def test_a_read_does_not_wait_for_a_commit_under_way(tmp_path: Path) -> None:
    disk = GatedDisk()
    with closing(open_files(tmp_path)) as files:
        writer = Writer(files.writer, files.path, disk, now=lambda: 0.0)
        store = SqliteStore(
            writer, Reader(files.reader, files.path, run_inline, writer.note_damage), lambda: 0.0, checked_whole=True
        )
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await store.save_state("telegram", "main", "offset", "1")
            disk.shut()
            async with trio.open_nursery() as saving:
                saving.start_soon(store.save_state, "telegram", "main", "offset", "2")
                await trio.testing.wait_all_tasks_blocked()
                assert await store.load_state("telegram", "main", "offset") == "1"
                disk.open()
            assert await store.load_state("telegram", "main", "offset") == "2"
            writer.close()


async def test_one_connection_serves_one_query_at_a_time(tmp_path: Path) -> None:
    disk = GatedDisk()
    disk.shut()
    answers: list[object] = []
    with closing(open_files(tmp_path)) as files:
        reader = Reader(files.reader, files.path, disk, lambda damage: None)

        async def ask() -> None:
            answers.append(await reader.fetch(lambda connection: connection.execute("SELECT count(*) FROM state").fetchone()))

        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert disk.waiting == 1
            disk.open()
    assert answers == [(0,)] * 3


async def test_the_reading_connection_cannot_write(tmp_path: Path) -> None:
    with closing(open_files(tmp_path)) as files, pytest.raises(sqlite3.OperationalError, match="readonly"):
        files.reader.execute("DELETE FROM inbound")


async def test_a_row_that_cannot_be_decoded_is_refused_by_name(tmp_path: Path) -> None:
    async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
        [row] = (await store.add_inbound([envelope("1")])).rows
        with closing(sqlite3.connect(tmp_path / "gatewayd.db")) as other, other:
            other.execute("UPDATE inbound SET envelope = CAST('{}' AS BLOB)")
        with pytest.raises(StoreRefused, match=f"inbound row {row.id} "):
            await store.get_inbound(row.id)


async def test_start_and_status_never_scan_the_history(tmp_path: Path) -> None:
    """Every statement on a table that grows for ever goes by an index."""
    asked: list[str] = []
    with closing(open_files(tmp_path)) as files:
        files.reader.set_trace_callback(asked.append)
        files.writer.set_trace_callback(asked.append)
        writer = Writer(files.writer, files.path, run_inline, now=lambda: 0.0)
        store = SqliteStore(writer, Reader(files.reader, files.path, run_inline, writer.note_damage), Clock(), checked_whole=True)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(writer.run)
            await use_every_query(store)
            writer.close()
        files.reader.set_trace_callback(None)
        statements = [sql for sql in asked if sql.lstrip().startswith(("SELECT", "UPDATE", "DELETE"))]
        plans = {sql: [step[3] for step in files.reader.execute(f"EXPLAIN QUERY PLAN {sql}")] for sql in statements}
    assert len(plans) > 20
    tables = ("inbound", "outbound", "event", "approval", "question", "audit", "row", "o", "a", "q", "i")
    scans = {
        sql: steps
        for sql, steps in plans.items()
        if any(step == f"SCAN {table}" for table in tables for step in steps) and "ORDER BY seq" not in sql
    }
    assert scans == {}
    sorting = {sql: steps for sql, steps in plans.items() if "INDEXED BY" in sql and any("FOR ORDER BY" in it for it in steps)}
    assert sorting == {}


async def use_every_query(store: SqliteStore) -> None:
    [row] = (await store.add_inbound([envelope("1")])).rows
    await store.find_inbound("telegram", "main", "1")
    await store.get_inbound(row.id)
    await store.start_turn([row.id], turn_id="turn-1", session_key="key")
    await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10)
    [reply] = await store.end_inbound([row.id], state="done", reason="answered", now=1.0, replies=[draft("a")])
    await store.mark_sending(reply.id)
    await store.settle_outbound(reply.id, "sent", now=1.0)
    await ready(store)
    await store.recover_outbound(EVERY_ACCOUNT, stale_before=0.0, now=1.0)
    await store.get_outbound(reply.id)
    await store.outbound_by("turn_id", "turn-1")
    await store.transcript("telegram", "main", ALICE, limit=10)
    await store.add_approval(approval(1))
    await store.get_approval("approval-1")
    await store.list_approvals("pending", limit=10)
    await store.list_approvals(None, limit=10)
    await store.decide_approval("approval-1", "allowed", by="bob", note=None, now=1.0)
    await store.consume_approval("approval-1", now=1.0)
    await store.events_after(0, limit=10)
    await store.event_bounds()
    await store.prune_events(keep=10)
    await use_repair(store)


async def use_repair(store: SqliteStore) -> None:
    """Dead letters, traces and retention."""
    wanted = DeadLetterFilter(channel="telegram", account="main", reason="x", state="dead", ended_before=9.0)
    cursor = DeadLetterCursor(1.0, "in", 1)
    for each in (wanted, DeadLetterFilter()):
        await store.list_dead_letters(each, before=cursor, limit=10)
        await store.oldest_dead_letters(each, after=cursor, limit=10)
    await store.count_dead_letters()
    dead, shown = await ended(store, message=numbered("77"), turn_id="turn-9"), await settled(store, "sent", turn_id="turn-9")
    edit = await settled(store, "dead", edits=shown, subject="ap_1/notice")
    for act in (store.get_dead_letter(f"out-{edit}"), store.get_dead_letter(f"in-{dead}")):
        await act
    await store.retry_dead_letters([f"in-{dead}"], retrying(), now=1.0)
    await store.drop_dead_letters([f"out-{edit}"], dropping(), now=1.0)
    for known in ("77", "telegram/main/77", "turn-9", "in-1", "key", "assistant:42"):
        await gather(store, known, accounts=ACCOUNTS, limit=10)
    for kind in get_args(RetentionKind):
        await store.sweep(kind, lambda row: False, before=1e12, after=(0.0, 0), limit=10)
