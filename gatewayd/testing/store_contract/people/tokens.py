"""Tokens, and codes that work once."""

import trio
from msgspec.structs import replace

from gatewayd.ports.store import Store, TokenRow

ROW = TokenRow(
    digest="d1", kind="login_code", name="alice", role="operator", scopes=("read", "write"), created_at=1.0, expires_at=9.0
)


class TokensContract:
    async def test_a_token_is_kept_replaced_and_deleted(self, store: Store) -> None:
        assert await store.get_token("d1") is None
        await store.put_token(ROW)
        assert await store.get_token("d1") == ROW
        renewed = replace(ROW, scopes=(), expires_at=None)
        await store.put_token(renewed)
        assert await store.get_token("d1") == renewed
        await store.delete_token("d1")
        await store.delete_token("d1")
        assert await store.get_token("d1") is None

    async def test_a_one_time_code_is_taken_once_by_whoever_is_first(self, store: Store) -> None:
        await store.put_token(ROW)
        taken: list[TokenRow | None] = []

        async def take() -> None:
            taken.append(await store.take_token("d1"))

        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(take)
        assert sorted(taken, key=lambda row: row is None) == [ROW, None, None, None, None]

    async def test_tokens_are_listed_by_kind(self, store: Store) -> None:
        session = replace(ROW, digest="d2", kind="web_session")
        later = replace(ROW, digest="d0", created_at=2.0)
        for row in (session, later, ROW):
            await store.put_token(row)
        assert await store.list_tokens("login_code") == [ROW, later]
        assert await store.list_tokens("web_session") == [session]

    async def test_expired_tokens_are_deleted_and_lasting_ones_kept(self, store: Store) -> None:
        lasting = replace(ROW, digest="d2", kind="token", expires_at=None)
        later = replace(ROW, digest="d3", expires_at=10.0)
        for row in (ROW, lasting, later):
            await store.put_token(row)
        assert await store.delete_expired_tokens(9.0) == 1
        assert await store.get_token("d1") is None
        assert await store.get_token("d2") == lasting
        assert await store.get_token("d3") == later

    async def test_what_is_gone_is_exchanged_for_nothing(self, store: Store) -> None:
        session = replace(ROW, digest="d2", kind="web_session")
        assert not await store.exchange_token("d1", session)
        assert await store.get_token("d2") is None
        await store.put_token(ROW)
        assert await store.exchange_token("d1", session)
        assert (await store.get_token("d1"), await store.get_token("d2")) == (None, session)
        longer = replace(session, expires_at=99.0)
        assert await store.exchange_token("d2", longer)
        assert await store.get_token("d2") == longer
