"""Pauses that a platform asks for: of one conversation, or of all sends of an account."""

from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.loopback.platform import failing, taking
from gatewayd.hub.operations.dead_letters import put_back
from gatewayd.model.config import LimitsSection, OutboxSection
from gatewayd.model.errors import OutcomeUnknown, TryAgain
from gatewayd.model.message.payload import EditText, RichText
from gatewayd.ports.store import OutboundDraft, OutboundRow
from tests.hub.street import BOB, EPOCH, Street, configuration, now, open_street


async def test_a_rate_limit_makes_its_conversation_wait_and_no_other(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=149, scope="conversation")))
        first, *_ = await street.reply("a1", "a2", "a3")
        await trio.sleep(1)
        await street.reply("b1", peer=BOB)
        await trio.sleep(147)
        assert street.platform().texts == ["b1"]
        waiting = await street.row_now(first)
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
        waiting = await street.row_now(edited)
        assert (waiting.state, waiting.attempts) == ("ready", 1)
        await trio.sleep(2)
        assert (await street.row_now(edited)).state == "sent"


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
    """Retry a reply as the dead-letter queue does."""
    was = await street.row_now(row)
    rule = partial(put_back, accounts={("loopback", "main"): None}, by="operator:alice", note=None, now=now())
    repairs = await street.store.retry_dead_letters([f"out-{row.id}"], rule, now=now())
    [repaired] = repairs.done
    assert isinstance(repaired.row, OutboundRow)
    assert was.state != "ready"
    street.outbox.requeue(repaired.row, repaired.was)


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
    """A machine that starts with its clock at 1970 finds it like this."""
    async with open_street(tmp_path) as street:
        year = 365 * 86_400.0
        street.platform().before_send.next(failing(TryAgain("429", after_seconds=year, scope="conversation")))
        [row] = await street.reply("of another time")
        await trio.sleep(1)
    async with open_street(tmp_path, configuration(outbox=OutboxSection(stale_after_seconds=1000.0))) as street:
        await trio.sleep(990)
        assert (await street.row_now(row)).state == "ready"
        await trio.sleep(20)
        assert (await street.row_now(row)).state == "parked", "it was looked at, and was stale"


async def test_sends_that_are_too_fast_wait_and_their_connection_stays(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration(outbox=OutboxSection(max_attempts=2))) as street:
        street.platform().before_send.next(*[failing(TryAgain("slower", after_seconds=20, scope="sends"))] * 3)
        [row] = await street.reply("hello")
        await trio.sleep(1)
        assert (street.status().state, (await street.row_now(row)).attempts) == ("connected", 0)
        await trio.sleep(100)
        assert street.platform().texts == ["hello"]
        assert street.status().restarts == 0
