"""All accounts: commands, snapshot, events and the drain. A failing account disturbs no other one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from trio.testing import MockClock

from gatewayd.channels.loopback.channel import open_loopback
from gatewayd.channels.loopback.platform import failing, hanging, ignoring_cancellation, lingering, platform_of, taking
from gatewayd.model.errors import Conflict, NeedsOperator, NotFound, TryAgain
from gatewayd.model.message.payload import Typing
from gatewayd.ports.channel import ChannelOpener, ChannelPlugin
from tests.hub.street import ALICE, EPOCH, configuration, open_street

THREE = configuration("a", "b", "c")


# Commands.


async def test_accounts_are_in_the_order_of_the_configuration(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration("c", "a", "b", disabled=["a"])) as street:
        await trio.sleep(1)
        assert [(status.account, status.state) for status in street.manager.snapshot()] == [
            ("c", "connected"),
            ("a", "disabled"),
            ("b", "connected"),
        ]


async def test_one_account_is_stopped_started_and_restarted(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, THREE) as street:
        await trio.sleep(5)
        [status] = await street.manager.stop("loopback", "b")
        assert (status.account, status.state, status.since) == ("b", "stopped", EPOCH + 5)
        assert platform_of("b").open_now == 0
        await trio.sleep(86_400)
        assert [status.state for status in street.manager.snapshot()] == ["connected", "stopped", "connected"]
        [status] = await street.manager.start("loopback", "b")
        assert status.state in ("starting", "connected")
        await trio.sleep(1)
        [status] = await street.manager.restart("loopback", "b")
        await trio.sleep(1)
        assert street.status("b").restarts == 2
        assert [platform_of(name).opened for name in "abc"] == [1, 3, 1]
        assert await street.told("b") == [
            "starting",
            "connected",
            "stopped",
            "starting",
            "connected",
            "stopped",
            "starting",
            "connected",
        ]


async def test_a_whole_channel_is_stopped_at_once_and_started_without_what_is_disabled(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, configuration("a", "b", "c", disabled=["c"])) as street:
        for name in "ab":
            platform_of(name).on_close.next(lingering(5))
        await trio.sleep(1)
        stopped = await street.manager.stop("loopback")
        assert trio.current_time() == 6
        assert [status.state for status in stopped] == ["stopped", "stopped", "disabled"]
        started = await street.manager.restart("loopback")
        assert [status.account for status in started] == ["a", "b"]


async def test_starting_what_lives_changes_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        await street.manager.start("loopback", "main")
        await trio.sleep(1)
        assert (street.status().since, platform_of().opened) == (EPOCH, 1)


async def test_what_does_not_exist_or_does_not_fit_is_said(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, configuration("main", "off", disabled=["off"])) as street:
        for act in (street.manager.start, street.manager.stop, street.manager.restart):
            with pytest.raises(NotFound, match="no account loopback/nobody"):
                await act("loopback", "nobody")
            with pytest.raises(NotFound, match="no account of telegram"):
                await act("telegram")
        for act in (street.manager.start, street.manager.restart):
            with pytest.raises(Conflict, match="loopback/off is disabled"):
                await act("loopback", "off")
        with pytest.raises(NotFound):
            street.manager.account("loopback", "nobody")
        await street.manager.signal("loopback", "nobody", Typing(ALICE))


async def test_a_restart_outlives_who_asked_for_it(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        platform_of().on_close.next(lingering(5))
        await trio.sleep(1)
        with trio.move_on_after(2):
            await street.manager.restart("loopback", "main")
        await trio.sleep(10)
        assert (street.status().state, street.status().restarts) == ("connected", 1)


async def test_commands_at_the_same_time_end_in_one_life(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(street.manager.restart, "loopback", "main")
                nursery.start_soon(street.manager.start, "loopback", "main")
        await trio.sleep(1)
        assert (street.status().state, platform_of().open_now) == ("connected", 1)


async def test_stopping_ends_the_back_off(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        platform_of().on_listen.always(failing(TryAgain("429", after_seconds=7200)))
        await street.manager.restart("loopback", "main")
        await trio.sleep(60)
        assert (street.status().state, street.status().next_attempt_at) == ("waiting", EPOCH + 7200)
        await street.manager.stop("loopback", "main")
        assert trio.current_time() == 60
        assert (street.status().state, street.status().next_attempt_at) == ("stopped", None)


# A broken plug-in.


async def test_a_driver_that_cannot_be_imported_parks_its_accounts_only(tmp_path: Path, autojump_clock: MockClock) -> None:
    broken = True

    def opener(plugin: ChannelPlugin) -> ChannelOpener:
        if broken:
            raise ImportError("libfoo.so: hunter2 not found")
        return open_loopback

    async with open_street(tmp_path, opener=opener) as street:
        await trio.sleep(3600)
        status = street.status()
        assert (status.state, status.restarts) == ("parked", 0)
        assert status.reason == "the driver cannot be loaded: ImportError: libfoo.so: *** not found"
        broken = False
        await street.manager.start("loopback", "main")
        await trio.sleep(1)
        assert street.status().state == "connected"


async def test_a_driver_whose_opener_is_nonsense_is_parked(tmp_path: Path, autojump_clock: MockClock) -> None:
    @asynccontextmanager
    async def nonsense(*args: object) -> AsyncIterator[None]:
        yield None

    async with open_street(tmp_path, opener=lambda plugin: nonsense) as street:  # type: ignore[arg-type,return-value]
        await trio.sleep(300)
        assert street.status().state == "parked"
        assert (street.status().reason or "").startswith("bug: AttributeError: 'NoneType' object has no attribute")


# The drain.


async def test_a_drain_stops_listening_sends_what_comes_and_closes(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        await trio.sleep(1)
        unheard = trio.Event()

        async def turns_end() -> None:
            nonlocal unheard
            unheard = platform_of().inject(platform_of().message("too late"))
            await trio.sleep(5)
            await street.reply("the last words")
            await trio.sleep(1)

        platform_of().before_send.always(taking(0.5))
        await street.manager.drain(turns_end, within_seconds=20)
        assert trio.current_time() == 7
        assert platform_of().texts == ["the last words"]
        assert not unheard.is_set()
        assert street.journal.texts == []
        assert (street.status().state, platform_of().open_now) == ("stopped", 0)
        for act in (street.manager.start, street.manager.restart):
            with pytest.raises(Conflict, match="stopping"):
                await act("loopback", "main")


async def test_a_drain_keeps_its_deadline_whatever_hangs(tmp_path: Path, autojump_clock: MockClock) -> None:
    release = trio.Event()
    async with open_street(tmp_path, configuration("polite", "sends", "hangs", "ignores", "waits", "parked")) as street:
        await trio.sleep(1)
        platform_of("waits").on_listen.always(failing(TryAgain("no route")))
        platform_of("parked").on_listen.always(failing(NeedsOperator("no token")))
        for name in ("waits", "parked"):
            await street.manager.restart("loopback", name)
        await trio.sleep(100)
        platform_of("sends").before_send.always(hanging)
        [row] = await street.reply("hello", account="sends")
        platform_of("hangs").on_close.next(hanging)
        platform_of("ignores").on_close.next(ignoring_cancellation(release))
        began_at = trio.current_time()
        await street.manager.drain(trio.sleep_forever, within_seconds=20)
        assert trio.current_time() - began_at <= 20
        states = {status.account: status.state for status in street.manager.snapshot()}
        assert states.pop("ignores") == "parked"
        assert set(states.values()) == {"stopped"}
        assert await street.state_of(row) == "unknown"
        assert street.manager.statistics().supervisor.abandoned == 1
        release.set()


async def test_an_account_that_comes_back_during_a_drain_does_not_listen(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path) as street:
        platform_of().on_listen.next(failing(TryAgain("no route", after_seconds=3)))
        await street.manager.restart("loopback", "main")
        await trio.sleep(1)
        acknowledged = platform_of().inject(platform_of().message("too late"))
        await street.manager.drain(partial(trio.sleep, 10), within_seconds=20)
        assert not acknowledged.is_set()
        assert platform_of().opened == 2, "it is not even opened"
        assert street.status().state == "stopped"


# One for one.


@pytest.mark.slow
async def test_one_crashes_for_ever_one_is_out_for_a_day_and_one_is_well(tmp_path: Path, autojump_clock: MockClock) -> None:
    """Promise 6: one account crashes thirty times (the operator starts it whenever it is parked), another is out for a day, and
    the others go on."""
    async with open_street(tmp_path, configuration("crashing", "outage", "well"), started=False) as street:
        platform_of("crashing").on_connected.always(failing(KeyError("chat")))
        platform_of("outage").on_listen.always(failing(TryAgain("no route to host")))
        async with street.run():
            await street.reply("hours later", account="outage")
            crashed = 0
            for hour in range(24):
                envelope = await platform_of("well").say(f"hour {hour}", account="well")
                await street.reply(f"it is {envelope.text}", account="well")
                await trio.sleep(3600)
                if hour < 4:
                    crashed = platform_of("crashing").opened
                    await street.manager.start("loopback", "crashing")
            crashing, outage, well = street.manager.snapshot()
            assert (crashed, platform_of("crashing").opened) == (24, 30)
            assert crashing.state == "parked"
            assert crashing.reason == "bug: KeyError: 'chat' (more than 5 times in 60 s)"
            assert EPOCH + 4 * 3600 <= crashing.since < EPOCH + 4 * 3600 + 60
            assert (outage.state, outage.reason, outage.since) == ("waiting", "no route to host", EPOCH)
            assert 1024 < outage.attempt < 5000
            assert outage.next_attempt_at is not None
            assert (outage.outbox_depth, outage.oldest_pending_at) == (1, EPOCH)
            assert (well.state, well.since, well.restarts) == ("connected", EPOCH, 0)
            assert street.journal.texts == [f"hour {hour}" for hour in range(24)]
            assert platform_of("well").texts == [f"it is hour {hour}" for hour in range(24)]
            assert await street.told("outage") == ["starting", "waiting"]
            platform_of("outage").on_listen.always(None)
            await trio.sleep(60)
            assert street.status("outage").state == "connected"


@pytest.mark.slow
async def test_many_accounts_share_a_network_that_vanishes_for_half_an_hour(tmp_path: Path, autojump_clock: MockClock) -> None:
    names = [f"n{n}" for n in range(50)]
    async with open_street(tmp_path, configuration(*names)) as street:
        await trio.sleep(60)
        for name in names:
            platform_of(name).on_listen.always(failing(TryAgain("no route to host")))
        await street.manager.restart("loopback")
        await trio.sleep(1800)
        assert {(status.state, status.since) for status in street.manager.snapshot()} == {("waiting", EPOCH + 60)}
        for name in names:
            platform_of(name).on_listen.always(None)
        await trio.sleep(60)
        assert {status.state for status in street.manager.snapshot()} == {"connected"}
        assert all(status.since <= EPOCH + 60 + 1800 + 60 for status in street.manager.snapshot())
