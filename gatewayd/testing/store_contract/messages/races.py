"""Several tasks at once: of those that compete one wins, and nothing is lost or done twice."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import TypeVar

import anyio
import pytest
from msgspec.structs import replace

from gatewayd.model.errors import Conflict
from gatewayd.model.records.audit import AuditDraft, verify
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import EventDraft, OutboundDraft, OutboundRow, Store, TokenRow
from gatewayd.testing.store_contract.rows import approval, draft, dropping, ended, envelope, pairing, retrying, settled, voting

T = TypeVar("T")
TASKS = 5


async def at_once(calls: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
    """What each call returns, in a task of its own."""
    results: dict[int, T] = {}

    async def run(number: int, call: Callable[[], Awaitable[T]]) -> None:
        results[number] = await call()

    async with anyio.create_task_group() as tasks:
        for number, call in enumerate(calls):
            tasks.start_soon(run, number, call)
    return [results[number] for number in range(len(calls))]


def entry(number: int) -> AuditDraft:
    return AuditDraft(1.0, f"operator:{number}", "approval.allow", "approval-1")


class RacesContract:
    async def test_one_of_many_deliveries_of_a_message_is_new(self, store: Store) -> None:
        journaled = await at_once([partial(store.add_inbound, [envelope("1"), envelope(f"own-{n}")]) for n in range(TASKS)])
        found = [row.id for each in journaled for row in each.rows]
        assert len(found) == len(set(found)) == TASKS + 1

    async def test_one_of_many_ends_of_a_message_writes_its_replies(self, store: Store) -> None:
        [row] = (await store.add_inbound([envelope("1")])).rows
        end = partial(store.end_inbound, [row.id], state="done", reason="answered", now=1.0)
        replies = await at_once([partial(end, replies=[draft(f"{n}")]) for n in range(TASKS)])
        assert sorted(len(each) for each in replies) == [0] * (TASKS - 1) + [1]

    async def test_every_attempt_is_counted(self, store: Store) -> None:
        [row] = (await store.add_inbound([envelope("1")])).rows
        await at_once([partial(store.start_turn, [row.id], turn_id=f"turn-{n}", session_key="key") for n in range(TASKS)])
        found = await store.get_inbound(row.id)
        assert found is not None
        assert found.attempts == TASKS

    async def test_one_of_many_sends_a_reply(self, store: Store) -> None:
        [row] = await store.add_outbound([draft("hi")], now=1.0)
        assert sorted(await at_once([partial(store.mark_sending, row.id)] * TASKS)) == [False] * (TASKS - 1) + [True]
        found = await store.get_outbound(row.id)
        assert found is not None
        assert found.attempts == 1

    async def test_numbers_are_each_given_once(self, store: Store) -> None:
        drafts = [draft("a"), draft("b")]
        rows = await at_once([partial(store.add_outbound, drafts, now=1.0)] * TASKS)
        assert len({row.id for each in rows for row in each}) == 2 * TASKS
        assert all(first.id < second.id for first, second in rows)
        events = await at_once([partial(store.add_events, [EventDraft(1.0, "x", b"{}")] * 2)] * TASKS)
        assert sorted(event.seq for each in events for event in each) == list(range(1, 2 * TASKS + 1))

    async def test_each_notice_is_asked_for_with_those_before_it(self, store: Store) -> None:
        rows = await store.add_outbound([draft(f"{n}", turn_id="turn-1") for n in range(TASKS)], now=1.0)

        def notice(row: OutboundRow, of_turn: Sequence[OutboundRow]) -> OutboundDraft | None:
            assert row.state == "unknown"
            assert row in of_turn
            known = any(each.subject == "re_X" for each in of_turn)
            return None if known else replace(draft("it may not have arrived", turn_id="turn-1"), subject="re_X")

        for row in rows:
            await store.mark_sending(row.id)
        told = await at_once([partial(store.settle_outbound, row.id, "unknown", now=2.0, notice=notice) for row in rows])
        assert sum(each.notice is not None for each in told) == 1
        assert len(await store.outbound_by("turn_id", "turn-1")) == TASKS + 1

    async def test_one_of_many_decides(self, store: Store) -> None:
        await store.add_approval(approval(1))
        decide = partial(store.decide_approval, "approval-1", "denied", note=None, now=2.0)
        decided = await at_once([partial(decide, by=f"operator:{n}", audit=entry(n)) for n in range(TASKS)])
        [row] = [each for each in decided if each is not None]
        assert await store.get_approval("approval-1") == row
        assert [each.actor for each in await store.audit_after(0, limit=9)] == [row.decided_by]

    async def test_every_vote_sees_those_before_it(self, store: Store) -> None:
        await store.add_approval(replace(approval(1), quorum=3))
        vote = partial(store.vote_approval, "approval-1")
        voted = await at_once([partial(vote, voting(f"operator:{n}"), audit=entry(n)) for n in range(TASKS)])
        counted = sorted(len(row.votes) for row in voted if row is not None)
        assert counted == [1, 2, 3]
        row = await store.get_approval("approval-1")
        assert row is not None
        assert (row.state, len(row.votes)) == ("allowed", 3)
        assert len(await store.audit_after(0, limit=9)) == 3

    async def test_of_a_vote_and_a_decision_one_comes_first(self, store: Store) -> None:
        await store.add_approval(approval(1))
        withdraw = partial(store.decide_approval, "approval-1", "withdrawn", by="gatewayd", note=None, now=2.0)
        allow = partial(store.vote_approval, "approval-1", voting("operator:me"), audit=entry(1))
        done = await at_once([withdraw, allow])
        [row] = [each for each in done if each is not None]
        assert await store.get_approval("approval-1") == row

    async def test_one_of_many_uses_what_was_allowed(self, store: Store) -> None:
        await store.add_approval(replace(approval(1), state="allowed"))
        use = partial(store.consume_approval, "approval-1", now=2.0)
        assert sorted(await at_once([partial(use, ref=f"{n}") for n in range(TASKS)])) == [False] * (TASKS - 1) + [True]

    async def test_a_request_is_added_once(self, store: Store) -> None:
        rows = await at_once([partial(store.add_approval, approval(n, ordinal=0)) for n in range(TASKS)])
        assert len({row.id for row in rows}) == 1
        assert len(await store.approvals_of("turn-1")) == 1

    async def test_one_of_many_answers_a_question(self, store: Store) -> None:
        await store.add_question(QuestionRow("qu_1", "turn-1", 0, "key", Question("Which?"), "pending", 1.0, 9.0))
        messages = [row.id for row in (await store.add_inbound([envelope(f"{n}") for n in range(TASKS)])).rows]
        end = partial(store.end_question, "qu_1", "answered", now=2.0)
        ends = await at_once([partial(end, answers=(f"{n}",), inbound_ids=[n]) for n in messages])
        assert sum(each is not None for each in ends) == 1
        rows = [await store.get_inbound(number) for number in messages]
        assert sorted(row.state for row in rows if row is not None) == ["done"] + ["received"] * (TASKS - 1)

    async def test_one_of_many_takes_a_code(self, store: Store) -> None:
        await store.put_token(TokenRow("code", "login_code", "ann", "operator", (), 1.0))
        taken = await at_once([partial(store.take_token, "code")] * TASKS)
        assert sum(each is not None for each in taken) == 1

    async def test_one_of_many_exchanges_a_code(self, store: Store) -> None:
        await store.put_token(TokenRow("code", "login_code", "ann", "operator", (), 1.0))
        sessions = [TokenRow(f"session-{n}", "web_session", "ann", "operator", (), 1.0) for n in range(TASKS)]
        exchanged = await at_once([partial(store.exchange_token, "code", row) for row in sessions])
        assert sorted(exchanged) == [False] * (TASKS - 1) + [True]
        assert len(await store.list_tokens("web_session")) == 1

    async def test_one_of_many_decides_about_a_stranger(self, store: Store) -> None:
        await store.add_pairing(pairing("CODE", "7"))
        decide = partial(store.decide_pairing, "CODE", now=2.0)
        decided = await at_once([partial(decide, state, by="operator:me") for state in ("approved", "denied")])
        [row] = [each for each in decided if each is not None]
        assert await store.list_pairings("approved", limit=9) == [each for each in [row] if each.state == "approved"]

    async def test_a_stranger_has_one_code_and_a_code_one_stranger(self, store: Store) -> None:
        rows = await at_once([partial(store.add_pairing, pairing(f"CODE-{n}", "7")) for n in range(TASKS)])
        assert len({row.code for row in rows}) == 1

        async def ask(sender: str) -> bool:
            try:
                await store.add_pairing(pairing("SAME", sender))
            except Conflict:
                return False
            return True

        assert sorted(await at_once([partial(ask, f"sender-{n}") for n in range(TASKS)])) == [False] * (TASKS - 1) + [True]

    @pytest.mark.parametrize("retry", [True, False])
    async def test_one_of_many_repairs_a_dead_letter(self, store: Store, retry: bool) -> None:
        refs = [f"in-{await ended(store)}", f"out-{await settled(store)}"]
        repair = (
            partial(store.retry_dead_letters, rule=retrying()) if retry else partial(store.drop_dead_letters, rule=dropping())
        )
        repairs = await at_once([partial(repair, refs, now=3.0)] * TASKS)
        assert sorted(len(each.done) for each in repairs) == [0] * (TASKS - 1) + [2]
        assert len(await store.audit_after(0, limit=99)) == 2

    async def test_the_audit_log_is_one_chain(self, store: Store) -> None:
        await store.add_approval(approval(1))
        await at_once([partial(store.add_audit, entry(n)) for n in range(TASKS)])
        rows = await store.audit_after(0, limit=99)
        assert len(rows) == TASKS
        verify(rows)

    async def test_an_account_has_one_gateway(self, store: Store) -> None:
        account = ("telegram", "main")
        await at_once([partial(store.claim_accounts, f"gateway-{n}", [account]) for n in range(TASKS)])
        owned = [await store.claim_accounts(f"gateway-{n}", []) for n in range(TASKS)]
        assert sorted(owned) == [[]] * (TASKS - 1) + [[account]]
