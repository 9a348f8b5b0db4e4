"""Replies: from their draft to their receipt, or to the reason why there is none."""

from typing import get_args

import pytest
from msgspec.structs import replace

from gatewayd.model.lifecycle import OutboundState, SendOutcome
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText
from gatewayd.model.status import OutboxStatus
from gatewayd.ports.store import OutboundRow, Store
from gatewayd.testing.store_contract.rows import EVERY_ACCOUNT, draft, envelope, text_of


async def add(store: Store, text: str = "hi", now: float = 1.0) -> OutboundRow:
    [row] = await store.add_outbound([draft(text)], now=now)
    return row


async def put(store: Store, state: OutboundState, now: float = 1.0) -> OutboundRow:
    row = await add(store, state, now)
    if state not in ("ready", "parked"):
        await store.mark_sending(row.id)
    if state != "sending":
        await store.settle_outbound(row.id, state, now=now)
    settled = await store.get_outbound(row.id)
    assert settled is not None
    return settled


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
        # It refers to the other row no more.
        swept = await store.sweep("outbound", lambda old: bool(old.referrers), before=9.0, after=None, limit=9)
        assert swept.deleted == {"sent": 1}

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

    async def test_a_send_that_was_cut_is_ready_again_where_a_repeat_is_harmless(self, store: Store) -> None:
        cut = await put(store, "sending", now=100.0)
        status = await store.recover_outbound(EVERY_ACCOUNT, stale_before=50.0, now=200.0, resend={cut.channel})
        assert (status.ready, status.unknown) == (1, 0)
        assert await store.mark_sending(cut.id)
        other = await store.recover_outbound(EVERY_ACCOUNT, stale_before=50.0, now=200.0, resend={"another"})
        assert (other.ready, other.unknown) == (0, 1)

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
