"""Strangers who asked, and whom somebody let in."""

import pytest
from msgspec.structs import replace

from gatewayd.model.errors import Conflict
from gatewayd.ports.store import Store
from gatewayd.testing.store_contract.rows import Clock, pairing


class PairingsContract:
    async def test_who_asks_again_gets_the_same_code(self, store: Store) -> None:
        first = await store.add_pairing(pairing("ABCD", "1"))
        assert first == pairing("ABCD", "1")
        assert await store.add_pairing(pairing("WXYZ", "1", at=50.0)) == first
        assert await store.list_pairings("pending", limit=5) == [first]

    async def test_an_expired_code_is_void_and_replaced(self, store: Store, clock: Clock) -> None:
        await store.add_pairing(pairing("ABCD", "1", expires_at=100.0))
        clock.time = 100.0
        assert await store.list_pairings("pending", limit=5) == []
        assert await store.decide_pairing("ABCD", "approved", by="bob", now=100.0) is None
        renewed = pairing("WXYZ", "1", at=100.0, expires_at=200.0)
        assert await store.add_pairing(renewed) == renewed
        assert await store.list_pairings("pending", limit=5) == [renewed]

    async def test_two_senders_never_hold_one_code(self, store: Store) -> None:
        first = await store.add_pairing(pairing("ABCD", "1"))
        with pytest.raises(Conflict):
            await store.add_pairing(pairing("abcd", "2"))
        assert await store.list_pairings("pending", limit=5) == [first]

    async def test_a_code_is_free_again_after_it_expired(self, store: Store) -> None:
        await store.add_pairing(pairing("ABCD", "1", expires_at=10.0))
        other = pairing("ABCD", "2", at=10.0)
        assert await store.add_pairing(other) == other

    async def test_codes_compare_without_case(self, store: Store) -> None:
        asked = await store.add_pairing(pairing("ABCD", "1"))
        assert await store.list_pairings("approved", limit=5) == []
        approved = await store.decide_pairing("aBcD", "approved", by="bob", now=5.0)
        assert approved == replace(asked, state="approved", decided_at=5.0, decided_by="bob")
        assert await store.list_pairings("approved", limit=5) == [approved]
        assert await store.decide_pairing("ABCD", "denied", by="eve", now=6.0) is None

    async def test_a_denied_sender_is_not_paired_and_may_ask_again(self, store: Store) -> None:
        await store.add_pairing(pairing("ABCD", "1"))
        denied = await store.decide_pairing("ABCD", "denied", by="bob", now=5.0)
        assert await store.list_pairings("approved", limit=5) == []
        assert await store.list_pairings("denied", limit=5) == [denied]
        asked = await store.add_pairing(pairing("EFGH", "1", at=6.0))
        assert asked.code == "EFGH"

    async def test_the_last_decision_about_a_sender_counts(self, store: Store) -> None:
        for code, state in (("AAAA", "approved"), ("BBBB", "denied")):
            await store.add_pairing(pairing(code, "1"))
            await store.decide_pairing(code, "approved" if state == "approved" else "denied", by="bob", now=5.0)
        assert await store.list_pairings("approved", limit=5) == []

    async def test_a_revoked_sender_is_not_paired(self, store: Store) -> None:
        await store.add_pairing(pairing("ABCD", "1"))
        await store.decide_pairing("ABCD", "approved", by="bob", now=5.0)
        assert await store.revoke_pairing("telegram", "other", "1") is False
        assert await store.revoke_pairing("telegram", "main", "1") is True
        assert await store.list_pairings("approved", limit=5) == []
        assert await store.revoke_pairing("telegram", "main", "1") is False

    async def test_pairings_are_listed_oldest_first(self, store: Store) -> None:
        rows = [await store.add_pairing(pairing(f"CODE{number}", str(number))) for number in range(3)]
        assert await store.list_pairings("pending", limit=2) == rows[:2]
