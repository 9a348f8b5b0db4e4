"""Delivery reports: what a platform says of a reply that it took, before or after the receipt is stored."""

import pytest
from msgspec.structs import replace

from gatewayd.model.message.payload import EditText, Receipt, RichText
from gatewayd.model.message.report import DeliveryReport, ReportKind
from gatewayd.ports.store import WAITING_REPORT_SECONDS, WAITING_REPORTS, Journaled, OutboundRow, Reported, Settled, Store
from gatewayd.testing.store_contract.rows import Clock, draft, envelope, retrying

FAILED = DeliveryReport("m1", "failed", 30.0, "the number is not in use")
DELIVERED = DeliveryReport("m1", "delivered", 31.0)
READ = DeliveryReport("m1", "read", 32.0)


async def begin(store: Store, account: str = "main") -> OutboundRow:
    """A reply that is being sent."""
    [row] = await store.add_outbound([draft("hi", account=account, turn_id="turn-1")], now=1.0)
    assert await store.mark_sending(row.id)
    return row


async def send(store: Store, message_id: str | None = "m1", account: str = "main") -> OutboundRow:
    row = await begin(store, account)
    await store.settle_outbound(row.id, "sent", now=9.0, receipt=Receipt(message_id))
    return await now(store, row)


async def now(store: Store, row: OutboundRow) -> OutboundRow:
    found = await store.get_outbound(row.id)
    assert found is not None
    return found


async def tell(store: Store, *reports: DeliveryReport, account: str = "main") -> list[Reported]:
    return (await store.add_inbound([], reports=[("telegram", account, report) for report in reports])).reported


class ReportsContract:
    async def test_what_was_delivered_and_read_is_stored_once_in_any_order(self, store: Store) -> None:
        row = await send(store)
        read = replace(row, read_at=32.0)
        both = replace(read, delivered_at=31.0)
        later = replace(DELIVERED, at=99.0)
        reported = await tell(store, READ, DELIVERED, later, READ)
        assert reported == [Reported(read, "read"), Reported(both, "delivered")]
        assert await now(store, row) == both
        assert await tell(store, later) == []

    async def test_a_report_and_its_envelopes_are_one_transaction(self, store: Store) -> None:
        row = await send(store)
        first = envelope("1")
        journaled = await store.add_inbound(
            [first], state=[("telegram", "main", "offset", "7")], reports=[("telegram", "main", READ)]
        )
        assert [each.envelope for each in journaled.rows] == [first]
        assert journaled.reported == [Reported(replace(row, read_at=32.0), "read")]
        assert await store.load_state("telegram", "main", "offset") == "7"
        assert await store.add_inbound([first]) == Journaled([], [])

    async def test_what_could_not_be_delivered_is_a_dead_letter_and_can_be_retried(self, store: Store, clock: Clock) -> None:
        row = await send(store)
        clock.time = 40.0
        dead = replace(row, state="dead", reason="the number is not in use", settled_at=40.0)
        assert await tell(store, FAILED, FAILED) == [Reported(dead, "failed")]
        assert (await store.count_dead_letters()).out_dead == 1
        marked = replace(dead, delivered_at=31.0)
        assert await tell(store, DELIVERED) == [Reported(marked, "delivered")]
        await store.retry_dead_letters([f"out-{row.id}"], retrying(), now=50.0)
        again = await now(store, row)
        assert (again.state, again.receipt, again.delivered_at, again.settled_at) == ("ready", None, None, None)
        assert await tell(store, FAILED) == [], "it is about the first message"
        await store.mark_sending(row.id)
        await store.settle_outbound(row.id, "sent", now=60.0, receipt=Receipt("m2"))
        assert (await now(store, row)).state == "sent"

    async def test_what_could_not_be_delivered_has_failed_again_if_its_retry_has_the_same_receipt(self, store: Store) -> None:
        row = await send(store)
        await tell(store, FAILED)
        await store.retry_dead_letters([f"out-{row.id}"], retrying(), now=50.0)
        await store.mark_sending(row.id)
        settled = await store.settle_outbound(row.id, "sent", now=60.0, receipt=Receipt("m1"))
        dead = await now(store, row)
        assert (dead.state, dead.reason, dead.settled_at) == ("dead", FAILED.reason, 60.0)
        assert settled == Settled(None, [Reported(dead, "failed")])

    async def test_what_was_delivered_after_all_is_so_if_its_retry_has_the_same_receipt(self, store: Store) -> None:
        row = await send(store)
        await tell(store, FAILED, READ, DELIVERED)
        await store.retry_dead_letters([f"out-{row.id}"], retrying(), now=50.0)
        await store.mark_sending(row.id)
        await store.settle_outbound(row.id, "sent", now=60.0, receipt=Receipt("m1"))
        sent = await now(store, row)
        assert (sent.state, sent.reason, sent.delivered_at, sent.read_at) == ("sent", None, 31.0, 32.0)

    @pytest.mark.parametrize("seen", [DELIVERED, READ])
    async def test_what_was_seen_has_not_failed(self, store: Store, seen: DeliveryReport) -> None:
        row = await send(store)
        assert [each.kind for each in await tell(store, seen, FAILED)] == [seen.kind]
        assert (await now(store, row)).state == "sent"

    async def test_a_report_may_come_before_the_receipt(self, store: Store) -> None:
        row = await begin(store)
        assert await tell(store, DELIVERED, DELIVERED, READ) == []
        settled = await store.settle_outbound(row.id, "sent", now=40.0, receipt=Receipt("m1"))
        assert [each.kind for each in settled.reported] == ["delivered", "read"]
        sent = await now(store, row)
        assert (sent.state, sent.delivered_at, sent.read_at, sent.settled_at) == ("sent", 31.0, 32.0, 40.0)
        assert settled.reported[-1].row == sent
        assert await send(store) == replace(await send(store), id=sent.id + 1), "the reports are used up"

    async def test_a_failure_that_comes_before_the_receipt_is_a_failure(self, store: Store) -> None:
        row = await begin(store)
        assert await tell(store, FAILED) == []
        settled = await store.settle_outbound(row.id, "sent", now=40.0, receipt=Receipt("m1"))
        dead = await now(store, row)
        assert (dead.state, dead.reason, dead.settled_at, dead.receipt) == ("dead", FAILED.reason, 40.0, Receipt("m1"))
        assert settled == Settled(None, [Reported(dead, "failed")])

    async def test_a_failure_before_the_receipt_counts_for_nothing_beside_a_delivery(self, store: Store) -> None:
        row = await begin(store)
        await tell(store, FAILED, DELIVERED)
        settled = await store.settle_outbound(row.id, "sent", now=40.0, receipt=Receipt("m1"))
        assert [each.kind for each in settled.reported] == ["delivered"]
        assert (await now(store, row)).state == "sent"

    async def test_a_report_is_of_one_account_and_of_no_edit(self, store: Store) -> None:
        row, other = await send(store), await send(store, account="other")
        edit = replace(draft("hi"), payload=EditText(row.payload.peer, RichText("better"), of=row.id))
        [edited] = await store.add_outbound([edit], now=1.0)
        await store.mark_sending(edited.id)
        await tell(store, READ)
        settled = await store.settle_outbound(edited.id, "sent", now=9.0, receipt=Receipt("m1"))
        assert settled == Settled()
        assert await tell(store, DELIVERED, account="nobody") == []
        assert [each.row.id for each in await tell(store, DELIVERED)] == [row.id]
        assert (await now(store, other)).read_at is None
        assert (await now(store, edited)).read_at is None

    async def test_a_report_that_waits_is_kept_when_its_row_is_not_sent_now(self, store: Store) -> None:
        row = await begin(store)
        await tell(store, READ)
        assert await store.settle_outbound(row.id, "ready", now=10.0) == Settled()
        assert await store.settle_outbound(row.id, "sent", now=11.0, receipt=Receipt("m1")) == Settled()
        await store.mark_sending(row.id)
        assert (await store.settle_outbound(row.id, "sent", now=12.0, receipt=Receipt("m1"))).reported

    @pytest.mark.parametrize("kind", ["read", "failed"])
    async def test_a_report_without_a_message_waits_for_a_time(self, store: Store, clock: Clock, kind: ReportKind) -> None:
        clock.time = 10_000.0
        await tell(store, DeliveryReport("m1", kind))
        clock.time += WAITING_REPORT_SECONDS - 1
        assert await store.prune_reports() == 0
        clock.time += 2
        assert await store.prune_reports() == 1
        assert await store.prune_reports() == 0
        assert (await send(store)).read_at is None

    async def test_only_so_many_reports_of_an_account_wait_and_the_oldest_go(self, store: Store) -> None:
        await tell(store, DeliveryReport("x0", "read", 1.0), account="other")
        for start in range(0, WAITING_REPORTS + 2, 501):
            await tell(store, *[DeliveryReport(f"x{number}", "read", 2.0) for number in range(start, start + 501)])
        seen = [(await send(store, f"x{number}")).read_at for number in (0, 1, 2, WAITING_REPORTS + 1)]
        assert seen == [None, None, 2.0, 2.0]
        assert (await send(store, "x0", account="other")).read_at == 1.0

    async def test_a_report_without_a_time_is_of_now(self, store: Store, clock: Clock) -> None:
        clock.time = 77.0
        row = await send(store)
        await tell(store, DeliveryReport("m1", "read"))
        assert (await now(store, row)).read_at == 77.0
