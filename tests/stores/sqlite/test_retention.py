"""What retention deletes and what stays, and that no call does much at once."""

from gatewayd.stores.sqlite import SqliteStore
from gatewayd.testing.store_contract.operations.retention import sweep_all
from gatewayd.testing.store_contract.rows import dropping, ended

OLD = 100.0


async def test_nothing_is_deleted_from_the_audit_log_and_the_pages_are_free_again(store: SqliteStore) -> None:
    refs = [f"in-{await ended(store, at=OLD)}" for _ in range(50)]
    await store.drop_dead_letters(refs, dropping(now=OLD, note="n" * 400), now=OLD)
    longer = "UPDATE inbound SET envelope = CAST(envelope || zeroblob(20000) AS BLOB)"
    await store._write(lambda connection: connection.execute(longer).rowcount)
    before = await store.bytes_used()
    assert await sweep_all(store, "inbound") == 50
    assert await store.bytes_used() < before - 500_000
    assert len(await store.audit_after(0, limit=100)) == 50
