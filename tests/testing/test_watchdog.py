"""A test that hangs is ended and told where, whatever holds it up."""

import math
import signal
import time
from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from gatewayd.testing import watchdog
from gatewayd.testing.watchdog import Hung, deadline


async def wait_for_nothing() -> None:
    await trio.sleep_forever()


async def ignore_everything() -> None:
    with trio.CancelScope(shield=True):
        await wait_for_nothing()


async def test_what_ends_in_time_is_not_touched(autojump_clock: MockClock) -> None:
    before = signal.getsignal(signal.SIGALRM)
    async with deadline(10.0):
        await trio.sleep(9.0)
    with pytest.raises(KeyError):
        async with deadline(10.0):
            raise KeyError("its own error")
    assert trio.current_time() == 9.0
    assert signal.getsignal(signal.SIGALRM) is before


async def watched(work: Callable[[], Awaitable[None]], seconds: float = 10.0) -> None:
    async with deadline(seconds):
        await work()


async def test_a_hang_is_told_with_the_tasks_and_where_they_wait(autojump_clock: MockClock) -> None:
    async def a_test() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait_for_nothing, name="the driver")
            await trio.sleep_forever()

    with pytest.raises(Hung) as caught:
        await watched(a_test)
    first, second = str(caught.value).splitlines()[1:]
    assert first.endswith("in test_a_hang_is_told_with_the_tasks_and_where_they_wait.<locals>.a_test")
    assert second.startswith("  the driver: ")
    assert second.endswith("in wait_for_nothing")


async def test_a_shield_does_not_help(autojump_clock: MockClock) -> None:
    async def a_test() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ignore_everything)
            await ignore_everything()

    with pytest.raises(Hung, match="in wait_for_nothing"):
        await watched(a_test)


async def test_a_new_shield_at_the_end_does_not_help(autojump_clock: MockClock) -> None:
    async def a_test() -> None:
        try:
            await wait_for_nothing()
        finally:
            await ignore_everything()

    with pytest.raises(Hung):
        await watched(a_test)


async def test_what_else_goes_wrong_is_the_cause(autojump_clock: MockClock) -> None:
    async def a_test() -> None:
        try:
            await wait_for_nothing()
        finally:
            raise KeyError("while it ended")

    with pytest.raises(Hung) as caught:
        await watched(a_test)
    assert isinstance(caught.value.__cause__, KeyError)


async def test_the_scopes_around_it_stay_shielded(autojump_clock: MockClock) -> None:
    with trio.CancelScope(shield=True) as around:
        with pytest.raises(Hung):
            await watched(ignore_everything)
        assert around.shield


async def block() -> None:
    time.sleep(30)  # noqa: ASYNC251


@pytest.mark.parametrize("work", [ignore_everything, block])
async def test_real_time_counts_too(work: Callable[[], Awaitable[None]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog, "REAL_SECONDS", 0.05)
    monkeypatch.setattr(watchdog, "LAST_RESORT_SECONDS", 0.05)
    began_at = time.monotonic()
    with pytest.raises(Hung):
        await watched(work, math.inf)
    assert time.monotonic() - began_at < 10
