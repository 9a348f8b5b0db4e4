"""Sends while an account stops, and outcomes that the store refuses."""

from pathlib import Path

import trio
from trio.testing import MockClock

from gatewayd.channels.loopback.platform import hanging, taking
from gatewayd.model.errors import StoreRefused, TryAgain
from gatewayd.model.lifecycle import OutboundState
from gatewayd.ports.store import OutboundRow
from tests.hub.street import open_street


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
        assert (await street.row_now(row)).reason == "cut after 5 s without an answer"
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
