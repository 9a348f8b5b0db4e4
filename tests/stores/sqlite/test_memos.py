from gatewayd.stores.sqlite import SqliteStore


async def test_a_memo_belongs_to_its_account_and_key(store: SqliteStore) -> None:
    assert await store.load_memo("telegram", "main", "offset") is None
    await store.save_memo("telegram", "main", "offset", "5")
    await store.save_memo("telegram", "other", "offset", "6")
    await store.save_memo("telegram", "main", "secret", "xyz")
    await store.save_memo("telegram", "main", "offset", "7")
    assert await store.load_memo("telegram", "main", "offset") == "7"
    assert await store.load_memo("telegram", "other", "offset") == "6"
    assert await store.load_memo("telegram", "main", "secret") == "xyz"
    assert await store.load_memo("webchat", "main", "offset") is None
