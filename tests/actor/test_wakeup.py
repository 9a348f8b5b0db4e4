"""The event that can be used again and again."""

import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from gatewayd.actor.wakeup import Wakeup


async def test_every_waiter_is_woken_once_by_each_notify(nursery: trio.Nursery) -> None:
    wakeup, woken = Wakeup(), []

    async def wait(name: str) -> None:
        while True:
            await wakeup.wait()
            woken.append(name)

    nursery.start_soon(wait, "a")
    nursery.start_soon(wait, "b")
    for times in (1, 2):
        await wait_all_tasks_blocked()
        wakeup.notify()
        wakeup.notify()
        await wait_all_tasks_blocked()
        assert sorted(woken) == ["a"] * times + ["b"] * times
    nursery.cancel_scope.cancel()


async def test_who_waits_is_not_woken_by_what_was_before(autojump_clock: MockClock) -> None:
    wakeup = Wakeup()
    wakeup.notify()
    with trio.move_on_after(1) as waited:
        await wakeup.wait()
    assert waited.cancelled_caught


async def test_who_takes_misses_nothing_and_is_woken_once_for_all_of_it(autojump_clock: MockClock) -> None:
    wakeup = Wakeup()
    wakeup.notify()
    wakeup.notify()
    await wakeup.take()
    with trio.move_on_after(1) as waited:
        await wakeup.take()
    assert waited.cancelled_caught
    with trio.CancelScope() as cancelled:
        cancelled.cancel()
        wakeup.notify()
        await wakeup.take()
    assert cancelled.cancelled_caught
    await wakeup.take()


async def test_what_comes_while_one_looks_is_not_missed() -> None:
    wakeup = Wakeup()
    upcoming = wakeup.upcoming()
    assert not upcoming.is_set()
    wakeup.notify()
    await upcoming.wait()
    assert not wakeup.upcoming().is_set()
