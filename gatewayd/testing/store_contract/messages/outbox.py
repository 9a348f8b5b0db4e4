"""Replies: from their draft to their receipt, or to the reason why there is none."""

from typing import get_args

import pytest
from msgspec.structs import replace

from gatewayd.model.lifecycle import OutboundState, SendOutcome
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText
from gatewayd.model.status import OutboxStatus
from gatewayd.ports.store import OutboundDraft, OutboundRow, Settled, Store
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, Clock, draft, envelope, text_of


async def add(store: Store, text: str = "hi", now: float = 1.0) -> OutboundRow:
    [row] = await store.add_outbound([draft(text)], now=now)
    return row


async def put(store: Store, state: OutboundState, now: float = 1.0) -> OutboundRow:
    row = await add(store, state, now)
    if state not in ("ready", "parked"):
        await store.mark_sending(row.id)
    if state != "sending":
        await store.settle_outbound(row.id, state, now=now)
    return await now_of(store, row)


async def now_of(store: Store, row: OutboundRow) -> OutboundRow:
    found = await store.get_outbound(row.id)
    assert found is not None
    return found


async def in_doubt(store: Store, now: float = 1.0) -> OutboundRow:
    """A row that waits, and may have been seen."""
    row = await add(store, now=now)
    await store.mark_sending(row.id)
    await store.settle_outbound(row.id, "ready", now=now, in_doubt=True)
    return await now_of(store, row)


class OutboxContract:
    async def test_drafts_come_back_as_they_were_in_order(self, store: Store) -> None:
        drafts = [draft("a", turn_id="turn-1"), draft("b"), draft("c", account="other")]
        rows = await store.add_outbound(drafts, now=5.0)
        assert [(row.payload, row.conversation, row.turn_id) for row in rows] == [
            (each.payload, each.conversation, each.turn_id) for each in drafts
        ]
        assert await store.ready_numbers("telegram", "main", after_id=0, limit=10) == [rows[0].id, rows[1].id]
        assert await store.ready_numbers("telegram", "main", after_id=rows[0].id, limit=10) == [rows[1].id]
        assert await store.ready_numbers("telegram", "main", after_id=0, limit=1) == [rows[0].id]
        assert await store.ready_among([rows[2].id, rows[0].id, 99]) == [rows[0], rows[2]]
        assert await store.get_outbound(rows[2].id) == rows[2]
        assert await store.get_outbound(99) is None

    async def test_only_a_ready_row_is_sent_and_once(self, store: Store) -> None:
        row = await add(store)
        assert await store.mark_sending(row.id) is True
        assert await store.mark_sending(row.id) is False
        assert await store.ready_among([row.id]) == []
        assert await store.mark_sending(99) is False
        sending = await store.get_outbound(row.id)
        assert sending is not None
        assert (sending.state, sending.attempts) == ("sending", 1)

    async def test_a_receipt_is_kept(self, store: Store) -> None:
        row = await add(store)
        await store.mark_sending(row.id)
        await store.settle_outbound(row.id, "sent", now=9.0, receipt=Receipt(message_id="77"))
        sent = await store.get_outbound(row.id)
        assert sent is not None
        assert (sent.state, sent.receipt, sent.settled_at) == ("sent", Receipt(message_id="77"), 9.0)

    async def test_try_again_puts_a_row_back_with_its_time(self, store: Store) -> None:
        row = await add(store)
        await store.mark_sending(row.id)
        await store.settle_outbound(row.id, "ready", now=9.0, reason="rate limit", next_attempt_at=158.0)
        [again] = await store.ready_among([row.id])
        assert (again.attempts, again.reason, again.next_attempt_at, again.settled_at) == (1, "rate limit", 158.0, None)

    @pytest.mark.parametrize("state", ["ready", "unknown", "parked", "dead"])
    async def test_a_sent_row_stays_sent(self, store: Store, state: SendOutcome) -> None:
        row = await put(store, "sent")
        await store.settle_outbound(row.id, state, now=2.0, reason="too late")
        assert await store.get_outbound(row.id) == row

    async def test_an_edit_that_cannot_be_made_becomes_a_message_of_its_own(self, store: Store) -> None:
        begun = await put(store, "sent")
        end = replace(draft("whole"), payload=EditText(begun.payload.peer, RichText("whole"), of=begun.id))
        [row] = await store.add_outbound([end], now=2.0)
        await store.mark_sending(row.id)
        instead = SendText(begun.payload.peer, RichText("whole"))
        await store.settle_outbound(row.id, "ready", now=3.0, attempt_counts=False, instead=instead)
        [again] = await store.ready_among([row.id])
        assert (again.payload, again.attempts, again.send_key) == (instead, 0, row.send_key)

    async def test_a_row_that_was_settled_keeps_its_payload(self, store: Store) -> None:
        row = await put(store, "sent")
        await store.settle_outbound(row.id, "ready", now=3.0, instead=SendText(row.payload.peer, RichText("another")))
        assert await store.get_outbound(row.id) == row

    async def test_recovery_leaves_no_row_sending_and_no_stale_row_ready(self, store: Store) -> None:
        rows = {state: await put(store, state, now=100.0) for state in get_args(OutboundState)}
        stale = await add(store, now=10.0)
        status = await store.recover_outbound(EVERY_ACCOUNT, stale_before=50.0, now=200.0)
        assert status == OutboxStatus(ready=1, sending=0, unknown=2, parked=2, dead=1)
        interrupted = await store.get_outbound(rows["sending"].id)
        assert interrupted is not None
        assert (interrupted.state, interrupted.reason, interrupted.settled_at) == ("unknown", "interrupted", 200.0)
        parked = await store.get_outbound(stale.id)
        assert parked is not None
        assert (parked.state, parked.reason, parked.settled_at) == ("parked", "stale", 200.0)
        assert await store.get_outbound(rows["sent"].id) == rows["sent"]
        assert await store.recover_outbound(EVERY_ACCOUNT, stale_before=50.0, now=300.0) == status

    async def test_a_send_that_was_cut_is_ready_again_where_the_rule_says_so(self, store: Store, clock: Clock) -> None:
        cut, other, waiting = [await add(store, now=100.0) for _ in range(3)]
        clock.time = 110.0
        for row in (cut, other):
            await store.mark_sending(row.id)
        asked: list[OutboundRow] = []

        def resend(row: OutboundRow) -> bool:
            asked.append(row)
            return row.id == cut.id

        status = await store.recover_outbound(EVERY_ACCOUNT, stale_before=50.0, now=200.0, resend=resend)
        assert (status.ready, status.unknown) == (2, 1)
        assert [(row.id, row.state, row.doubt_since) for row in asked] == [(n.id, "sending", 110.0) for n in (cut, other)]
        again, left = await now_of(store, cut), await now_of(store, other)
        assert (again.state, again.reason, again.doubt_since, again.attempts) == ("ready", "interrupted", 110.0, 1)
        assert (left.state, left.reason, left.doubt_since) == ("unknown", "interrupted", 110.0)
        assert await now_of(store, waiting) == waiting

    async def test_a_doubt_begins_with_the_first_send_that_was_cut_and_outlives_the_later_ones(
        self, store: Store, clock: Clock
    ) -> None:
        row = await add(store, now=1.0)
        for time, in_doubt, since in ((10.0, None, None), (20.0, True, 20.0), (30.0, None, 20.0), (40.0, True, 20.0)):
            clock.time = time
            await store.mark_sending(row.id)
            await store.settle_outbound(row.id, "ready", now=time + 5, in_doubt=in_doubt)
            assert (await now_of(store, row)).doubt_since == since
        clock.time = 50.0
        await store.mark_sending(row.id)
        assert (await now_of(store, row)).doubt_since == 20.0, "a send that has begun ends no doubt"

    async def test_a_doubt_ends_when_the_row_was_sent_or_surely_had_no_effect(self, store: Store) -> None:
        sent, ready = await in_doubt(store), await in_doubt(store)
        for row in (sent, ready):
            await store.mark_sending(row.id)
        await store.settle_outbound(sent.id, "sent", now=9.0)
        await store.settle_outbound(ready.id, "ready", now=9.0, in_doubt=False)
        assert [(await now_of(store, row)).doubt_since for row in (sent, ready)] == [None, None]
        await store.settle_outbound(ready.id, "parked", now=9.0)
        assert (await now_of(store, ready)).state == "parked"

    @pytest.mark.parametrize("end", ["parked", "dead"])
    async def test_a_row_with_a_doubt_is_never_said_to_be_unseen(self, end: SendOutcome, store: Store) -> None:
        for sends in (False, True):
            row = await in_doubt(store)
            if sends:
                await store.mark_sending(row.id)
            before = await now_of(store, row)
            assert await store.settle_outbound(row.id, end, now=9.0, notice=lambda row, of_turn: draft("a notice")) == Settled()
            assert await now_of(store, row) == before
            await store.settle_outbound(row.id, "unknown", now=9.0, reason="given up")
            after = await now_of(store, row)
            assert (after.state, after.reason, after.doubt_since) == ("unknown", "given up", row.doubt_since)

    async def test_a_row_that_was_never_tried_is_not_unknown(self, store: Store) -> None:
        row = await add(store)
        await store.settle_outbound(row.id, "unknown", now=9.0)
        assert await now_of(store, row) == row

    async def test_an_unknown_row_has_a_doubt(self, store: Store, clock: Clock) -> None:
        row = await add(store)
        clock.time = 7.0
        await store.mark_sending(row.id)
        await store.settle_outbound(row.id, "unknown", now=9.0)
        assert (await now_of(store, row)).doubt_since == 7.0

    async def test_a_stale_row_with_a_doubt_is_unknown_after_a_start_and_its_chat_is_told(self, store: Store) -> None:
        stale, young = await in_doubt(store, now=10.0), await in_doubt(store, now=100.0)
        cut = await put(store, "sending", now=10.0)
        asked: list[int] = []

        def notice(row: OutboundRow, of_turn: object) -> OutboundDraft | None:
            asked.append(row.id)
            return None

        status = await store.recover_outbound(EVERY_ACCOUNT, stale_before=50.0, now=200.0, resend=lambda row: True, notice=notice)
        assert (status.ready, status.unknown, status.parked) == (1, 2, 0)
        assert asked == [stale.id, cut.id]
        found = await now_of(store, stale)
        assert (found.state, found.reason, found.settled_at) == ("unknown", "stale", 200.0)
        assert found.doubt_since == stale.doubt_since
        assert await now_of(store, young) == young

    async def test_an_empty_outbox_counts_nothing(self, store: Store) -> None:
        assert await store.recover_outbound(EVERY_ACCOUNT, stale_before=0.0, now=1.0) == OutboxStatus()

    async def test_replies_are_found_by_their_turn(self, store: Store) -> None:
        drafts = [draft("a", turn_id="turn-1"), draft("b", turn_id="turn-2"), draft("c", turn_id="turn-1")]
        rows = await store.add_outbound(drafts, now=1.0)
        assert await store.outbound_by("turn_id", "turn-1") == [rows[0], rows[2]]
        assert await store.outbound_by("turn_id", "turn-3") == []

    async def test_a_transcript_is_in_the_order_of_time(self, store: Store) -> None:
        await store.add_inbound([envelope("1", text="one", at=1.0), envelope("2", text="two", at=3.0)])
        await store.add_outbound([draft("to one")], now=2.0)
        await store.add_outbound([draft("to two"), draft("and more")], now=3.0)
        rows = await store.transcript("telegram", "main", Peer(kind="dm", id="42"), limit=10)
        assert [(text_of(row), row.at) for row in rows] == [
            ("one", 1.0),
            ("to one", 2.0),
            ("two", 3.0),
            ("to two", 3.0),
            ("and more", 3.0),
        ]
        newest = await store.transcript("telegram", "main", Peer(kind="dm", id="42"), limit=2)
        assert newest == rows[-2:]
        assert rows[1].state == "ready"

    @pytest.mark.parametrize(
        "other",
        [
            Peer(kind="dm", id="1", thread="2"),
            Peer(kind="dm", id="1:2"),
            Peer(kind="dm", id="1:"),
            Peer(kind="dm", id="1", thread=""),
            Peer(kind="dm", id="1%3A2"),
            Peer(kind="group", id="1"),
        ],
    )
    async def test_conversations_are_told_apart(self, store: Store, other: Peer) -> None:
        peer = Peer(kind="dm", id="1")
        await store.add_inbound([envelope("1", peer=peer, text="mine"), envelope("2", peer=other, text="other")])
        await store.add_outbound([draft("to other", peer=other)], now=20.0)
        assert [text_of(row) for row in await store.transcript("telegram", "main", peer, limit=9)] == ["mine"]
        assert [text_of(row) for row in await store.transcript("telegram", "main", other, limit=9)] == ["other", "to other"]
        assert await store.transcript("telegram", "another", peer, limit=9) == []

    async def test_replies_are_found_by_what_they_are_about(self, store: Store) -> None:
        about = [replace(draft("prompt"), subject=subject) for subject in ("ap_1", "ap_2", None, "ap_1")]
        rows = await store.add_outbound(about, now=1.0)
        assert await store.outbound_by("subject", "ap_1") == [rows[0], rows[3]]
        assert await store.outbound_by("subject", "ap_3") == []
