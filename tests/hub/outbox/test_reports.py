"""Delivery reports, from the driver to the trace, the events, the dead letters and whoever waits for a prompt."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.hub.operations.trace import Tracer
from gatewayd.model.errors import UnusableId
from gatewayd.model.message.payload import Receipt
from gatewayd.model.message.report import DeliveryReport
from gatewayd.ports.store import OutboundDraft, OutboundRow
from tests.hub.house import EPOCH, House, message, now, open_house
from tests.hub.street import Street, open_street


def _about(row: OutboundRow, subject: str) -> OutboundDraft:
    return OutboundDraft(row.channel, row.account, row.conversation, row.payload, subject=subject)


async def tell(house: House, *reports: DeliveryReport) -> None:
    await house.inbox.deliver([], reports=[("chat", "main", report) for report in reports])


async def sent(house: House) -> OutboundRow:
    await house.ended(await house.say("hello"))
    await house.send_all()
    return await now_of(house, house.handed[0])


async def now_of(house: House, row: OutboundRow) -> OutboundRow:
    found = await house.store.get_outbound(row.id)
    assert found is not None
    return found


async def kinds(house: House) -> list[str]:
    await house.events.wait_flushed()
    return [event.kind for event in await house.store.events_after(0, limit=1000) if event.kind.startswith("outbound.")]


async def told(house: House, row: OutboundRow) -> tuple[Sequence[str], str]:
    trace = await Tracer(house.store, accounts=dict).trace(f"out-{row.id}")
    return [f"{entry.what}: {entry.text}" for entry in trace.entries if entry.ref.startswith("out-")][2:], trace.verdict


async def test_what_was_delivered_and_read_is_told(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await sent(house)
        await trio.sleep(5)
        await tell(house, DeliveryReport("m1", "delivered", now() - 3), DeliveryReport("m1", "read", now() - 2))
        await tell(house, DeliveryReport("m1", "read", now() - 1))
        assert await kinds(house) == ["outbound.ready", "outbound.sent", "outbound.delivered", "outbound.read"]
        entries, verdict = await told(house, row)
        assert entries == [
            "sent: as message m1",
            "delivered: was delivered, as its platform reports",
            "read: was read, as its platform reports",
        ]
        assert verdict == "in-1 is done: the agent answered; out-1 was sent and read."


async def test_what_could_not_be_delivered_is_a_dead_letter_like_others(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await sent(house)
        with capture_logs() as logs:
            await tell(house, *[DeliveryReport("m1", "failed", reason="not in use")] * 2)
        assert [(log["event"], log["outcome"], log["reason"]) for log in logs] == [("reply_not_delivered", "dead", "not in use")]
        assert await kinds(house) == ["outbound.ready", "outbound.sent", "outbound.dead"]
        assert house.outbox.status().dead == 1
        entries, verdict = await told(house, row)
        assert entries == ["dead: the platform took it as message m1, and could not deliver it"]
        assert verdict == "in-1 is done: the agent answered; out-1 was given up (not in use)."
        await house.gateway.dead_letters.act("out-1", "retry", by="operator:ann")
        assert house.outbox.status().dead == 0
        await house.outbox.mark_sending(row)
        await house.outbox.settle(row, "sent", receipt=Receipt("m2"))
        assert (await now_of(house, row)).state == "sent"


async def test_a_retry_that_its_platform_drops_is_a_dead_letter_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await sent(house)
        await tell(house, DeliveryReport("m1", "failed", reason="not in use"))
        await house.gateway.dead_letters.act("out-1", "retry", by="operator:ann")
        await house.outbox.mark_sending(row)
        await house.outbox.settle(row, "sent", receipt=Receipt("m1"))
        after = await now_of(house, row)
        assert (after.state, after.reason, house.outbox.status().dead) == ("dead", "not in use", 1)


@pytest.mark.parametrize("kind", ["delivered", "failed"])
async def test_a_report_before_the_receipt_is_not_lost_over_a_crash(kind: str, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        await tell(house, DeliveryReport("m1", kind, reason="not in use"))  # type: ignore[arg-type]
        assert await kinds(house) == ["outbound.ready"]
    async with open_house(tmp_path) as house:
        await house.send_all()
        row = await house.store.get_outbound(1)
        assert row is not None
        state, event = ("sent", "outbound.delivered") if kind == "delivered" else ("dead", "outbound.dead")
        assert (row.state, house.outbox.status().dead) == (state, int(kind == "failed"))
        assert (await kinds(house))[-2:] == ["outbound.sent", event]


async def test_whoever_waits_for_a_prompt_hears_that_it_was_not_delivered(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        await house.ended(await house.say("hello"))
        [row] = house.handed
        [prompt] = await house.outbox.write([_about(row, "ap_1")])
        lost: list[str] = []
        with house.gateway.outcomes.subscribe("ap_1", sent=lambda message_id: None, lost=lambda: lost.append("ap_1")):
            await house.outbox.mark_sending(prompt)
            await house.outbox.settle(prompt, "sent", receipt=Receipt("p1"))
            assert lost == []
            await tell(house, DeliveryReport("p1", "failed"))
        assert lost == ["ap_1"]


async def test_nothing_of_a_delivery_is_stored_with_an_id_that_cannot_be_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_house(tmp_path) as house:
        row = await sent(house)
        for bad in ("m\0", "m" * 2049, "\ud800"):
            with pytest.raises(UnusableId, match="the message_id of a delivery report has"):
                await house.inbox.deliver(
                    [message()], reports=[("chat", "main", DeliveryReport(each, "read")) for each in ("m1", bad)]
                )
        assert await now_of(house, row) == row
        assert await house.store.get_inbound(2) is None


async def deliver(street: Street, *reports: object) -> None:
    """As the driver does."""
    await street.actor().deliver([], reports=reports)  # type: ignore[arg-type]


async def test_a_report_of_a_driver_has_a_time_and_a_short_reason_without_secrets(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        rows = await street.reply("one", "two", "three")
        await trio.sleep(1)
        await deliver(street, DeliveryReport("1", "delivered", math.nan), DeliveryReport("1", "read", math.inf))
        await deliver(street, DeliveryReport("2", "failed", 5.0, f"hunter2\n {'x' * 5000}"), DeliveryReport("3", "failed"))
        one, two, three = [await street.row_now(row) for row in rows]
        assert (one.delivered_at, one.read_at) == (EPOCH + 1, EPOCH + 1)
        assert two.reason == f"*** {'x' * 196}"
        assert three.reason == "the platform reports that it could not be delivered"


@pytest.mark.parametrize("wrong", ["a text", DeliveryReport("1", "seen"), DeliveryReport(1, "read")])  # type: ignore[arg-type]
async def test_what_is_no_report_is_a_bug_of_the_driver(wrong: object, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        with pytest.raises(Exception, match="the driver handed over what is no DeliveryReport"):
            await deliver(street, wrong)
