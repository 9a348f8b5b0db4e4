"""The way out: each outcome of a send, the order of each conversation, and what stopping does to it."""

from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from random import Random
from typing import cast

import pytest
import trio
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import Bug
from gatewayd.actor.life import Life
from gatewayd.channels.loopback.platform import crashing_in_a_task, failing, hanging, ignoring_cancellation, taking
from gatewayd.hub.accounts.sender import Sender
from gatewayd.hub.configured import Configured
from gatewayd.hub.events import EventLog
from gatewayd.hub.operations.dead_letters import put_back
from gatewayd.hub.outbox.deliveries import DeliveryReports
from gatewayd.hub.outbox.outbox import Outbox
from gatewayd.model.config import GatewayConfig, LimitsSection, OutboxSection
from gatewayd.model.errors import NeedsOperator, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.ids import AccountId, ConversationId
from gatewayd.model.lifecycle import OutboundState
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendText
from gatewayd.ports.channel import Deliver
from gatewayd.ports.store import NoticeRule, OutboundDraft, OutboundRow, Store
from tests.examples import examples
from tests.hub.street import ALICE, BOB, EPOCH, Street, configuration, now, open_street


async def row_now(street: Street, row: OutboundRow) -> OutboundRow:
    found = await street.store.get_outbound(row.id)
    assert found is not None
    return found


# The outcomes.


async def test_a_receipt_is_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        [row] = await street.reply("hello")
        await trio.sleep(1)
        row = await row_now(street, row)
        assert (row.state, row.attempts, row.receipt) == ("sent", 1, Receipt("1"))


async def test_an_edit_is_sent_with_the_id_of_its_message(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        [row] = await street.reply("one")
        edit = EditText(row.payload.peer, RichText("two"), of=row.id)
        draft = OutboundDraft(row.channel, row.account, row.conversation, edit)
        [edited] = await street.outbox.write([draft])
        await trio.sleep(1)
        assert (await row_now(street, edited)).state == "sent"
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
        found = await row_now(street, edited)
        assert (found.state, found.reason, found.attempts) == ("dead", "the message to edit was not sent", 1)
        assert street.platform().texts == ["three"]
        assert street.status().restarts == 0


async def test_a_rate_limit_makes_its_conversation_wait_and_no_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=149, scope="conversation")))
        first, *_ = await street.reply("a1", "a2", "a3")
        await trio.sleep(1)
        await street.reply("b1", peer=BOB)
        await trio.sleep(147)
        assert street.platform().texts == ["b1"]
        waiting = await row_now(street, first)
        assert (waiting.state, waiting.reason, waiting.attempts) == ("ready", "429", 1)
        assert waiting.next_attempt_at is not None
        assert waiting.next_attempt_at >= EPOCH + 149
        await trio.sleep(2)
        assert street.platform().texts == ["b1", "a1", "a2", "a3"]
        assert street.status().restarts == 0


async def test_a_rate_limit_on_an_edit_is_kept(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        [row] = await street.reply("one")
        await trio.sleep(1)
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=149, scope="conversation")))
        edit = EditText(row.payload.peer, RichText("two"), of=row.id)
        [edited] = await street.outbox.write([OutboundDraft(row.channel, row.account, row.conversation, edit)])
        await trio.sleep(148)
        waiting = await row_now(street, edited)
        assert (waiting.state, waiting.attempts) == ("ready", 1)
        await trio.sleep(2)
        assert (await row_now(street, edited)).state == "sent"


async def test_a_wait_outlives_a_restart_of_the_daemon(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=149, scope="conversation")))
        await street.reply("1/3", "2/3", "3/3")
        await trio.sleep(10)
        assert street.platform().texts == []
    async with open_street(tmp_path) as street:
        await trio.sleep(138)
        assert street.platform().texts == []
        await trio.sleep(2)
        assert street.platform().texts == ["1/3", "2/3", "3/3"]


async def retry(street: Street, row: OutboundRow) -> None:
    """A person has a reply sent again, as the repair desk does it."""
    was = await row_now(street, row)
    rule = partial(put_back, accounts={("loopback", "main"): None}, by="operator:alice", note=None, now=now())
    repairs = await street.store.retry_dead_letters([f"out-{row.id}"], rule, now=now())
    [repaired] = repairs.done
    assert isinstance(repaired.row, OutboundRow)
    assert was.state != "ready"
    street.outbox.take_back(repaired.row, repaired.was)


@pytest.mark.parametrize("mailbox", [2, 256])
@pytest.mark.parametrize("restarts", [False, True])
async def test_an_older_reply_that_a_person_retries_waits_with_its_conversation(
    restarts: bool, mailbox: int, tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = configuration(limits=LimitsSection(mailbox=mailbox))
    async with open_street(tmp_path, config) as street:
        limited = TryAgain("429", after_seconds=149, scope="conversation")
        street.platform().before_send.next(failing(OutcomeUnknown("cut")), failing(limited))
        older, _ = await street.reply("older", "newer")
        await trio.sleep(1)
        assert await street.state_of(older) == "unknown"
        if not restarts:
            await retry(street, older)
            assert street.outbox.due("loopback", "main") == 0, "a stop does not wait for it"
            await trio.sleep(147)
            assert street.platform().texts == []
            await trio.sleep(2)
            assert street.platform().texts == ["older", "newer"]
            return
        await street.manager.stop("loopback", "main")
        await retry(street, older)
    async with open_street(tmp_path, config) as street:
        await street.reply("to bob", peer=BOB)
        await trio.sleep(147)
        assert street.platform().texts == ["to bob"]
        await trio.sleep(2)
        assert street.platform().texts == ["to bob", "older", "newer"]


@pytest.mark.parametrize("restarts", [False, True])
async def test_a_reply_that_is_given_up_leaves_its_pause_to_its_conversation(
    restarts: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = configuration(outbox=OutboxSection(max_attempts=1))
    async with open_street(tmp_path, config) as street:
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=149, scope="conversation")))
        given_up, *_ = await street.reply("given up", *["after it"] * (not restarts))
        await trio.sleep(1)
        assert await street.state_of(given_up) == "dead"
        await retry(street, given_up)
        await trio.sleep(1)
        assert street.platform().texts == []
        if not restarts:
            await trio.sleep(150)
            assert street.platform().texts == ["given up", "after it"]
            return
    async with open_street(tmp_path, config) as street:
        await trio.sleep(146)
        assert street.platform().texts == []
        await trio.sleep(2)
        assert street.platform().texts == ["given up"]


async def test_a_reply_that_becomes_old_in_its_pause_keeps_it_over_a_restart(tmp_path: Path, autojump_clock: MockClock) -> None:
    config = configuration(outbox=OutboxSection(stale_after_seconds=160))
    async with open_street(tmp_path, config) as street:
        street.platform().before_send.next(taking(20), failing(TryAgain("429", after_seconds=149, scope="conversation")))
        _, old = await street.reply("first", "old")
        await trio.sleep(30)
        await street.reply("young")
        await trio.sleep(131)
    async with open_street(tmp_path, config) as street:
        await trio.sleep(7)
        assert street.platform().texts == ["first"]
        await trio.sleep(2)
        assert street.platform().texts == ["first", "young"]
        assert await street.state_of(old) == "parked"


async def test_a_time_that_is_years_off_is_not_waited_for(tmp_path: Path, autojump_clock: MockClock) -> None:
    """As it is found by a machine that starts with its clock at 1970."""
    async with open_street(tmp_path) as street:
        year = 365 * 86_400.0
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=year, scope="conversation")))
        [row] = await street.reply("of another time")
        await trio.sleep(1)
    async with open_street(tmp_path, configuration(outbox=OutboxSection(stale_after_seconds=1000.0))) as street:
        await trio.sleep(990)
        assert (await row_now(street, row)).state == "ready"
        await trio.sleep(20)
        assert (await row_now(street, row)).state == "parked", "it was looked at, and was stale"


async def test_a_driver_that_exits_has_a_bug(tmp_path: Path, autojump_clock: MockClock) -> None:
    async def exiting() -> None:
        raise SystemExit(3)

    async with open_street(tmp_path) as street:
        street.platform().before_send.next(exiting)
        row, _ = await street.reply("into the void", "after it")
        await trio.sleep(100)
        row = await row_now(street, row)
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
        assert (await row_now(street, row)).attempts == 0
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
        assert [((await row_now(street, row)).state, (await row_now(street, row)).reason) for row in rows[:2]] == [
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
        row = await row_now(street, rows[0])
        assert (row.state, row.reason) == ("unknown", "cut after 60 s without an answer")
        assert street.platform().texts == ["next"]
        assert street.status().restarts == 0


async def test_sends_that_are_too_fast_wait_and_their_connection_stays(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(max_attempts=2))) as street:
        street.platform().before_send.next(*[failing(TryAgain("slower", after_seconds=20, scope="sends"))] * 3)
        [row] = await street.reply("hello")
        await trio.sleep(1)
        assert (street.status().state, (await row_now(street, row)).attempts) == ("connected", 0)
        await trio.sleep(100)
        assert street.platform().texts == ["hello"]
        assert street.status().restarts == 0


async def test_a_revoked_token_parks_the_account_and_keeps_the_row(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(NeedsOperator("401: hunter2 is revoked")))
        [row] = await street.reply("hello")
        await trio.sleep(3600)
        assert (street.status().state, street.status().reason) == ("parked", "401: *** is revoked")
        assert (await row_now(street, row)).state == "ready"
        await street.manager.start("loopback", "main")
        await trio.sleep(1)
        assert street.platform().texts == ["hello"]


async def test_a_payload_that_crashes_the_driver_crashes_it_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(KeyError("hunter2")))
        rows = await street.reply("poison", "after it")
        await trio.sleep(60)
        poison = await row_now(street, rows[0])
        assert (poison.state, poison.reason, poison.attempts) == ("dead", "bug: KeyError: '***'", 1)
        assert street.platform().texts == ["after it"]
        assert (street.status().state, street.status().restarts) == ("connected", 1)


async def test_a_row_is_given_up_after_so_many_attempts(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(max_attempts=4))) as street:
        street.platform().before_send.next(*[failing(TryAgain("busy", scope="conversation"))] * 4)
        rows = await street.reply("never", "after it")
        await trio.sleep(3600)
        row = await row_now(street, rows[0])
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


# Many conversations.


async def test_as_many_conversations_as_allowed_are_sent_to_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(concurrency=4))) as street:
        street.platform().before_send.always(taking(10))
        for n in range(8):
            await street.reply("1", "2", peer=Peer("dm", str(n)))
        await trio.sleep(10.5)
        assert len(street.platform().sent) == 4
        await trio.sleep(30)
        assert len(street.platform().sent) == 16


async def test_more_replies_than_the_mailbox_holds_stay_in_the_store_and_keep_their_order(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    config = configuration(limits=LimitsSection(mailbox=8), outbox=OutboxSection(concurrency=3))
    async with open_street(tmp_path, config, started=False) as street:
        peers = [Peer("dm", str(n)) for n in range(7)]
        for n in range(60):
            await street.reply(str(n), peer=peers[n % 7])
        assert street.status().mailbox_depth <= 8
        async with street.run():
            street.platform().before_send.always(taking(0.1))
            for n in range(60, 120):
                await street.reply(str(n), peer=peers[n % 7])
                await trio.sleep(0.05)
            await trio.sleep(60)
        seen: dict[Peer, list[int]] = defaultdict(list)
        for payload in street.platform().sent:
            seen[payload.peer].append(int(payload.body.text))
        assert seen == {peers[k]: list(range(k, 120, 7)) for k in range(7)}
        assert street.status().outbox_depth == 0


# Stopping.


async def test_a_restart_during_a_send_lets_it_end_and_sends_nothing_twice(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(taking(20))
        rows = await street.reply("slow", "next")
        await trio.sleep(1)
        await street.manager.restart("loopback", "main")
        assert trio.current_time() == 20
        assert street.platform().texts == ["slow"]
        await trio.sleep(1)
        assert street.platform().texts == ["slow", "next"]
        assert [await street.state_of(row) for row in rows] == ["sent", "sent"]
        assert street.status().restarts == 1


async def test_a_failing_listener_lets_sends_end_and_takes_no_new_ones(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.always(taking(20))
        await street.reply("under way", "later")
        await trio.sleep(1)
        street.journal.refusal = TryAgain("the line went dead", after_seconds=1000)
        street.platform().inject(street.platform().message("this makes it fail"))
        await trio.sleep(100)
        street.journal.refusal = None
        assert street.platform().texts == ["under way"]
        assert (street.status().state, street.status().reason) == ("waiting", "the line went dead")
        await trio.sleep(1000)
        assert street.platform().texts == ["under way", "later"]


async def test_a_send_that_a_drain_cuts_is_unknown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(hanging)
        [row] = await street.reply("lost?")
        await trio.sleep(1)
        await street.manager.drain(trio.lowlevel.checkpoint, within_seconds=8)
        assert trio.current_time() <= 9
        assert (await row_now(street, row)).reason == "cut after 5 s without an answer"
        assert await street.state_of(row) == "unknown"


async def test_a_store_that_refuses_an_outcome_is_asked_again_and_the_row_is_not_sent_again(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        settle, refusing = street.outbox.settle, True

        async def settle_or_refuse(row: OutboundRow, state: OutboundState, **rest: object) -> None:
            if refusing:
                raise StoreRefused("the disk is full")
            await settle(row, state, **rest)  # type: ignore[arg-type]

        street.outbox.settle = settle_or_refuse  # type: ignore[method-assign]
        rows = await street.reply("hello", "next")
        await trio.sleep(3600)
        status = street.status()
        assert (status.state, status.reason) == ("waiting", "the store cannot record what was sent: the disk is full")
        assert street.platform().texts == ["hello"]
        refusing = False
        await trio.sleep(60)
        assert street.platform().texts == ["hello", "next"]
        assert [await street.state_of(row) for row in rows] == ["sent", "sent"]


# Every order of results, on rows in memory.


class MemoryRows:
    """The store's outbound rows, in memory, with its guards."""

    def __init__(self) -> None:
        self.rows: dict[int, OutboundRow] = {}

    async def add_outbound(self, drafts: Sequence[OutboundDraft], *, now: float) -> list[OutboundRow]:
        await trio.lowlevel.checkpoint()
        first = len(self.rows) + 1
        rows = [
            OutboundRow(number, draft.channel, draft.account, draft.conversation, draft.payload, "ready", 0, now, queued_at=now)
            for number, draft in enumerate(drafts, first)
        ]
        self.rows.update((row.id, row) for row in rows)
        return rows

    async def ready_numbers(self, channel: str, account: str, *, after_id: int, limit: int) -> list[int]:
        await trio.lowlevel.checkpoint()
        return [row.id for row in self.rows.values() if row.state == "ready" and row.id > after_id][:limit]

    async def ready_among(self, outbound_ids: Sequence[int]) -> list[OutboundRow]:
        await trio.lowlevel.checkpoint()
        found = [row for row in self.rows.values() if row.state == "ready" and row.id in outbound_ids]
        await trio.lowlevel.checkpoint()
        return found

    async def mark_sending(self, outbound_id: int) -> bool:
        await trio.lowlevel.checkpoint()
        row = self.rows[outbound_id]
        if row.state != "ready":
            return False
        self.rows[row.id] = replace(row, state="sending", attempts=row.attempts + 1)
        return True

    async def settle_outbound(
        self,
        outbound_id: int,
        state: OutboundState,
        *,
        now: float,
        reason: str | None,
        receipt: Receipt | None,
        next_attempt_at: float | None,
        attempt_counts: bool,
        notice: NoticeRule | None,
    ) -> None:
        await trio.lowlevel.checkpoint()
        before = self.rows[outbound_id]
        assert before.state in ("sending", "ready")
        self.rows[outbound_id] = replace(
            before,
            state=state,
            reason=reason,
            receipt=receipt,
            next_attempt_at=next_attempt_at,
            attempts=before.attempts - (not attempt_counts and before.state == "sending"),
        )


class Fickle:
    """A platform whose answers were drawn beforehand. It notes what it saw, and when it gave a receipt."""

    def __init__(self, answers: list[str]) -> None:
        self._answers = iter(answers)
        self.saw: dict[str, list[int]] = defaultdict(list)
        self.receipts: list[int] = []
        self.busy: set[str] = set()
        self.wrong: list[str] = []
        self._pauses: dict[str, float] = {}

    async def listen(self, deliver: Deliver) -> None:
        await trio.sleep_forever()

    async def send(self, payload: OutboundPayload) -> Receipt:
        number, conversation = int(payload.body.text), payload.peer.id
        # Noted, because an error in here is a driver's, and ends nothing but its row.
        if conversation in self.busy:
            self.wrong.append(f"two sends of {conversation} at once")
        if number in self.receipts:
            self.wrong.append(f"{number} was sent again after its receipt")
        if trio.current_time() < self._pauses.get(conversation, 0.0) - 0.001:
            self.wrong.append(f"{number} was sent before the pause of {conversation} was over")
        self.busy.add(conversation)
        try:
            await trio.sleep(0.1)
            match next(self._answers, "ok"):
                case "again":
                    self._pauses[conversation] = trio.current_time() + 3
                    raise TryAgain("429", after_seconds=3, scope="conversation")
                case "pace":
                    raise TryAgain("too fast", after_seconds=2, scope="sends")
                case "outage":
                    raise TryAgain("no route")
                case "unknown":
                    self.saw[conversation].append(number)
                    raise OutcomeUnknown("cut")
                case "rejected":
                    raise SendRejected("blocked")
                case "bug":
                    raise KeyError("x")
                case "hang":
                    self.saw[conversation].append(number)
                    await trio.sleep_forever()
            self.saw[conversation].append(number)
            self.receipts.append(number)
            return Receipt(str(number))
        finally:
            self.busy.discard(conversation)


ANSWERS = st.lists(st.sampled_from(["ok", "again", "pace", "outage", "unknown", "rejected", "bug", "hang"]), max_size=30)
POSTS = st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from([0.0, 0.0, 0.05, 1.0])), min_size=1, max_size=25)


@settings(max_examples=examples(150), deadline=None)
@given(
    ANSWERS,
    POSTS,
    st.integers(1, 9),
    st.builds(OutboxSection, concurrency=st.integers(1, 4), send_timeout_seconds=st.just(5), max_attempts=st.integers(1, 9)),
    st.lists(st.floats(0.05, 5), max_size=3),
)
def test_each_conversation_is_seen_in_order_and_nothing_twice(
    answers: list[str], posts: list[tuple[str, float]], size: int, config: OutboxSection, stops: list[float]
) -> None:
    rows, platform = MemoryRows(), Fickle(answers)

    async def one_life(sender: Sender, seconds: float) -> None:
        life = Life(connect_seconds=60, close_seconds=10, on_started=lambda: None, on_connected=lambda: None)
        try:
            with trio.move_on_after(seconds):
                await sender.run(platform, life)
        except* (TryAgain, Bug):
            pass

    async def go() -> None:
        store = cast(Store, rows)
        events = EventLog(store, now=now, keep=lambda: 0)
        configured = Configured(GatewayConfig(outbox=config, limits=LimitsSection(mailbox=size)), {})
        outbox = Outbox(store, events, configured, DeliveryReports(), notice=lambda row, of_turn: None, now=now)
        await outbox.adopt([("loopback", "main")])
        sender = Sender("loopback", "main", outbox, Backoff(Random(1)), config, now=now, redact=str)

        async def write() -> None:
            for number, (conversation, pause) in enumerate(posts, 1):
                payload = SendText(Peer("dm", conversation), RichText(str(number)))
                await outbox.write([OutboundDraft("loopback", "main", conversation, payload)])
                await trio.sleep(pause)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            for seconds in stops:
                await one_life(sender, seconds)
        while any(row.state == "ready" for row in rows.rows.values()):
            await one_life(sender, 100)
        assert outbox.queue("loopback", "main").statistics().used == len(outbox.queue("loopback", "main")) == 0

    trio.run(go, clock=MockClock(autojump_threshold=0))
    assert not platform.wrong
    assert all(numbers == sorted(set(numbers)) for numbers in platform.saw.values())
    ended = {row.id: row.state for row in rows.rows.values()}
    assert set(ended.values()) <= {"sent", "unknown", "dead"}
    assert sorted(platform.receipts) == [number for number, state in ended.items() if state == "sent"]
