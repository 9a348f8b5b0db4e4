"""Children that hang: each deadline of a life, and the error for it."""

import trio
import trio.testing

from gatewayd.actor.life import Life
from gatewayd.model.errors import TryAgain
from tests.actor.children import Watched, healthy, shielded


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
    """After a SIGSTOP, the deadline may be noticed before the child reads what has arrived meanwhile."""

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
        assert supervisor.status("b").reason == "did not close within 20 s of its cancellation"


async def test_a_second_stop_with_less_time_is_not_held_up_by_the_first(autojump_clock: trio.testing.MockClock) -> None:
    release = trio.Event()
    async with Watched().running(a=shielded(release)) as supervisor, trio.open_nursery() as nursery:
        nursery.start_soon(supervisor.stop, "a")
        await trio.sleep(1)
        await supervisor.stop("a", within_seconds=2)
        assert trio.current_time() == 3
        release.set()


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
