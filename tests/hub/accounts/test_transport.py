"""What a driver says of its connection while it is open: interruptions, what does not work, and how long connecting takes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.loopback.platform import platform_of
from gatewayd.hub.accounts.transport import MOST_LACKS
from gatewayd.model.message.payload import OutboundPayload, Receipt
from gatewayd.model.status import Lack
from gatewayd.ports.channel import AccountConfig, Channel, ChannelServices, ConnectionReporter, Deliver
from tests.hub.street import EPOCH, Street, open_street


class Silent:
    """A channel that reports only what the test makes it report."""

    def __init__(self, account: str, services: ChannelServices) -> None:
        self.account = account
        self.connection = services.connection

    async def listen(self, deliver: Deliver) -> None:
        await trio.sleep_forever()

    async def send(self, payload: OutboundPayload, *, key: str) -> Receipt:
        await trio.lowlevel.checkpoint()
        return platform_of(self.account).accept(payload)


@asynccontextmanager
async def silent_street(folder: Path) -> AsyncIterator[tuple[Street, list[ConnectionReporter]]]:
    """The reporters of all lives, the newest last."""
    reporters: list[ConnectionReporter] = []

    @asynccontextmanager
    async def opener(account: AccountConfig, services: ChannelServices) -> AsyncIterator[Channel]:
        reporters.append(services.connection)
        yield Silent(account.account, services)

    async with open_street(folder, opener=lambda plugin: opener) as street:
        await trio.sleep(1)
        yield street, reporters


async def test_an_interruption_is_said_and_sends_wait_for_its_end(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, [reporter]):
        reporter.interrupted("too early to count")
        reporter.connected("@main")
        await trio.sleep(9)
        reporter.interrupted("the server asked for a new connection")
        [row] = await street.reply("hello")
        await trio.sleep(20)
        status = street.status()
        assert (status.state, status.since, status.down_since) == ("interrupted", EPOCH + 10, EPOCH + 10)
        assert (status.reason, status.restarts, street.platform().texts) == ("the server asked for a new connection", 0, [])
        reporter.connected()
        await trio.sleep(1)
        assert await street.state_of(row) == "sent"
        status = street.status()
        assert (status.state, status.reason, status.down_since, status.identity) == ("connected", None, None, "@main")
        assert await street.told() == ["starting", "connected", "interrupted", "connected"]


async def test_each_connection_after_a_gap_is_told_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, reporters):
        reporters[0].interrupted("too early to count")
        for _ in range(2):
            await trio.sleep(1)
            reporters[0].connected()
        for reason in ("cut", "still cut"):
            await trio.sleep(1)
            reporters[0].interrupted(reason)
        for _ in range(2):
            await trio.sleep(1)
            reporters[0].connected()
        assert street.gaps == [("main", 2), ("main", 6)]
        await street.manager.restart("loopback", "main")
        await trio.sleep(1)
        assert len(street.gaps) == 2
        reporters[0].connected()
        reporters[1].connected()
        assert street.gaps[2:] == [("main", trio.current_time())]


async def test_an_interruption_that_is_resumed_is_no_gap(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Everything comes that happened meanwhile. At the beginning of a life that does not help: people were told of a failure."""
    async with silent_street(tmp_path) as (street, [reporter]):
        reporter.connected(resumed=True)
        assert street.gaps == [("main", 1)]
        reporter.interrupted("cut")
        await trio.sleep(1)
        reporter.connected(resumed=True)
        assert street.status().state == "connected"
        assert street.gaps == [("main", 1)]
        reporter.interrupted("cut")
        await trio.sleep(1)
        reporter.connected()
        assert street.gaps == [("main", 1), ("main", 3)]


async def test_a_row_that_was_taken_before_the_interruption_is_put_back(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, [reporter]):
        reporter.connected()
        await trio.sleep(1)
        for number in range(20):
            await street.reply(str(number))
            reporter.interrupted("cut")
            await trio.sleep(0.5)
            assert len(street.platform().texts) <= number
            reporter.connected()
            await trio.sleep(0.5)
        assert street.platform().texts == [str(number) for number in range(20)]


async def test_an_interruption_that_lasts_is_a_new_life(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, reporters):
        reporters[0].connected()
        reporters[0].connect_within(20)
        reporters[0].interrupted("cut")
        await trio.sleep(19)
        assert (street.status().state, len(reporters)) == ("interrupted", 1)
        await trio.sleep(2)
        status = street.status()
        assert status.state == "waiting"
        assert status.reason == "interrupted, and not connected again within 20 s: cut"
        reporters[0].connected()
        assert street.status().state == "waiting", "its life is over"
        await trio.sleep(5)
        reporters[1].connected()
        assert street.status().state == "connected"


async def test_a_driver_says_how_long_connecting_takes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, [reporter]):
        reporter.connect_within(600)
        await trio.sleep(500)
        assert street.status().state == "starting"
        await trio.sleep(110)
        assert street.status().reason == "did not connect within 600 s"


@pytest.mark.parametrize("seconds", [0, -1, 3601, float("inf"), float("nan")])
async def test_a_time_without_end_is_a_bug(seconds: float, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (_, [reporter]):
        with pytest.raises(Exception, match="connect_within takes more than 0 and at most 3600 s"):
            reporter.connect_within(seconds)


async def test_parts_that_do_not_work_are_named_until_they_work_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, [reporter]):
        reporter.connected()
        reporter.lacks("#ops", "banned\n for\tever")
        await trio.sleep(5)
        reporter.lacks("#ops", "still banned")
        reporter.lacks("shard 3", "no answer")
        status = street.status()
        assert status.state == "connected"
        assert status.lacks == (Lack("#ops", "still banned", EPOCH + 1), Lack("shard 3", "no answer", EPOCH + 6))
        reporter.lacks("#ops", None)
        reporter.lacks("never heard of", None)
        assert [lack.what for lack in street.status().lacks] == ["shard 3"]
        for number in range(MOST_LACKS * 2):
            reporter.lacks(f"#{number}" * 999, "x" * 9999)
        lacks = street.status().lacks
        assert (len(lacks), max(len(lack.what + lack.reason) for lack in lacks)) == (MOST_LACKS, 400)
        await street.manager.stop("loopback", "main")
        assert street.status().lacks == ()


async def test_a_secret_in_a_reason_is_not_shown(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with silent_street(tmp_path) as (street, [reporter]):
        reporter.connected()
        reporter.lacks("#ops", "refused hunter2")
        reporter.interrupted("cut hunter2")
        assert "hunter2" not in repr(street.status())
