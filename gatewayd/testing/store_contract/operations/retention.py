"""What is old goes, and what something needs stays."""

import pytest
from msgspec.structs import replace

from gatewayd.model.message.envelope import InboundEnvelope, Peer
from gatewayd.model.message.payload import RichText, SendText
from gatewayd.model.records.question import Question, QuestionRow
from gatewayd.ports.store import KeepRule, OldRow, Referrer, RetentionKind, Store
from gatewayd.testing.store_contract.rows import approval, dropping, ended, envelope, settled

OLD, YOUNG, BEFORE = 100.0, 900.0, 500.0


NOTHING = frozenset[Referrer]()


def is_needed(row: OldRow) -> bool:
    return bool(row.referrers)


async def sweep_all(store: Store, kind: RetentionKind, rule: KeepRule = is_needed, *, before: float = BEFORE) -> int:
    """Until there is no more. Returns how many were deleted."""
    deleted, after, limit = 0, None, 3
    while True:
        swept = await store.sweep(kind, rule, before=before, after=after, limit=limit)
        assert sum(swept.deleted.values()) <= limit
        deleted += sum(swept.deleted.values())
        after = swept.after
        if after is None:
            return deleted


async def inbound(store: Store) -> list[int]:
    return [number for number in range(1, 60) if await store.get_inbound(number)]


async def outbound(store: Store) -> list[int]:
    return [number for number in range(1, 60) if await store.get_outbound(number)]


def question(number: int, *, turn_id: str) -> QuestionRow:
    return QuestionRow(f"qu_{number}", turn_id, number, "assistant:42", Question("which?"), "pending", 1.0, 900.0)


async def envelope_of(store: Store, number: int) -> InboundEnvelope:
    """As that of a row, under another key."""
    row = await store.get_inbound(number)
    assert row is not None
    return replace(row.envelope, event_key="another")


async def told(store: Store, kind: RetentionKind) -> list[OldRow]:
    """What the rule is told of each row, when it keeps all."""
    rows = list[OldRow]()

    def keep(row: OldRow) -> bool:
        rows.append(row)
        return True

    assert await sweep_all(store, kind, keep) == 0
    return rows


async def be_over(store: Store, outbound_id: int) -> None:
    """Send a reply, or drop it where it is a dead letter."""
    await store.drop_dead_letters([f"out-{outbound_id}"], dropping(now=OLD), now=OLD)
    await store.mark_sending(outbound_id)
    await store.settle_outbound(outbound_id, "sent", now=OLD)


class RetentionContract:
    async def test_old_rows_go_and_young_ones_and_those_that_wait_stay(self, store: Store) -> None:
        old = [await ended(store, state, at=OLD) for state in ("done", "dropped", "done", "done")]
        young = await ended(store, "done", at=YOUNG)
        dead = await ended(store, "dead", at=OLD)
        [waiting] = (await store.add_inbound([(await envelope_of(store, young))])).rows
        assert await sweep_all(store, "inbound") == len(old)
        assert await inbound(store) == [young, dead, waiting.id]
        assert await sweep_all(store, "inbound_dead_letter") == 1
        assert await inbound(store) == [young, waiting.id]

    async def test_old_replies_go_by_what_became_of_them(self, store: Store) -> None:
        sent = await settled(store, "sent", at=OLD)
        young = await settled(store, "sent", at=YOUNG)
        dead_letters = [await settled(store, state, at=OLD) for state in ("unknown", "parked", "dead")]
        waiting = [await settled(store, state) for state in ("ready", "sending")]
        dropped = await settled(store, "unknown", at=OLD)
        await store.drop_dead_letters([f"out-{dropped}"], dropping(now=OLD), now=OLD)
        assert await sweep_all(store, "outbound") == 2
        assert sent not in await outbound(store)
        assert dropped not in await outbound(store)
        swept = await store.sweep("outbound_dead_letter", is_needed, before=BEFORE, after=None, limit=10)
        assert swept.deleted == {"unknown": 1, "parked": 1, "dead": 1}
        assert await outbound(store) == sorted([young, *waiting])
        assert not set(dead_letters) & set(await outbound(store))

    async def test_the_rule_is_told_when_a_row_came_and_when_it_was_dropped(self, store: Store) -> None:
        message, reply = await ended(store, "dead", at=OLD), await settled(store, "dead", at=OLD)
        assert await told(store, "inbound_dead_letter") == [OldRow(10.0, None, NOTHING)]
        assert await told(store, "outbound_dead_letter") == [OldRow(None, None, NOTHING)]
        await store.drop_dead_letters([f"in-{message}", f"out-{reply}"], dropping(now=YOUNG), now=YOUNG)
        assert await told(store, "inbound") == [OldRow(10.0, YOUNG, NOTHING)]
        assert await told(store, "outbound") == [OldRow(None, YOUNG, NOTHING)]
        assert await told(store, "inbound_dead_letter") == await told(store, "outbound_dead_letter") == []

    async def test_a_bug_in_the_rule_deletes_nothing(self, store: Store) -> None:
        old = [await ended(store, "done", at=OLD) for _ in range(2)]
        answers = iter([False])
        with pytest.raises(RuntimeError):
            await store.sweep("inbound", lambda row: next(answers), before=BEFORE, after=None, limit=10)
        assert await inbound(store) == old

    @pytest.mark.parametrize("state", ["ready", "sending", "unknown", "parked", "dead"])
    async def test_what_an_unsettled_reply_belongs_to_stays(self, state: str, store: Store) -> None:
        message = await ended(store, "done", at=OLD, turn_id="turn-1")
        reply = await settled(store, state, at=OLD, turn_id="turn-1")  # type: ignore[arg-type]
        assert [row.referrers for row in await told(store, "inbound")] == [{"reply"}]
        assert await sweep_all(store, "inbound") == 0
        await be_over(store, reply)
        assert await sweep_all(store, "inbound") == 1
        assert message not in await inbound(store)

    @pytest.mark.parametrize("state", ["ready", "sending", "unknown", "parked", "dead"])
    async def test_a_message_that_is_to_be_edited_stays(self, state: str, store: Store) -> None:
        shown = await settled(store, "sent", at=OLD)
        edit = await settled(store, state, edits=shown)  # type: ignore[arg-type]
        assert [row.referrers for row in await told(store, "outbound")] == [{"edit"}]
        assert await sweep_all(store, "outbound") == 0
        await be_over(store, edit)
        assert await sweep_all(store, "outbound") == 2

    async def test_the_prompts_of_what_is_pending_stay(self, store: Store) -> None:
        await store.add_approval(replace(approval(1), id="ap_1"))
        await store.add_question(question(1, turn_id="turn-9"))
        prompts = [await settled(store, "sent", at=OLD, subject=subject) for subject in ("ap_1", "ap_1/notice", "qu_1")]
        other = await settled(store, "sent", at=OLD, subject="ap_gone")
        assert [row.referrers for row in await told(store, "outbound")] == [{"approval"}, {"approval"}, {"question"}, NOTHING]
        assert await sweep_all(store, "outbound") == 1
        assert await outbound(store) == prompts
        assert other not in prompts
        await store.decide_approval("ap_1", "denied", by="x", note=None, now=OLD)
        await store.end_question("qu_1", "expired", now=OLD)
        assert await sweep_all(store, "outbound") == 3

    async def test_a_message_whose_turn_asks_stays(self, store: Store) -> None:
        await ended(store, "done", at=OLD, turn_id="turn-1")
        await store.add_approval(replace(approval(1, turn_id="turn-1"), id="ap_1"))
        await store.add_question(question(1, turn_id="turn-1"))
        assert [row.referrers for row in await told(store, "inbound")] == [{"approval", "question"}]
        await store.decide_approval("ap_1", "denied", by="x", note=None, now=OLD)
        await store.end_question("qu_1", "expired", now=OLD)
        assert [row.referrers for row in await told(store, "inbound")] == [NOTHING]

    async def test_requests_of_turns_that_run_stay(self, store: Store) -> None:
        [running] = (await store.add_inbound([(await envelope_of(store, await ended(store, "done", at=YOUNG)))])).rows
        await store.start_turn([running.id], turn_id="turn-5", session_key="key")
        for number, turn_id in ((1, "turn-5"), (2, "turn-6")):
            await store.add_approval(replace(approval(number, turn_id=turn_id), id=f"ap_{number}"))
            await store.decide_approval(f"ap_{number}", "allowed", by="x", note=None, now=OLD)
            await store.add_question(question(number, turn_id=turn_id))
            await store.end_question(f"qu_{number}", "answered", now=OLD)
        await store.add_approval(replace(approval(3, turn_id="turn-6"), id="ap_3"))
        prompt = await settled(store, "ready", subject="ap_2/notice")
        assert [row.referrers for row in await told(store, "approval")] == [{"message"}, {"reply"}]
        assert (await sweep_all(store, "approval"), await sweep_all(store, "question")) == (0, 1)
        await be_over(store, prompt)
        assert await sweep_all(store, "approval") == 1
        assert [row.id for row in await store.list_approvals(None, limit=10)] == ["ap_3", "ap_1"]
        await store.end_inbound([running.id], state="done", reason="answered", now=YOUNG)
        assert (await sweep_all(store, "approval"), await sweep_all(store, "question")) == (1, 1)

    async def test_rows_that_stay_do_not_slow_the_next_call(self, store: Store) -> None:
        """It goes on behind them: each row is looked at once."""
        kept = [await ended(store, "done", at=OLD, turn_id=f"turn-x{number}") for number in range(7)]
        for number in range(7):
            await settled(store, "unknown", turn_id=f"turn-x{number}")
        gone = [await ended(store, "done", at=OLD + 1) for _ in range(7)]
        calls, after = [], None
        while True:
            swept = await store.sweep("inbound", is_needed, before=BEFORE, after=after, limit=5)
            calls.append(sum(swept.deleted.values()))
            after = swept.after
            if after is None:
                break
        assert calls == [0, 3, 4]
        assert await inbound(store) == kept
        assert gone[0] not in kept

    async def test_it_is_told_how_much_is_stored(self, store: Store) -> None:
        before = await store.bytes_used()
        await store.add_inbound([replace(envelope(f"{number}"), text="x" * 10_000) for number in range(20)])
        assert await store.bytes_used() > before + 100_000

    async def test_an_edit_that_became_a_message_keeps_no_other_row(self, store: Store) -> None:
        begun = await settled(store, "sent", at=OLD)
        end = await settled(store, "ready", at=YOUNG, edits=begun)
        assert await sweep_all(store, "outbound") == 0
        await store.mark_sending(end)
        await store.settle_outbound(end, "ready", now=YOUNG, instead=SendText(Peer("dm", "alice"), RichText("whole")))
        assert await sweep_all(store, "outbound") == 1
        assert await outbound(store) == [end]
