"""Lives that ignore their cancellation."""

from random import Random

import anyio
import trio
import trio.testing

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.child import ChildSpec
from gatewayd.actor.life import Life
from gatewayd.actor.supervisor import Supervisor
from tests.actor.children import Watched, healthy, shielded, wall


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
        assert status.reason == "did not close within 10 s of its cancellation, after: nothing heard for 30 s"
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
