import sqlite3
from pathlib import Path

import pytest

from gatewayd.model.errors import Conflict
from gatewayd.model.records.audit import verify
from gatewayd.stores.sqlite import SqliteStore, open_store, run_inline
from gatewayd.stores.sqlite.tables.audit import append_audit
from gatewayd.testing.store_contract.operations.audit import draft


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
