"""Dead letters that are put back or dropped."""

from collections.abc import Sequence
from functools import partial

import anyio
import pytest
from msgspec.structs import replace

from gatewayd.model.errors import Conflict, NotFound
from gatewayd.model.records.audit import AuditDraft, verify
from gatewayd.model.records.dead_letter import NotADeadLetter, Skipped
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import DeadLetterFacts, DeadLetterRow, InboundRow, OutboundRow, Repair, Repairs, Store, ref_of
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, approval, ended, numbered, settled


def entry(row: DeadLetterRow, action: str = "dead_letter.retried") -> AuditDraft:
    return AuditDraft(500.0, "operator:ann", action, ref_of(row))


def alone(facts: DeadLetterFacts) -> Sequence[Repair]:
    return [Repair(facts.row, entry(facts.row))]


def close(row: DeadLetterRow) -> Repair:
    return Repair(row, entry(row, "dead_letter.dropped"))


async def retry(store: Store, *refs: str) -> Repairs:
    return await store.retry_dead_letters(refs, alone, now=500.0)


def done(repairs: Repairs) -> list[str]:
    return [ref_of(each.row) for each in repairs.done]


class RepairContract:
    async def test_a_message_is_as_one_that_was_just_received(self, store: Store) -> None:
        number = await ended(store)
        [repaired] = (await retry(store, f"in-{number}")).done
        row = await store.get_inbound(number)
        assert isinstance(repaired.row, InboundRow)
        assert row == repaired.row
        assert row is not None
        assert (row.state, row.attempts, row.retries, row.turn_id, row.reason) == ("received", 0, 1, None, None)
        assert (row.ended_at, row.started_at) == (None, None)
        assert [pending.id for pending in await store.pending_inbound(EVERY_ACCOUNT, after_id=0, limit=10)] == [number]

    async def test_a_reply_keeps_its_number_and_is_not_stale(self, store: Store) -> None:
        number = await settled(store, "parked")
        [repaired] = (await retry(store, f"out-{number}")).done
        assert isinstance(repaired.row, OutboundRow)
        assert repaired.was == "parked"
        assert (repaired.row.id, repaired.row.state, repaired.row.attempts, repaired.row.reason) == (number, "ready", 0, None)
        assert (repaired.row.created_at, repaired.row.queued_at, repaired.row.settled_at) == (20.0, 500.0, None)
        status = await store.recover_outbound(EVERY_ACCOUNT, stale_before=400.0, now=600.0)
        assert (status.ready, status.parked) == (1, 0)

    async def test_what_is_dropped_stays_what_it_was(self, store: Store) -> None:
        number = await settled(store, "unknown")
        [dropped] = (await store.drop_dead_letters([f"out-{number}"], close, now=77.0)).done
        assert (dropped.was, dropped.row.state, dropped.row.closed_at) == ("unknown", "unknown", 77.0)
        assert (await store.get_dead_letter(f"out-{number}")).row == dropped.row
        assert (await store.recover_outbound(EVERY_ACCOUNT, stale_before=0.0, now=80.0)).unknown == 0

    async def test_each_act_has_its_entry(self, store: Store) -> None:
        refs = [f"in-{await ended(store)}", f"out-{await settled(store)}"]
        await retry(store, *refs)
        await store.drop_dead_letters([f"out-{await settled(store, 'dead')}"], close, now=501.0)
        entries = await store.audit_after(0, limit=10)
        verify(entries)
        expected = [("dead_letter.retried", "in-1"), ("dead_letter.retried", "out-1"), ("dead_letter.dropped", "out-2")]
        assert [(entry.action, entry.subject) for entry in entries] == expected

    async def test_the_rule_says_what_goes_along_and_that_is_done_once(self, store: Store) -> None:
        rows = [f"in-{await ended(store, turn_id='turn-1')}" for _ in range(3)]

        asked = list[str]()

        def two(facts: DeadLetterFacts) -> list[Repair]:
            asked.append(ref_of(facts.row))
            return [Repair(row, entry(row)) for row in facts.dead_of_turn[:2]]

        repairs = await store.retry_dead_letters([rows[0], rows[1], rows[0], rows[2]], two, now=500.0)
        assert (done(repairs), repairs.skipped) == ([rows[0], rows[1], rows[2]], [])
        assert asked == [rows[0], rows[2]]
        assert len(await store.audit_after(0, limit=10)) == 3

    async def test_what_is_no_ref_or_not_there_or_refused_is_skipped_alone(self, store: Store) -> None:
        first, second, third = [f"out-{await settled(store)}" for _ in range(3)]

        def rule(facts: DeadLetterFacts) -> Sequence[Repair]:
            if ref_of(facts.row) == second:
                raise Conflict("not this one")
            return alone(facts)

        repairs = await store.retry_dead_letters([first, second, "in-99", "garbage", "in-0", third], rule, now=500.0)
        assert done(repairs) == [first, third]
        assert repairs.skipped == [
            Skipped(second, "not this one"),
            Skipped("in-99", "there is no in-99 (any more)"),
            Skipped("garbage", "'garbage' is not in-NUMBER or out-NUMBER"),
            Skipped("in-0", "'in-0' is not in-NUMBER or out-NUMBER"),
        ]
        with pytest.raises(NotFound, match="there is no in-99"):
            await store.get_dead_letter("in-99")
        with pytest.raises(NotADeadLetter):
            await store.get_dead_letter("garbage")

    async def test_what_is_no_dead_letter_stays_as_it_is_whatever_the_rule_says(self, store: Store) -> None:
        dropped = [f"out-{await settled(store)}", f"in-{await ended(store)}"]
        await store.drop_dead_letters(dropped, close, now=1.0)
        for ref in (*dropped, f"out-{await settled(store, 'sent')}", f"in-{await ended(store, 'done')}"):
            before = await store.get_dead_letter(ref)
            assert await retry(store, ref) == Repairs([], [])
            assert await store.drop_dead_letters([ref], close, now=2.0) == Repairs([], [])
            assert await store.get_dead_letter(ref) == before
        assert len(await store.audit_after(0, limit=10)) == 2

    async def test_a_bug_in_the_rule_undoes_all(self, store: Store) -> None:
        refs = [f"out-{await settled(store)}" for _ in range(2)]

        def rule(facts: DeadLetterFacts) -> Sequence[Repair]:
            if ref_of(facts.row) == refs[1]:
                raise RuntimeError("a bug")
            return alone(facts)

        with pytest.raises(RuntimeError, match="a bug"):
            await store.retry_dead_letters(refs, rule, now=500.0)
        assert (await store.get_dead_letter(refs[0])).row.state == "unknown"
        assert await store.audit_after(0, limit=10) == []

    async def test_of_two_at_once_the_second_finds_what_the_first_has_done(self, store: Store) -> None:
        ref, states = f"out-{await settled(store)}", list[str]()

        def rule(facts: DeadLetterFacts) -> Sequence[Repair]:
            states.append(facts.row.state)
            return alone(facts)

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(partial(store.retry_dead_letters, [ref], rule, now=500.0))
        assert states == ["unknown", "ready"]
        assert len(await store.audit_after(0, limit=10)) == 1

    async def test_the_dead_letters_of_a_messages_turn_stand_around_it(self, store: Store) -> None:
        first, second = await ended(store, turn_id="turn-1"), await ended(store, turn_id="turn-1", message=numbered("77"))
        await ended(store, "done", turn_id="turn-1")
        await ended(store, turn_id="turn-2")
        dropped = await ended(store, turn_id="turn-1")
        await store.drop_dead_letters([f"in-{dropped}"], close, now=1.0)
        facts = await store.get_dead_letter(f"in-{second}")
        assert (facts.row.id, [row.id for row in facts.dead_of_turn]) == (second, [first, second])
        fresh = await store.get_dead_letter(f"in-{first}")
        assert fresh == replace(facts, row=fresh.row)
        await retry(store, f"in-{first}")
        assert (await store.get_dead_letter(f"in-{first}")).dead_of_turn == (), "it has no turn now"

    async def test_what_an_edit_changes_stands_around_it_and_the_first_newer_one_that_may_be_seen(self, store: Store) -> None:
        shown = await settled(store, "sent")
        edit = await settled(store, "dead", edits=shown)
        for unseen in ("dead", "parked"):
            await settled(store, unseen, edits=shown)
        assert (await store.get_dead_letter(f"out-{edit}")).newer_edit is None
        newer = [await settled(store, state, edits=shown) for state in ("unknown", "sent")]
        await settled(store, "sent", edits=99)
        facts = await store.get_dead_letter(f"out-{edit}")
        assert (facts.edited, facts.newer_edit) == (await store.get_outbound(shown), newer[0])
        last = await store.get_dead_letter(f"out-{await settled(store, 'dead', edits=99)}")
        assert (last.edited, last.newer_edit, last.request) == (None, None, None)

    async def test_the_request_that_a_reply_is_about_stands_around_it(self, store: Store) -> None:
        asked = await store.add_approval(replace(approval(1), id="ap_1"))
        question = await store.add_question(QuestionRow("qu_1", "turn-1", 0, "key", Question("which?"), "pending", 10.0, 900.0))
        for subject, expected in (
            ("ap_1", asked),
            ("ap_1/notice", asked),
            ("qu_1", question),
            ("ap_gone", None),
            ("re_ap_1", None),
            (None, None),
        ):
            assert (await store.get_dead_letter(f"out-{await settled(store, subject=subject)}")).request == expected

    async def test_a_retry_by_a_person_keeps_the_doubt(self, store: Store) -> None:
        row = await store.get_outbound(await settled(store, "unknown"))
        assert row is not None
        [repaired] = (await retry(store, ref_of(row))).done
        assert isinstance(repaired.row, OutboundRow)
        assert (repaired.row.state, repaired.row.doubt_since) == ("ready", row.doubt_since)
        assert (row.retries, repaired.row.retries) == (0, 1)
        assert repaired.row.send_key == row.send_key
