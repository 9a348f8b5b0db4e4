import sqlite3
from pathlib import Path

import anyio
import pytest

from gatewayd.model.audit import BEGINNING, AuditDraft, AuditHead, verify
from gatewayd.model.errors import Conflict
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.audit import append_audit


def draft(number: int) -> AuditDraft:
    return AuditDraft(number / 3, "operator:ann", "channels.stop", f"telegram/{number}", '{"to":"stopped"}')


async def test_entries_are_numbered_chained_and_read_in_pieces(store: SqliteStore) -> None:
    assert await store.audit_head() is None
    added = [await store.add_audit(draft(number)) for number in range(5)]
    assert [row.seq for row in added] == [1, 2, 3, 4, 5]
    assert added[0].previous == BEGINNING.hash
    assert await store.audit_head() == added[-1]
    assert await store.audit_after(0, limit=10) == added
    assert await store.audit_after(2, limit=2) == added[2:4]
    assert verify(added) == AuditHead(5, added[-1].hash)


async def test_writers_at_the_same_time_make_one_chain(store: SqliteStore) -> None:
    async with anyio.create_task_group() as tasks:
        for number in range(20):
            tasks.start_soon(store.add_audit, draft(number))
    rows = await store.audit_after(0, limit=100)
    assert verify(rows).seq == 20
    assert {row.subject for row in rows} == {draft(number).subject for number in range(20)}


async def test_what_a_restart_adds_follows_what_was_there(tmp_path: Path) -> None:
    for number in range(2):
        async with open_store(tmp_path, now=lambda: 0.0, run_blocking=run_inline) as store:
            await store.add_audit(draft(number))
            assert verify(await store.audit_after(0, limit=10)).seq == number + 1


async def test_an_entry_is_undone_with_the_transaction_it_tells_of(store: SqliteStore) -> None:
    def operation(connection: sqlite3.Connection) -> None:
        append_audit(connection, draft(1))
        raise Conflict("not any more")

    with pytest.raises(Conflict):
        await store._write(operation)
    assert await store.audit_head() is None


@pytest.mark.parametrize("change", ["UPDATE audit SET actor = 'eve'", "DELETE FROM audit", "UPDATE audit SET hash = hash"])
async def test_an_entry_cannot_be_changed_nor_deleted(store: SqliteStore, change: str) -> None:
    row = await store.add_audit(draft(1))
    with pytest.raises(sqlite3.IntegrityError, match="audit"):
        await store._write(lambda connection: connection.execute(change).rowcount)
    assert await store.audit_after(0, limit=10) == [row]
