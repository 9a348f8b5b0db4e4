from msgspec.structs import replace

from gatewayd.ports.store import SessionRow
from gatewayd.stores.sqlite import SqliteStore

ROW = SessionRow(
    session_key="assistant:telegram:main:dm:42",
    agent_id="assistant",
    session_id="ses-1",
    generation=0,
    created_at=1.0,
    last_used_at=1.0,
)


async def test_a_session_is_kept_and_replaced(store: SqliteStore) -> None:
    assert await store.get_session(ROW.session_key) is None
    await store.put_session(ROW)
    assert await store.get_session(ROW.session_key) == ROW
    renewed = replace(ROW, session_id="ses-2", generation=1, last_used_at=5.0)
    await store.put_session(renewed)
    assert await store.get_session(ROW.session_key) == renewed
    assert await store.list_sessions(limit=10) == [renewed]


async def test_sessions_are_listed_by_last_use(store: SqliteStore) -> None:
    rows = [replace(ROW, session_key=f"key-{number}", last_used_at=float(number % 3)) for number in range(3)]
    for row in rows:
        await store.put_session(row)
    assert await store.list_sessions(limit=2) == [rows[2], rows[1]]
