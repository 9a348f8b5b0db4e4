"""Accounts under a changing configuration: new ones start, removed ones stop, and no other one is touched."""

from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.lowlevel
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from trio.testing import MockClock

from gatewayd.channels.loopback.platform import failing, ignoring_cancellation, lingering, platform_of, taking
from gatewayd.channels.loopback.settings import LoopbackSettings
from gatewayd.model.config import AccountFrame, AccountSettings, GatewayConfig, GatewaySection, LimitsSection, OutboxSection
from gatewayd.model.errors import NeedsOperator, NotFound, StoreRefused, TryAgain
from gatewayd.model.lifecycle import OutboundState
from gatewayd.ports.store import OutboundRow
from tests.examples import examples
from tests.hub.street import Street, now, open_street


def account(name: str, identity: str | None = None, *, enabled: bool = True) -> AccountSettings:
    frame = AccountFrame(enabled=enabled)
    return AccountSettings("loopback", name, frame, LoopbackSettings(identity=identity or f"@{name}"))


def accounts(*given: AccountSettings) -> GatewayConfig:
    return GatewayConfig(accounts=given)


async def change(street: Street, config: GatewayConfig) -> None:
    street.configured.replace(config)
    with trio.fail_after(200):
        await street.manager.wait_reconciled()
    await trio.sleep(1)


def states(street: Street) -> dict[str, str]:
    return {status.account: status.state for status in street.manager.snapshot()}


async def test_what_is_new_starts_what_is_gone_stops_and_the_rest_is_not_touched(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, accounts(account("a"), account("b"))) as street:
        await trio.sleep(5)
        kept = street.status("b")
        await change(street, accounts(account("c"), account("b")))
        assert states(street) == {"c": "connected", "b": "connected"}, "in the order of the new configuration"
        assert street.status("b") == kept
        assert [platform_of(name).opened for name in "abc"] == [1, 1, 1]
        assert platform_of("a").open_now == 0
        assert await street.told("a") == ["starting", "connected", "stopped"]
        with pytest.raises(NotFound):
            street.actor("a")


async def test_other_settings_are_another_connection_and_other_rules_are_not(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"), account("b"))) as street:
        await trio.sleep(1)
        rules = AccountFrame(dm_policy="open", allow_from=("x",), groups=("y",), require_mention=False, queue_mode="collect")
        await change(street, accounts(account("a", "@new"), replace(account("b"), frame=rules)))
        assert (street.status("a").identity, street.status("a").restarts) == ("@new", 1)
        assert (platform_of("a").opened, platform_of("b").opened) == (2, 1)
        assert street.actor("b").settings.frame == rules


async def test_what_waits_to_be_sent_is_kept_while_an_account_is_reconnected(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("main"))) as street:
        await trio.sleep(1)
        platform_of().before_send.next(lingering(5))
        rows = await street.reply(*(f"m{number}" for number in range(20)))
        await trio.sleep(0.1)
        await change(street, accounts(account("main", "@new")))
        await trio.sleep(60)
        assert [await street.state_of(row) for row in rows] == ["sent"] * 20
        assert platform_of().texts == [f"m{number}" for number in range(20)]


async def test_what_is_switched_off_stops_and_what_is_switched_on_starts(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"), account("b", enabled=False))) as street:
        await trio.sleep(1)
        await change(street, accounts(account("a", enabled=False), account("b")))
        assert states(street) == {"a": "disabled", "b": "connected"}
        await change(street, accounts(account("a"), account("b")))
        assert states(street) == {"a": "connected", "b": "connected"}
        assert platform_of("b").opened == 1


async def test_a_stop_by_an_operator_stays_one_until_the_account_is_switched_off_and_on(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        await trio.sleep(1)
        await street.manager.stop("loopback", "a")
        await change(street, accounts(account("a", "@new"), account("b")))
        assert states(street) == {"a": "stopped", "b": "connected"}
        await street.manager.start("loopback", "a")
        await trio.sleep(1)
        assert street.status("a").identity == "@new"
        await street.manager.stop("loopback", "a")
        await change(street, accounts(account("a", enabled=False)))
        await change(street, accounts(account("a")))
        assert states(street) == {"a": "connected"}


async def test_a_stop_that_comes_while_an_account_is_reconnected_holds(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        platform_of("a").on_close.next(lingering(5))
        await trio.sleep(1)
        street.configured.replace(accounts(account("a", "@new")))
        await trio.sleep(1)
        await street.manager.stop("loopback", "a")
        await street.manager.wait_reconciled()
        await trio.sleep(10)
        assert states(street) == {"a": "stopped"}


async def test_new_settings_end_a_back_off_and_a_parking_and_the_same_ones_do_not(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, accounts(account("a"), account("b"))) as street:
        platform_of("a").on_listen.always(failing(TryAgain("away", after_seconds=7200)))
        platform_of("b").on_listen.always(failing(NeedsOperator("revoked")))
        await street.manager.restart("loopback")
        await trio.sleep(1)
        assert states(street) == {"a": "waiting", "b": "parked"}
        await change(street, accounts(account("a"), account("b")))
        assert states(street) == {"a": "waiting", "b": "parked"}
        for name in "ab":
            platform_of(name).on_listen.always(None)
        await change(street, accounts(account("a", "@new"), account("b", "@new")))
        assert states(street) == {"a": "connected", "b": "connected"}


async def test_removed_and_there_again_before_it_has_closed(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        platform_of("a").on_close.next(lingering(5))
        await trio.sleep(1)
        street.configured.replace(accounts())
        await trio.sleep(1)
        assert street.manager.snapshot() == ()
        assert street.manager.is_closing("loopback", "a")
        await change(street, accounts(account("a")))
        assert states(street) == {"a": "connected"}
        assert (platform_of("a").opened, platform_of("a").open_now) == (2, 1)
        await street.platform("a").say("still heard?")
        await trio.sleep(1)
        assert street.journal.texts == ["still heard?"]


async def test_removed_and_there_again_at_once(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        await trio.sleep(1)
        street.configured.replace(accounts())
        await change(street, accounts(account("a")))
        await street.platform("a").say("still heard?")
        await trio.sleep(1)
        assert (states(street), street.journal.texts) == ({"a": "connected"}, ["still heard?"])


async def test_a_driver_that_does_not_close_is_abandoned_and_another_may_come(tmp_path: Path, autojump_clock: MockClock) -> None:
    release = trio.Event()
    async with open_street(tmp_path, accounts(account("a"))) as street:
        platform_of("a").on_connected.next(ignoring_cancellation(release))
        await street.manager.restart("loopback", "a")
        await trio.sleep(1)
        await change(street, accounts())
        assert street.manager.statistics().supervisor.abandoned == 1
        await change(street, accounts(account("a")))
        assert states(street) == {"a": "connected"}
        release.set()


async def test_replies_to_a_removed_account_stay_in_the_store_and_go_when_it_is_back(
    tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, accounts(account("main"))) as street:
        await trio.sleep(1)
        await change(street, accounts())
        [row] = await street.reply("late")
        assert (await street.state_of(row), street.outbox.status().ready) == ("ready", 0)
        await street.outbox.adopt([("loopback", "main")])
        assert street.outbox.status().ready == 1
        await change(street, accounts(account("main")))
        assert (await street.state_of(row), street.outbox.status().ready) == ("sent", 0)


class Refusing:
    """An outbox whose disk is full until it is repaired."""

    def __init__(self, street: Street) -> None:
        self._settle = street.outbox.settle
        self.refuses = True
        street.outbox.settle = self  # type: ignore[method-assign]

    async def __call__(self, row: OutboundRow, state: OutboundState, **rest: object) -> None:
        if self.refuses:
            raise StoreRefused("the disk is full")
        await self._settle(row, state, **rest)  # type: ignore[arg-type]


@pytest.mark.parametrize("how", ["removed", "disabled", "stopped", "parked"])
async def test_what_became_of_a_send_is_recorded_when_the_disk_takes_it_though_its_account_is_gone(
    tmp_path: Path, autojump_clock: MockClock, how: str
) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        await trio.sleep(1)
        disk = Refusing(street)
        [row] = await street.reply("hello", account="a")
        await trio.sleep(1)
        if how == "removed":
            street.configured.replace(accounts())
        elif how == "disabled":
            street.configured.replace(accounts(account("a", enabled=False)))
        elif how == "stopped":
            await street.manager.stop("loopback", "a")
        else:
            platform_of("a").on_connected.always(failing(NeedsOperator("401")))
        await trio.sleep(500)
        assert (await street.state_of(row), platform_of("a").texts) == ("sending", ["hello"])
        disk.refuses = False
        await trio.sleep(2)
        assert await street.state_of(row) == "sent"
        await street.manager.wait_reconciled()
        assert street.outbox.status().sending == 0


async def test_an_account_that_is_back_before_the_disk_is_settles_by_itself(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        await trio.sleep(1)
        disk = Refusing(street)
        [row] = await street.reply("hello", account="a")
        await trio.sleep(1)
        street.configured.replace(accounts())
        await trio.sleep(5)
        street.configured.replace(accounts(account("a")))
        await trio.sleep(5)
        assert states(street) == {"a": "waiting"}
        disk.refuses = False
        await trio.sleep(200)
        assert (await street.state_of(row), states(street), platform_of("a").texts) == ("sent", {"a": "connected"}, ["hello"])


async def test_a_drain_waits_for_what_is_being_removed_and_starts_nothing(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"), account("b"))) as street:
        for name in "ab":
            platform_of(name).on_close.next(lingering(5))
        await trio.sleep(1)
        street.configured.replace(accounts(account("b", "@new"), account("c")))
        await street.manager.drain(trio.lowlevel.checkpoint, within_seconds=8)
        await street.manager.wait_reconciled()
        assert [platform_of(name).open_now for name in "abc"] == [0, 0, 0]


async def test_other_limits_hold_for_what_is_connected(tmp_path: Path, autojump_clock: MockClock) -> None:
    one = GatewayConfig(accounts=(account("main"),), outbox=OutboxSection(concurrency=1), limits=LimitsSection(mailbox=2))
    async with open_street(tmp_path, one) as street:
        await trio.sleep(1)
        more = replace(one, outbox=OutboxSection(concurrency=5), limits=LimitsSection(mailbox=50))
        await change(street, more)
        assert street.actor().statistics().mailbox.size == 50
        assert platform_of().opened == 1


async def test_another_public_url_is_another_connection_where_webhooks_can_be(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("main"))) as street:
        await trio.sleep(1)
        section = GatewaySection(public_url="https://bots.example.org")
        await change(street, replace(accounts(account("main")), gateway=section))
        assert platform_of().opened == 1, "the loopback has no webhook"


CONFIGS = st.lists(
    st.dictionaries(st.sampled_from("abc"), st.tuples(st.booleans(), st.sampled_from(["@1", "@2"])), max_size=3),
    min_size=1,
    max_size=6,
)


async def test_an_account_that_comes_and_goes_in_one_moment_does_not_run(tmp_path: Path, autojump_clock: MockClock) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        street.configured.replace(accounts(account("a"), account("b")))
        await trio.lowlevel.checkpoint()
        street.configured.replace(accounts(account("a"), account("b", enabled=False)))
        await street.manager.wait_reconciled()
        await trio.sleep(60)
        assert platform_of("b").open_now == 0


@given(wanted=CONFIGS, pauses=st.lists(st.sampled_from([0.0, 0.0, 0.5, 3.0]), min_size=6, max_size=6), seed=st.integers(0, 99))
@settings(max_examples=examples(12), deadline=None)
def test_whatever_comes_after_whatever_the_last_configuration_is_what_runs(
    wanted: list[dict[str, tuple[bool, str]]], pauses: list[float], seed: int
) -> None:
    configs = [accounts(*(account(name, says, enabled=on) for name, (on, says) in each.items())) for each in wanted]
    rng = Random(seed)

    async def go() -> None:
        with TemporaryDirectory() as folder:
            async with open_street(Path(folder), accounts(account("a"))) as street:
                for name in "abc":
                    platform_of(name).on_close.always(lingering(rng.random() * 4))
                for config, pause in zip(configs, pauses, strict=False):
                    street.configured.replace(config)
                    await trio.sleep(pause)
                await street.manager.wait_reconciled()
                await trio.sleep(1)
                last = wanted[min(len(wanted), len(pauses)) - 1]
                assert states(street) == {name: "connected" if on else "disabled" for name, (on, _) in last.items()}
                on_now = {name for name, (on, _) in last.items() if on}
                assert {name for name in "abc" if platform_of(name).open_now} == on_now
                assert all(street.status(name).identity == last[name][1] for name in on_now)
                assert street.manager.pending == ()

    trio.run(go, clock=MockClock(autojump_threshold=0))


ELSEWHERE = NeedsOperator("unknown token", retries_slowly=True)


@pytest.mark.parametrize("mid_look", [False, True])
@pytest.mark.parametrize("then", ["enabled", "disabled", "other", "stopped", "started"])
async def test_a_change_ends_the_waiting_for_the_next_look(
    then: str, mid_look: bool, tmp_path: Path, autojump_clock: MockClock
) -> None:
    async with open_street(tmp_path, accounts(account("a"))) as street:
        platform_of("a").on_listen.next(failing(ELSEWHERE))
        await street.manager.restart("loopback", "a")
        await trio.sleep(1)
        assert states(street) == {"a": "parked"}
        assert (street.status("a").next_attempt_at or 0) > now()
        if mid_look:
            platform_of("a").on_open.next(taking(30))
            await trio.sleep(80)
            assert (street.status("a").state, street.status("a").next_attempt_at) == ("parked", None)
        match then:
            case "disabled":
                await change(street, accounts(account("a", enabled=False)))
            case "other":
                await change(street, accounts(account("a", "@new")))
            case "stopped":
                await street.manager.stop("loopback", "a")
            case "started":
                await street.manager.start("loopback", "a")
            case _:
                await change(street, accounts(account("a")))
        await trio.sleep(31)
        expected = {"disabled": "disabled", "stopped": "stopped"}.get(then, "connected")
        if then != "enabled" or mid_look:
            assert states(street) == {"a": expected}
        await trio.sleep(86_400)
        assert states(street) == {"a": expected}
        if then == "other":
            assert street.status("a").identity == "@new"
