"""The supervisor against children that fail in every way there is, on a fake clock."""

import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from itertools import count, pairwise
from random import Random

import anyio
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import Bug
from gatewayd.actor.child import ChildSpec, ChildStatus
from gatewayd.actor.life import Life
from gatewayd.actor.supervisor import Supervisor, judge
from gatewayd.model.errors import Conflict, NeedsOperator, NotFound, SendRejected, StoreRefused, TryAgain
from tests.examples import examples

EPOCH = 1_700_000_000.0

Run = Callable[[Life], Awaitable[None]]


def wall() -> float:
    return EPOCH + trio.current_time()


class Watched:
    """A supervisor and what it told."""

    def __init__(self) -> None:
        self.changes: list[ChildStatus] = []
        self.failures: list[str] = []
        self.supervisor = Supervisor(
            Backoff(Random(11)),
            now=wall,
            on_change=self.changes.append,
            on_failure=lambda name, verdict, error: self.failures.append(verdict.reason),
        )

    @asynccontextmanager
    async def running(self, **children: Run) -> AsyncIterator[Supervisor]:
        for name, run in children.items():
            self.supervisor.add(ChildSpec(name=name, run=run))
        async with self.supervisor.run():
            for name in children:
                await self.supervisor.start(name)
            yield self.supervisor

    def states(self, name: str) -> list[str]:
        return [status.state for status in self.changes if status.name == name]


async def healthy(life: Life) -> None:
    life.started()
    life.connected()
    await trio.sleep_forever()


def failing(error: Exception, *, after: float = 0.0, connected: bool = False) -> Run:
    async def run(life: Life) -> None:
        life.started()
        if connected:
            life.connected()
        await trio.sleep(after)
        raise error

    return run


def scripted(*lives: Run) -> Run:
    remaining: Iterator[Run] = iter(lives)

    async def run(life: Life) -> None:
        await next(remaining, healthy)(life)

    return run


def shielded(release: trio.Event) -> Run:
    """Cannot be cancelled; ``release`` lets the test end."""

    async def run(life: Life) -> None:
        life.started()
        life.connected()
        with trio.CancelScope(shield=True):
            await release.wait()

    return run


# What an error means.


def test_the_strictest_cure_in_a_group_wins() -> None:
    operator, bug, outage = NeedsOperator("token revoked"), KeyError("x"), TryAgain("no route")
    assert judge(ExceptionGroup("", [outage, ExceptionGroup("", [bug, operator])])).cure == "park"
    assert judge(ExceptionGroup("", [outage, bug])).cure == "restart"
    assert judge(ExceptionGroup("", [outage, TryAgain("also", after_seconds=9)])).after_seconds == 9
    assert judge(ExceptionGroup("", [outage, outage])).reason == "no route"


def test_a_store_that_refuses_is_an_outage_and_parks_nobody() -> None:
    verdict = judge(ExceptionGroup("", [StoreRefused("the disk is full"), TryAgain("no route", after_seconds=9)]))
    assert (verdict.cure, verdict.reason, verdict.after_seconds) == ("wait", "the disk is full; no route", 9)
    assert judge(ExceptionGroup("", [StoreRefused("the disk is full"), KeyError("x")])).cure == "restart"


def test_any_other_error_is_a_bug_also_one_of_ours() -> None:
    assert judge(SendRejected("blocked")).cure == "restart"
    assert judge(ValueError("bad")).reason == "bug: ValueError: bad"


def test_a_reason_is_one_short_line_without_secrets() -> None:
    def redact(text: str) -> str:
        return text.replace("hunter2", "…")

    reason = judge(ValueError("GET https://x/bothunter2/me\n" + "y" * 1000), redact).reason
    assert reason.startswith("bug: ValueError: GET https://x/bot…/me yyy")
    assert len(reason) <= 250
    assert "hunter2" not in judge(TryAgain("cannot reach /bothunter2"), redact).reason
    assert "hunter2" not in judge(NeedsOperator("401 for hunter2"), redact).reason


def test_an_error_that_cannot_be_printed_is_still_named() -> None:
    class Unprintable(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no")

    assert judge(Unprintable()).reason == "bug: Unprintable"


# Starting and stopping.


async def test_a_healthy_child_is_running_until_it_is_stopped(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=healthy) as supervisor:
        await trio.sleep(1000)
        assert supervisor.status("a").state == "running"
        await supervisor.stop("a")
        status = supervisor.status("a")
        assert (status.state, status.since, status.restarts) == ("stopped", EPOCH + 1000, 0)
        await supervisor.stop("a")
        await supervisor.start("a")
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.status("a").restarts == 1
    assert watched.states("a")[:5] == ["starting", "running", "stopped", "starting", "running"]


async def test_starting_twice_runs_it_once(autojump_clock: trio.testing.MockClock) -> None:
    lives = count()
    began: list[int] = []

    async def run(life: Life) -> None:
        began.append(next(lives))
        await healthy(life)

    async with Watched().running(a=run) as supervisor, trio.open_nursery() as nursery:
        for _ in range(5):
            nursery.start_soon(supervisor.start, "a")
    assert began == [0]


async def test_an_error_before_started_goes_to_the_caller(autojump_clock: trio.testing.MockClock) -> None:
    async def broken(life: Life) -> None:
        raise ValueError("no such file")

    async def broken_in_a_task(life: Life) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(broken, life)

    watched = Watched()
    async with watched.running() as supervisor:
        for name, run in (("a", broken), ("b", broken_in_a_task)):
            supervisor.add(ChildSpec(name=name, run=run))
            with pytest.raises(Bug, match="ValueError: no such file"):
                await supervisor.start(name)
            assert supervisor.status(name).state == "stopped"
    assert watched.failures == []


async def test_hanging_before_started_also_goes_to_the_caller(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(life: Life) -> None:
        await trio.sleep_forever()

    async with Watched().running() as supervisor:
        supervisor.add(ChildSpec(name="a", run=hang, connect_seconds=5))
        with pytest.raises(TryAgain, match="did not connect within 5 s"):
            await supervisor.start("a")
        assert trio.current_time() == 5


async def test_an_unknown_name_is_not_found() -> None:
    async with Watched().running() as supervisor:
        for act in (supervisor.start, supervisor.stop):
            with pytest.raises(NotFound):
                await act("nobody")
        with pytest.raises(NotFound):
            supervisor.status("nobody")


async def test_stopping_ends_the_back_off(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=failing(TryAgain("slow down", after_seconds=5000))) as supervisor:
        await trio.sleep(10)
        status = supervisor.status("a")
        assert status.state == "waiting"
        assert status.next_attempt_at == EPOCH + 5000
        await supervisor.stop("a")
        assert trio.current_time() == 10
        assert supervisor.status("a").state == "stopped"
        await trio.sleep(10_000)
        assert supervisor.status("a").state == "stopped"


async def test_a_cancelled_supervisor_passes_the_cancellation_on(autojump_clock: trio.testing.MockClock) -> None:
    closed: list[str] = []

    async def closing(life: Life) -> None:
        try:
            await healthy(life)
        finally:
            closed.append("closed")

    watched = Watched()
    with trio.move_on_after(10) as scope:
        async with watched.running(a=closing, b=failing(TryAgain("down")), c=failing(NeedsOperator("no"))):
            await trio.sleep_forever()
    assert scope.cancelled_caught
    assert closed == ["closed"]


async def test_a_crash_while_the_supervisor_is_cancelled_does_not_get_out(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("in the cleaning up")

    with trio.move_on_after(1) as scope:
        async with Watched().running(a=run):
            await trio.sleep_forever()
    assert scope.cancelled_caught


# Outages.


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
    # On average half of 45 s apart: about 3,800 in a day, and 1,024 is passed on the way.
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
        expected = {"return": "bug: ReturnedQuietly: it returned", "exit": "bug: SystemExit: no such option"}
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


# Hangs, found from outside.


async def test_a_hang_before_connected_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    async def hang(life: Life) -> None:
        life.started()
        await trio.sleep_forever()

    watched = Watched()
    async with watched.running(a=hang) as supervisor:
        await trio.sleep(59)
        assert supervisor.status("a").state == "starting"
        await trio.sleep(1.001)
        status = supervisor.status("a")
        assert (status.state, status.reason) == ("waiting", "did not connect within 60 s")
        await trio.sleep(3600)
        assert supervisor.status("a").state == "waiting", "a black hole in the network is an outage"


async def test_silence_longer_than_announced_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        life.connected()
        life.expect_silence(45)
        for _ in range(10):
            await trio.sleep(30)
            life.heard()
        await trio.sleep_forever()

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(300 + 44.9)
        assert supervisor.status("a").state == "running"
        await trio.sleep(0.2)
        status = supervisor.status("a")
        assert (status.state, status.reason) == ("waiting", "nothing heard for 45 s")


async def test_an_announced_silence_can_be_shortened_and_taken_back(autojump_clock: trio.testing.MockClock) -> None:
    async def shortened(life: Life) -> None:
        life.started()
        life.connected()
        life.expect_silence(10_000)
        await trio.sleep(1)
        life.expect_silence(5)
        await trio.sleep_forever()

    async def taken_back(life: Life) -> None:
        life.started()
        life.connected()
        life.expect_silence(5)
        await trio.sleep(1)
        life.expect_silence(None)
        await trio.sleep_forever()

    async with Watched().running(a=shortened, b=taken_back) as supervisor:
        await trio.sleep(6.1)
        assert supervisor.status("a").state == "waiting"
        await trio.sleep(3600)
        assert supervisor.status("b").state == "running"


async def test_a_silence_announced_before_connecting_counts_from_connecting(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        life.expect_silence(5)
        await trio.sleep(20)
        life.connected()
        await trio.sleep_forever()

    async with Watched().running(a=run) as supervisor:
        await trio.sleep(24.9)
        assert supervisor.status("a").state == "running"
        await trio.sleep(0.2)
        assert supervisor.status("a").reason == "nothing heard for 5 s"


async def test_why_it_was_cut_counts_and_not_how_it_went_down(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        life.connected()
        life.expect_silence(5)
        try:
            await trio.sleep_forever()
        finally:
            raise ValueError("the socket is closed already")

    async with Watched().running(a=run) as supervisor:
        await trio.sleep(3600)
        assert (supervisor.status("a").state, supervisor.status("a").reason) in [
            ("waiting", "nothing heard for 5 s"),
            ("running", None),
        ]


async def test_a_life_that_was_cut_cannot_connect_any_more(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()

    async def run(life: Life) -> None:
        life.started()
        with trio.CancelScope(shield=True):
            await release.wait()
        life.connected()

    async with Watched().running(a=run) as supervisor:
        await trio.sleep(100)
        release.set()
        await trio.sleep(1)
        assert supervisor.status("a").state == "parked"


async def test_a_quiet_child_is_never_restarted(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    async with watched.running(a=healthy) as supervisor:
        await trio.sleep(17 * 86_400)
        assert supervisor.status("a").restarts == 0
    assert watched.states("a")[:2] == ["starting", "running"]


async def test_silence_that_is_our_own_fault_is_not_held_against_it(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        with life.hold():
            await trio.sleep(500)
        life.connected()
        life.expect_silence(45)
        with life.hold():
            await trio.sleep(3600)
        await trio.sleep(44)
        life.heard()
        await trio.sleep_forever()

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(500 + 3600 + 44 + 44)
        assert supervisor.status("a").state == "running"
        await trio.sleep(2)
        assert supervisor.status("a").state == "waiting"


async def test_a_process_that_stood_still_blames_no_child(autojump_clock: trio.testing.MockClock) -> None:
    """After a SIGSTOP the watch may come first, and only then the child that reads what had arrived meanwhile."""

    async def run(life: Life) -> None:
        life.started()
        life.connected()
        life.expect_silence(45)
        with life.must_end_within(60):
            await trio.sleep(30)
            await trio.sleep(0.5)
            life.heard()
        await trio.sleep_forever()

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(10)
        autojump_clock.jump(3600)
        await trio.sleep(45)
        assert (supervisor.status("a").state, watched.failures) == ("running", [])
        await trio.sleep(1)
        assert watched.failures == ["nothing heard for 45 s"], "silence is still found"


async def test_a_hang_while_leaving_is_cut_and_the_first_error_decides(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        life.connected()
        try:
            with life.closes_after():
                raise TryAgain("the line went dead")
        finally:
            await trio.sleep_forever()

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(9.9)
        assert supervisor.status("a").state == "running"
        await trio.sleep(0.2)
        status = supervisor.status("a")
        assert (status.state, status.reason) == ("waiting", "the line went dead")
        assert supervisor.statistics().abandoned == 0


async def test_a_hang_while_being_stopped_is_cut(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        try:
            await healthy(life)
        finally:
            with trio.CancelScope(shield=True), trio.move_on_after(8):
                await trio.sleep_forever()

    async with Watched().running(a=run) as supervisor:
        await trio.sleep(1)
        await supervisor.stop("a")
        assert trio.current_time() == 9
        assert supervisor.status("a").state == "stopped"


async def test_a_child_may_ask_for_more_time_to_close_within_what_the_stop_allows(autojump_clock: trio.testing.MockClock) -> None:
    async def slow(life: Life) -> None:
        life.started()
        life.connected()
        try:
            await trio.sleep_forever()
        finally:
            life.closing(after=100)
            with trio.CancelScope(shield=True):
                await trio.sleep(50)

    async with Watched().running(a=slow, b=slow) as supervisor:
        await supervisor.stop("a")
        assert (trio.current_time(), supervisor.status("a").state) == (50, "stopped")
        await supervisor.stop("b", within_seconds=20)
        assert (trio.current_time(), supervisor.status("b").state) == (70, "parked")
        assert supervisor.status("b").reason == "would not close within 20 s of its cancellation"


async def test_a_second_stop_with_less_time_is_not_held_up_by_the_first(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()
    async with Watched().running(a=shielded(release)) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.stop, "a")
        await trio.sleep(1)
        await supervisor.stop("a", within_seconds=2)
        assert trio.current_time() == 3
        release.set()


async def test_outside_of_run_nothing_can_be_started() -> None:
    supervisor = Watched().supervisor
    supervisor.add(ChildSpec(name="a", run=healthy))
    with pytest.raises(Conflict):
        await supervisor.start("a")


@pytest.mark.parametrize("steps", range(6))
async def test_what_is_started_at_the_moment_of_leaving_does_not_live(autojump_clock: trio.testing.MockClock, steps: int) -> None:
    supervisor = Watched().supervisor
    supervisor.add(ChildSpec(name="a", run=healthy))
    ends: list[str] = []

    async def start() -> None:
        try:
            await supervisor.start("a")
        except Conflict:
            ends.append("refused")
        else:
            ends.append("started")

    async with trio.open_nursery() as nursery, supervisor.run():
        nursery.start_soon(start)
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
    assert ends in (["refused"], ["started"])


@pytest.mark.parametrize("order", ["start", "stop", "restart"])
async def test_who_waits_for_a_child_that_is_removed_meanwhile_is_told(
    autojump_clock: trio.testing.MockClock, order: str
) -> None:
    watched = Watched()
    supervisor = watched.supervisor
    supervisor.add(ChildSpec(name="a", run=healthy))
    told: list[str] = []

    async def give() -> None:
        with pytest.raises(NotFound):
            await getattr(supervisor, order)("a")
        told.append(order)

    async with trio.open_nursery() as nursery, supervisor.run(), supervisor._children["a"].lock:
        nursery.start_soon(give)
        await trio.testing.wait_all_tasks_blocked()
        supervisor.remove("a")
    assert told == [order]


async def test_work_that_ignores_its_end_is_a_bug(autojump_clock: trio.testing.MockClock) -> None:
    async def run(life: Life) -> None:
        life.started()
        life.connected()
        with life.must_end_within(70):
            await trio.sleep(69)
        with life.must_end_within(70):
            await trio.sleep_forever()

    watched = Watched()
    async with watched.running(a=run) as supervisor:
        await trio.sleep(139.1)
        assert supervisor.status("a").reason == "bug: Overdue: work that was cancelled did not end"


async def test_a_life_that_cannot_be_cancelled_is_abandoned_and_reported(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()

    async def stubborn(life: Life) -> None:
        life.started()
        life.connected()
        life.expect_silence(30)
        with trio.CancelScope(shield=True):
            await release.wait()
        life.connected()
        life.heard()
        raise ValueError("a ghost speaks")

    watched = Watched()
    async with watched.running(a=stubborn, well=healthy) as supervisor:
        await trio.sleep(30 + 10.1)
        status = supervisor.status("a")
        assert status.state == "parked"
        assert status.reason == "would not close within 10 s of its cancellation, after: nothing heard for 30 s"
        assert supervisor.statistics().abandoned == 1
        assert supervisor.status("well").restarts == 0
        release.set()
        await trio.testing.wait_all_tasks_blocked()
        assert supervisor.statistics().abandoned == 0
        assert supervisor.status("a").state == "parked"
    assert watched.failures == []


async def test_stopping_what_cannot_be_cancelled_returns_and_parks(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()
    async with anyio.create_task_group() as parent:
        supervisor = Supervisor(Backoff(Random(1)), now=wall)
        supervisor.add(ChildSpec(name="a", run=shielded(release)))
        async with supervisor.run(parent=parent):
            await supervisor.start("a")
            await supervisor.stop("a")
            assert trio.current_time() == 10
            assert supervisor.status("a").state == "parked"
        assert trio.current_time() == 10, "the supervisor can be left all the same"
        assert supervisor.statistics().abandoned == 1
        release.set()


async def test_restarting_what_would_not_close_starts_nothing_beside_it(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()
    async with Watched().running(a=shielded(release), b=healthy) as supervisor:
        await supervisor.restart("b")
        assert supervisor.status("b").restarts == 1
        await supervisor.restart("a")
        assert supervisor.status("a").state == "parked"
        assert supervisor.status("a").restarts == 0
        release.set()


async def test_leaving_with_something_that_cannot_be_cancelled_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()
    async with anyio.create_task_group() as parent:
        supervisor = Supervisor(Backoff(Random(1)), now=wall)
        supervisor.add(ChildSpec(name="a", run=shielded(release)))
        with trio.move_on_after(3):
            async with supervisor.run(parent=parent):
                await supervisor.start("a")
                await trio.sleep_forever()
        assert trio.current_time() == 13
        assert supervisor.statistics().abandoned == 1
        release.set()


async def test_many_crash_one_stays_well(autojump_clock: trio.testing.MockClock) -> None:
    watched = Watched()
    crashing = {f"crash{n}": failing(ValueError("x")) for n in range(30)}
    beats: list[float] = []

    async def beating(life: Life) -> None:
        life.started()
        life.connected()
        while True:
            await trio.sleep(1)
            beats.append(trio.current_time())

    async with watched.running(**crashing, well=beating) as supervisor:
        await trio.sleep(600.5)
        statistics = supervisor.statistics()
        assert (statistics.parked, statistics.running) == (30, 1)
    assert beats == list(range(1, 601))


# Any order of lives and commands.

Commands = st.lists(st.tuples(st.sampled_from(["start", "stop", "restart", "wait"]), st.floats(0, 90)), max_size=25)
Lives = st.lists(
    st.sampled_from(["healthy", "outage", "bug", "operator", "quiet", "hang", "silent", "slow close", "crash in close"]),
    max_size=40,
)


@settings(max_examples=examples(150), deadline=None)
@given(Commands, Lives)
def test_there_is_one_life_at_most_and_the_state_is_true(commands: list[tuple[str, float]], lives: list[str]) -> None:
    kinds = iter(lives)
    alive = 0

    async def run(life: Life) -> None:
        nonlocal alive
        alive += 1
        assert alive == 1, "two lives at once"
        life.started()
        try:
            await live(life, next(kinds, "healthy"))
        finally:
            alive -= 1

    async def live(life: Life, kind: str) -> None:
        if kind != "hang":
            life.connected()
        match kind:
            case "outage":
                raise TryAgain("no route", after_seconds=20)
            case "bug":
                raise KeyError("x")
            case "operator":
                raise NeedsOperator("revoked")
            case "quiet":
                return
            case "silent":
                life.expect_silence(15)
        try:
            await trio.sleep_forever()
        finally:
            if kind == "slow close":
                with trio.CancelScope(shield=True):
                    await trio.sleep(4)
            elif kind == "crash in close":
                raise ValueError("in the cleaning up")

    async def go() -> None:
        watched = Watched()
        async with watched.running(a=run) as supervisor:
            for command, seconds in commands:
                if command == "wait":
                    await trio.sleep(seconds)
                else:
                    await getattr(supervisor, command)("a")
                await trio.testing.wait_all_tasks_blocked()
                state = supervisor.status("a").state
                assert (state == "stopped") == (command == "stop" or (command == "wait" and state == "stopped"))
                if state in ("stopped", "parked"):
                    assert alive == 0
                if state == "running":
                    assert alive == 1
        assert alive == 0
        assert all(now.state != before.state for before, now in pairwise(watched.changes))

    trio.run(go, clock=trio.testing.MockClock(autojump_threshold=0))


# Parked, and looked at again.

DAY = 86_400.0
ELSEWHERE = NeedsOperator("unknown token", look_again=True)


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
