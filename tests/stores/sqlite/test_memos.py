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


async def test_a_memo_is_forgotten_alone_and_more_than_once(store: SqliteStore) -> None:
    for key in ("offset", "secret"):
        await store.save_memo("telegram", "main", key, key)
    for _ in range(2):
        await store.forget_memo("telegram", "main", "offset")
    await store.forget_memo("webchat", "main", "secret")
    assert await store.load_memo("telegram", "main", "offset") is None
    assert await store.load_memo("telegram", "main", "secret") == "secret"
