"""What delivery reports cost those who have none."""

from gatewayd.model.message.payload import Receipt
from gatewayd.model.message.report import DeliveryReport
from gatewayd.stores.sqlite import SqliteStore
from gatewayd.testing.store_contract.rows import draft, envelope


async def about_reports(store: SqliteStore, said: list[str], message_id: str) -> int:
    """How many statements about reports a message with its reply needs."""
    said.clear()
    await store.add_inbound([envelope(message_id)])
    [row] = await store.add_outbound([draft("hi")], now=1.0)
    await store.mark_sending(row.id)
    await store.settle_outbound(row.id, "sent", now=2.0, receipt=Receipt(message_id))
    return sum(" report" in statement for statement in said)


async def test_who_has_none_pays_for_them_once(store: SqliteStore) -> None:
    said: list[str] = []
    await store._write(lambda connection: connection.set_trace_callback(said.append))
    assert [await about_reports(store, said, f"m{number}") for number in range(3)] == [1, 0, 0]
    await store.add_inbound([], reports=[("telegram", "main", DeliveryReport("m4", "read"))])
    assert await about_reports(store, said, "m3") == 1
    assert await about_reports(store, said, "m4") == 2
    await store._write(lambda connection: connection.set_trace_callback(None))
