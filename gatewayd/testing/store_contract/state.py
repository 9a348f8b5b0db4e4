"""Sessions and state."""

from msgspec.structs import replace

from gatewayd.ports.store import SessionRow, Store
from gatewayd.testing.store_contract.rows import envelope

ROW = SessionRow(
    session_key="assistant:telegram:main:dm:42",
    agent_id="assistant",
    session_id="ses-1",
    generation=0,
    created_at=1.0,
    last_used_at=1.0,
)


class StateContract:
    async def test_a_state_value_belongs_to_its_account_and_key(self, store: Store) -> None:
        assert await store.load_state("telegram", "main", "offset") is None
        await store.save_state("telegram", "main", "offset", "5")
        await store.save_state("telegram", "other", "offset", "6")
        await store.save_state("telegram", "main", "secret", "xyz")
        await store.save_state("telegram", "main", "offset", "7")
        assert await store.load_state("telegram", "main", "offset") == "7"
        assert await store.load_state("telegram", "other", "offset") == "6"
        assert await store.load_state("telegram", "main", "secret") == "xyz"
        assert await store.load_state("webchat", "main", "offset") is None

    async def test_a_state_value_is_forgotten_alone_and_more_than_once(self, store: Store) -> None:
        for key in ("offset", "secret"):
            await store.save_state("telegram", "main", key, key)
        for _ in range(2):
            await store.forget_state("telegram", "main", "offset")
        await store.forget_state("webchat", "main", "secret")
        assert await store.load_state("telegram", "main", "offset") is None
        assert await store.load_state("telegram", "main", "secret") == "secret"

    async def test_a_session_is_kept_and_replaced(self, store: Store) -> None:
        assert await store.get_session(ROW.session_key) is None
        await store.put_session(ROW)
        assert await store.get_session(ROW.session_key) == ROW
        renewed = replace(ROW, session_id="ses-2", generation=1, last_used_at=5.0)
        await store.put_session(renewed)
        assert await store.get_session(ROW.session_key) == renewed

    async def test_a_session_is_found_with_its_newest_turn(self, store: Store) -> None:
        await store.put_session(ROW)
        assert await store.find_session(ROW.agent_id, ROW.session_id) == (ROW, None)
        rows = [row.id for row in (await store.add_inbound([envelope(key) for key in "abc"])).rows]
        for number in rows[:2]:
            await store.start_turn([number], turn_id=f"turn-{number}", session_key=ROW.session_key)
        assert await store.find_session(ROW.agent_id, ROW.session_id) == (ROW, f"turn-{rows[1]}")
        assert await store.find_session("another", ROW.session_id) is None
        assert await store.find_session(ROW.agent_id, "another") is None
