"""Outages, bugs and parked children: when the supervisor starts a child again."""

import sys
from itertools import pairwise

import pytest
import trio
import trio.testing

from gatewayd.actor.life import Life
from gatewayd.model.errors import NeedsOperator, TryAgain
from tests.actor.children import EPOCH, Watched, failing, healthy, scripted


@pytest.mark.slow
async def test_an_outage_is_waited_out_for_a_day(autojump_clock: trio.testing.MockClock) -> None:
    attempts: list[float] = []

    async def run(life: Life) -> None:
        life.started()
        attempts.append(trio.current_time())
        if trio.current_time() < 86_400:
            await trio.sleep(0.5)
            raise TryAgain("no route to host")
        await healthy(life)

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(80_000)
        status = supervisor.status("a")
        assert (status.state, status.reason) == ("waiting", "no route to host")
        assert status.since == EPOCH + 0.5
        assert status.attempt == len(attempts) - (status.next_attempt_at is None)
        await trio.sleep(6_400 + 60)
        status = supervisor.status("a")
        assert (status.state, status.reason, status.attempt, status.next_attempt_at) == ("running", None, 0, None)
    # The average pause is half of 45 s: about 3,800 attempts in a day, so 1,024 is passed on the way.
    assert 1024 < len(attempts) < 5000
    assert watched.states("a")[:3] == ["starting", "waiting", "running"]


async def test_the_wish_of_the_platform_is_a_minimum(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    run = scripted(failing(TryAgain("429", after_seconds=149)))
    async with watched.running(a=run) as supervisor:
        await trio.sleep(148.9)
        assert supervisor.status("a").state == "waiting"
        await trio.sleep(0.2)
        assert supervisor.status("a").state == "running"


async def test_back_off_begins_anew_after_good_health_only(autojump_clock: trio.testing.MockClock) -> None:
    ills = [failing(TryAgain("flap"), after=1, connected=True)] * 8
    well = failing(TryAgain("flap"), after=61, connected=True)
    watched = Watched()
    async with watched.running(a=scripted(*ills, well)) as supervisor:
        attempts: list[int] = []
        while len(watched.failures) < 9:
            await trio.sleep(0.1)
            if supervisor.status("a").state == "waiting":
                attempts.append(supervisor.status("a").attempt)
    assert max(attempts) == 8
    assert attempts[-1] == 1


# Bugs.


@pytest.mark.parametrize("how", ["raise", "return", "exit", "exit in a child task", "child task", "two groups deep"])
async def test_a_bug_spends_the_budget_and_is_parked(how: str, autojump_clock: trio.testing.MockClock) -> None:
    lives: list[float] = []

    async def crash() -> None:
        if how.startswith("exit"):
            sys.exit("no such option")
        raise KeyError("chat")

    async def run(life: Life) -> None:
        life.started()
        life.connected()
        lives.append(trio.current_time())
        if how in ("raise", "exit"):
            await crash()
        if how in ("exit in a child task", "child task", "two groups deep"):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(crash)
                if how == "two groups deep":
                    async with trio.open_nursery() as inner:
                        inner.start_soon(crash)

    watched = Watched()
    async with watched.running(a=run, well=healthy) as supervisor:
        await trio.sleep(3600)
        status = supervisor.status("a")
        assert status.state == "parked"
        assert status.reason is not None
        expected = {"return": "bug: UnexpectedReturn: it ended without a request", "exit": "bug: SystemExit: no such option"}
        assert status.reason.startswith(expected.get(how.partition(" ")[0], "bug: KeyError: 'chat'"))
        assert len(lives) == 6
        assert status.restarts == 5
        assert lives[-1] > lives[0], "bugs are backed off, too"
        assert supervisor.status("well").since == EPOCH
        await supervisor.start("a")
        await trio.sleep(3600)
        assert len(lives) == 12, "an operator's start gives the whole budget again"


async def test_slow_crashes_cannot_hide_behind_their_own_back_off(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=failing(ValueError("x"), after=9, connected=True)) as supervisor:
        await trio.sleep(3600)
        assert supervisor.status("a").state == "parked"


async def test_a_bug_now_and_then_is_never_parked(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=failing(ValueError("x"), after=600, connected=True)) as supervisor:
        await trio.sleep(100 * 600)
        assert supervisor.status("a").state in ("running", "waiting")
        assert supervisor.status("a").restarts > 90


async def test_needs_operator_parks_at_once_and_the_reason_stays(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=failing(NeedsOperator("the token was revoked"))) as supervisor:
        await trio.sleep(86_400)
        status = supervisor.status("a")
        assert (status.state, status.reason, status.restarts) == ("parked", "the token was revoked", 0)
        assert status.since == EPOCH
        await supervisor.stop("a")
        assert supervisor.status("a").state == "stopped"


DAY = 86_400.0
ELSEWHERE = NeedsOperator("unknown token", retries_slowly=True)


async def test_what_may_be_mended_elsewhere_is_looked_at_again_slowly_and_stays_parked(
    autojump_clock: trio.testing.MockClock,
) -> None:
    looks: list[float] = []

    async def run(life: Life) -> None:
        life.started()
        looks.append(trio.current_time())
        if trio.current_time() < DAY:
            await trio.sleep(2)
            raise ELSEWHERE
        await healthy(life)

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(3)
        first = supervisor.status("a").next_attempt_at
        assert first is not None
        assert 60 <= first - (EPOCH + 2) <= 75
        await trio.sleep(DAY - 100)
        status = supervisor.status("a")
        assert (status.state, status.reason, status.since) == ("parked", "unknown token", EPOCH + 2)
        await trio.sleep(3000)
        assert supervisor.status("a").state == "running"
        assert supervisor.status("a").next_attempt_at is None
    pauses = [after - before - 2 for before, after in pairwise(looks)]
    for pause, least in zip(pauses, [60, 300, 900, *[1800] * len(pauses)], strict=False):
        assert least <= pause <= least * 1.25
    assert 38 <= len(looks) <= 51
    assert watched.states("a") == ["starting", "parked", "running"]


@pytest.mark.parametrize("error", [NeedsOperator("no"), ExceptionGroup("", [ELSEWHERE, NeedsOperator("no")])])
async def test_what_only_a_setting_mends_is_not_looked_at_again(error: Exception, autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=scripted(failing(error))) as supervisor:
        await trio.sleep(DAY)
        assert supervisor.status("a").state == "parked"
        assert supervisor.status("a").next_attempt_at is None
        assert supervisor.is_down("a")
        assert not supervisor.is_supervised("a")


async def test_a_start_does_not_wait_for_the_next_look_and_a_stop_ends_the_looking(
    autojump_clock: trio.testing.MockClock,
) -> None:
    watched = Watched()
    async with watched.running(a=failing(ELSEWHERE), b=scripted(failing(ELSEWHERE))) as supervisor:
        await trio.sleep(10)
        await supervisor.start("b")
        await supervisor.stop("a")
        assert trio.current_time() == 10
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.status("b").state == "running"
        await trio.sleep(DAY)
        assert supervisor.status("a").state == "stopped"
        assert watched.failures.count("unknown token") <= 2


async def test_an_outage_in_a_look_is_waited_out(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=scripted(failing(ELSEWHERE), failing(TryAgain("no route")))) as supervisor:
        await trio.sleep(200)
        assert supervisor.status("a").state == "running"
    assert watched.states("a")[:4] == ["starting", "parked", "waiting", "running"]
