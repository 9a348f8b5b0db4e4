"""The outcomes of one send."""

from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.channels.loopback.platform import crashing_in_a_task, failing, hanging, ignoring_cancellation, taking
from gatewayd.model.config import OutboxSection
from gatewayd.model.errors import AnswerExpired, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.message.payload import EditText, Receipt, RichText, SendText
from gatewayd.ports.store import OutboundDraft, OutboundRow
from tests.hub.street import ALICE, EPOCH, Street, configuration, now, open_street


async def test_a_receipt_is_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        [row] = await street.reply("hello")
        await trio.sleep(1)
        row = await street.row_now(row)
        assert (row.state, row.attempts, row.receipt) == ("sent", 1, Receipt("1"))


async def test_an_edit_is_sent_with_the_id_of_its_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        [row] = await street.reply("one")
        edit = EditText(row.payload.peer, RichText("two"), of=row.id)
        draft = OutboundDraft(row.channel, row.account, row.conversation, edit)
        [edited] = await street.outbox.write([draft])
        await trio.sleep(1)
        assert (await street.row_now(edited)).state == "sent"
        assert street.platform().sent[-1] == replace(edit, message_id="1")
        assert [shown.text for shown in street.platform().shown.values()] == ["two"]


async def test_an_edit_of_what_was_never_sent_is_dead_and_harms_nobody(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(SendRejected("blocked")))
        [row] = await street.reply("one")
        edit = EditText(row.payload.peer, RichText("two"), of=row.id)
        [edited] = await street.outbox.write([OutboundDraft(row.channel, row.account, row.conversation, edit)])
        await street.reply("three")
        await trio.sleep(1)
        found = await street.row_now(edited)
        assert (found.state, found.reason, found.attempts) == ("dead", "the message to edit was not sent", 1)
        assert street.platform().texts == ["three"]
        assert street.status().restarts == 0


async def test_a_driver_that_exits_has_a_bug(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def exiting() -> None:
        raise SystemExit(3)

    async with open_street(tmp_path) as street:
        street.platform().before_send.next(exiting)
        row, _ = await street.reply("into the void", "after it")
        await trio.sleep(100)
        row = await street.row_now(row)
        assert (row.state, row.reason) == ("dead", "bug: SystemExit: 3")
        assert street.platform().texts == ["after it"]


async def test_an_outage_of_the_account_makes_the_account_wait(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        street.platform().before_send.next(failing(TryAgain("no route", after_seconds=100)))
        await street.reply("hello")
        await trio.sleep(1)
        status = street.status()
        assert (status.state, status.reason, status.since) == ("waiting", "no route", EPOCH + 1)
        assert (status.next_attempt_at or 0) >= EPOCH + 101
        await trio.sleep(101)
        assert street.platform().texts == ["hello"]
        assert street.status().state == "connected"


async def test_nothing_is_attempted_while_there_is_no_connection(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(max_attempts=3, stale_after_seconds=1e6))) as street:
        street.platform().on_listen.always(failing(TryAgain("no route")))
        await street.manager.restart("loopback", "main")
        [row] = await street.reply("kept")
        await trio.sleep(7200)
        assert street.status().restarts > 200
        assert (await street.row_now(row)).attempts == 0
        street.platform().on_listen.always(None)
        await trio.sleep(60)
        assert street.platform().texts == ["kept"]


async def test_sending_waits_for_the_connection(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, started=False) as street:
        street.platform().on_listen.next(taking(50))
        await street.reply("hello")
        async with street.run():
            await trio.sleep(49)
            assert street.platform().texts == []
            await trio.sleep(2)
            assert street.platform().texts == ["hello"]


async def test_a_row_that_was_dealt_with_is_not_sent_however_often_it_is_queued(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        [row] = await street.reply("once")
        await trio.sleep(1)
        for _ in range(2):
            street.outbox.queue("loopback", "main").add(row)
        await trio.sleep(1)
        assert street.platform().texts == ["once"]
        assert street.status().mailbox_depth == 0


async def test_a_row_that_only_the_store_knows_is_sent_after_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        payload = SendText(ALICE, RichText("committed, and its writer was cancelled"))
        conversation = str(ConversationId(AccountId("loopback", "main"), ALICE))
        await street.store.add_outbound([OutboundDraft("loopback", "main", conversation, payload)], now=now())
        await trio.sleep(1)
        assert street.platform().texts == []
        await street.manager.restart("loopback", "main")
        await trio.sleep(1)
        assert street.platform().texts == ["committed, and its writer was cancelled"]


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (SendRejected("blocked by the user"), "dead", "blocked by the user"),
        (OutcomeUnknown("cut after the request"), "unknown", "cut after the request"),
    ],
)
async def test_a_verdict_on_one_row_leaves_the_rest_alone(
    error: Exception, state: str, reason: str, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(error), crashing_in_a_task(error))
        rows = await street.reply("one", "two", "three")
        await trio.sleep(1)
        assert [((await street.row_now(row)).state, (await street.row_now(row)).reason) for row in rows[:2]] == [
            (state, reason)
        ] * 2
        assert street.platform().texts == ["three"]
        assert street.status().restarts == 0


async def test_a_send_that_takes_too_long_is_cut_and_its_outcome_unknown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(hanging)
        rows = await street.reply("lost?", "next")
        await trio.sleep(59)
        assert await street.state_of(rows[0]) == "sending"
        await trio.sleep(2)
        row = await street.row_now(rows[0])
        assert (row.state, row.reason) == ("unknown", "cut after 60 s without an answer")
        assert street.platform().texts == ["next"]
        assert street.status().restarts == 0


async def test_a_revoked_token_parks_the_account_and_keeps_the_row(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(NeedsOperator("401: hunter2 is revoked")))
        [row] = await street.reply("hello")
        await trio.sleep(3600)
        assert (street.status().state, street.status().reason) == ("parked", "401: *** is revoked")
        assert (await street.row_now(row)).state == "ready"
        await street.manager.start("loopback", "main")
        await trio.sleep(1)
        assert street.platform().texts == ["hello"]


async def test_a_payload_that_crashes_the_driver_crashes_it_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(KeyError("hunter2")))
        rows = await street.reply("poison", "after it")
        await trio.sleep(60)
        poison = await street.row_now(rows[0])
        assert (poison.state, poison.reason, poison.attempts) == ("dead", "bug: KeyError: '***'", 1)
        assert street.platform().texts == ["after it"]
        assert (street.status().state, street.status().restarts) == ("connected", 1)


async def test_a_row_is_given_up_after_so_many_attempts(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(max_attempts=4))) as street:
        street.platform().before_send.next(*[failing(TryAgain("busy", scope="conversation"))] * 4)
        rows = await street.reply("never", "after it")
        await trio.sleep(3600)
        row = await street.row_now(rows[0])
        assert (row.state, row.reason, row.attempts) == ("dead", "given up after 4 attempts: busy", 4)
        assert street.platform().texts == ["after it"]


async def test_a_send_that_ignores_its_cancellation_is_found(tmp_path: Path, autojump_clock: MockClock) -> None:
    release = trio.Event()
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(ignoring_cancellation(release))
        [row] = await street.reply("stuck")
        await trio.sleep(200)
        status = street.status()
        assert status.state == "parked"
        assert status.reason is not None
        assert status.reason.endswith("after: bug: Overdue: work that was cancelled did not end")
        assert await street.state_of(row) == "sending"
        release.set()
        await trio.sleep(1)
        assert await street.state_of(row) == "sent", "what it says in the end is still recorded"


SECRET = "interaction-token-7f2a9c"


async def answer(street: Street, text: str = "hello") -> OutboundRow:
    """Write the answer to an event that its platform wants to see again."""
    conversation = str(ConversationId(AccountId("loopback", "main"), ALICE))
    payload = SendText(ALICE, RichText(text), answer_with=SECRET)
    return (await street.outbox.write([OutboundDraft("loopback", "main", conversation, payload)]))[0]


async def test_an_answer_that_has_expired_is_sent_the_plain_way_in_the_same_attempt(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        await answer(street, "in time")
        await trio.sleep(1)
        street.platform().before_send.next(failing(AnswerExpired("too late")))
        row = await answer(street)
        await trio.sleep(1)
        row = await street.row_now(row)
        assert (row.state, row.attempts, row.receipt) == ("sent", 1, Receipt("2"))
        ways = [payload.answer_with for payload in street.platform().sent if isinstance(payload, SendText)]
        assert ways == [SECRET, None]


async def test_a_plain_reply_that_is_said_to_have_expired_is_a_bug_of_the_driver(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(*[failing(AnswerExpired("too late"))] * 2)
        row = await answer(street)
        await trio.sleep(1)
        row = await street.row_now(row)
        assert (row.state, row.reason) == ("dead", "bug: AnswerExpired: too late")
        assert street.platform().texts == []


@pytest.mark.parametrize(
    "error",
    [
        TryAgain(f"POST https://hooks.example/{SECRET} failed"),
        TryAgain(f"POST https://hooks.example/{SECRET} failed", scope="sends"),
        NeedsOperator(f"POST https://hooks.example/{SECRET} failed"),
        SendRejected(f"POST https://hooks.example/{SECRET} failed"),
        OutcomeUnknown(f"POST https://hooks.example/{SECRET} failed"),
        ValueError(f"POST https://hooks.example/{SECRET} failed"),
    ],
    ids=["account", "sends", "operator", "rejected", "unknown", "bug"],
)
async def test_an_error_does_not_tell_what_the_platform_wants_with_the_answer(
    error: Exception, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(crashing_in_a_task(error))
        with capture_logs() as logs:
            row = await answer(street)
            await trio.sleep(0.1)
        shown = f"{await street.row_now(row)} {street.status()} {logs}"
        assert "https://hooks.example/***" in shown
        assert SECRET not in shown
