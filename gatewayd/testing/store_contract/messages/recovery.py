"""Recovery and loading: of the given accounts, and whole."""

from collections.abc import Sequence

import pytest
from msgspec.structs import replace

from gatewayd.model.lifecycle import OutboundState
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import OutboundDraft, OutboundRow, Store
from gatewayd.testing.store_contract.rows import approval, draft, envelope, ready, settled

MINE, OTHERS = ("telegram", "main"), ("telegram", "other")


class Broken(Exception):
    """A rule has a bug."""


async def states(store: Store, numbers: list[int]) -> list[OutboundState]:
    return [row.state for number in numbers if (row := await store.get_outbound(number)) is not None]


class RecoveryContract:
    async def test_a_bug_in_the_rule_recovers_nothing(self, store: Store) -> None:
        numbers = [await settled(store, "sending") for _ in range(2)]
        asked: list[int] = []

        def notice(row: OutboundRow, of_turn: Sequence[OutboundRow]) -> OutboundDraft:
            asked.append(row.id)
            if len(asked) == 2:
                raise Broken
            return replace(draft("it may not have arrived", turn_id=f"turn-{row.id}"), subject="re_X")

        with pytest.raises(Broken):
            await store.recover_outbound([MINE], stale_before=0.0, now=9.0, notice=notice)
        assert asked == numbers
        assert await states(store, numbers) == ["sending", "sending"]
        assert await ready(store) == []

    async def test_a_bug_in_the_rule_settles_nothing(self, store: Store) -> None:
        number = await settled(store, "sending")

        def notice(row: OutboundRow, of_turn: Sequence[OutboundRow]) -> OutboundDraft:
            raise Broken

        with pytest.raises(Broken):
            await store.settle_outbound(number, "unknown", now=9.0, notice=notice)
        assert await states(store, [number]) == ["sending"]

    async def test_recovery_changes_rows_of_its_own_accounts_only(self, store: Store) -> None:
        mine = [await settled(store, "sending"), await settled(store, "ready")]
        others = [await settled(store, "sending", account="other"), await settled(store, "ready", account="other")]
        for _ in range(2):
            status = await store.recover_outbound([MINE], stale_before=90.0, now=99.0)
            assert (status.unknown, status.parked, status.sending, status.ready) == (1, 1, 1, 1)
        assert await states(store, mine) == ["unknown", "parked"]
        assert await states(store, others) == ["sending", "ready"]
        assert (await store.recover_outbound([], stale_before=90.0, now=99.0)).sending == 1

    async def test_what_is_pending_is_of_the_given_accounts(self, store: Store) -> None:
        rows = (await store.add_inbound([envelope("1"), envelope("2", account="other"), envelope("3")])).rows
        assert [row.id for row in await store.pending_inbound([MINE], after_id=0, limit=9)] == [rows[0].id, rows[2].id]
        assert [row.id for row in await store.pending_inbound([OTHERS], after_id=0, limit=9)] == [rows[1].id]
        assert await store.pending_inbound([MINE, OTHERS], after_id=0, limit=2) == rows[:2]
        assert await store.pending_inbound([], after_id=0, limit=9) == []

    async def test_what_a_turn_has_asked_is_of_the_accounts_of_its_messages(self, store: Store) -> None:
        rows = (await store.add_inbound([envelope("1"), envelope("2", account="other")])).rows
        turns = [f"turn-{row.id}" for row in rows] + ["turn-gone"]
        for number, row in enumerate(rows):
            await store.start_turn([row.id], turn_id=turns[number], session_key="key")
        for number, turn_id in enumerate(turns):
            await store.add_approval(approval(number, turn_id=turn_id))
            await store.add_question(QuestionRow(f"qu_{number}", turn_id, 0, "key", Question("?"), "pending", 1.0, 9.0))
        for accounts, wanted in (([MINE], [0, 2]), ([OTHERS], [1, 2]), ([MINE, OTHERS], [0, 1, 2]), (None, [0, 1, 2]), ([], [2])):
            found = [row.turn_id for row in await store.list_approvals("pending", limit=9, accounts=accounts)]
            assert found == [turns[number] for number in wanted]
            assert [row.turn_id for row in await store.pending_questions(limit=9, accounts=accounts)] == found
            newest = await store.list_approvals(None, limit=9, accounts=accounts)
            assert [row.turn_id for row in newest] == found[::-1]
        assert len(await store.list_approvals("pending", limit=1, accounts=[OTHERS])) == 1

    async def test_a_gateway_has_the_accounts_it_ever_had_unless_another_one_claimed_them(self, store: Store) -> None:
        assert await store.claim_accounts("first", [OTHERS, MINE]) == [MINE, OTHERS]
        assert await store.claim_accounts("first", [MINE]) == [MINE, OTHERS]
        assert await store.claim_accounts("second", [OTHERS, ("chat", "x")]) == [("chat", "x"), OTHERS]
        assert await store.claim_accounts("first", []) == [MINE]
