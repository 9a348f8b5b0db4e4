"""The supervisor: start, stop, and any order of lives and commands, on a fake clock."""

from itertools import count, pairwise

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from gatewayd.actor.border import Bug
from gatewayd.actor.child import ChildSpec
from gatewayd.actor.life import Life
from gatewayd.model.errors import Conflict, NeedsOperator, NotFound, TryAgain
from tests.actor.children import EPOCH, Watched, failing, healthy
from tests.examples import examples


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
