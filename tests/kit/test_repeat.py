"""What changes nothing is asked again, a few times and not for long; everything else is told at once."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from trio.testing import MockClock

from gatewayd.kit.repeat import ATTEMPTS, WITHIN_SECONDS, repeat
from gatewayd.model.errors import NeedsOperator, TryAgain


def failing(*errors: Exception, seconds: float = 0.0) -> tuple[Callable[[], Awaitable[str]], list[float]]:
    """A call that fails so, one time after the other, and then succeeds; and when it was made."""
    left, made = list(errors), list[float]()

    async def call() -> str:
        made.append(trio.current_time())
        await trio.sleep(seconds)
        if left:
            raise left.pop(0)
        return "done"

    return call, made


async def test_an_outage_of_a_moment_is_not_seen(autojump_clock: MockClock) -> None:
    call, made = failing(TryAgain("reset"), TryAgain("reset"))
    assert await repeat(call) == "done"
    assert made == [0.0, 0.5, 1.5]


async def test_the_last_attempts_error_is_told(autojump_clock: MockClock) -> None:
    call, made = failing(*[TryAgain(f"reset {n}") for n in range(ATTEMPTS)])
    with pytest.raises(TryAgain, match=f"reset {ATTEMPTS - 1}"):
        await repeat(call)
    assert len(made) == ATTEMPTS


@pytest.mark.parametrize("error", [NeedsOperator("401"), TryAgain("429", after_seconds=7.0), KeyError("a bug")])
async def test_what_does_not_pass_by_itself_is_told_at_once(error: Exception, autojump_clock: MockClock) -> None:
    call, made = failing(error)
    with pytest.raises(type(error)) as caught:
        await repeat(call)
    assert (caught.value, len(made)) == (error, 1)


async def test_what_took_long_is_not_tried_again(autojump_clock: MockClock) -> None:
    call, made = failing(TryAgain("no answer in time"), seconds=WITHIN_SECONDS)
    with pytest.raises(TryAgain):
        await repeat(call)
    assert len(made) == 1


async def test_who_is_cancelled_stops_trying(autojump_clock: MockClock) -> None:
    call, made = failing(*[TryAgain("reset")] * ATTEMPTS)
    with trio.move_on_after(0.2) as scope:
        await repeat(call)
    assert (scope.cancelled_caught, len(made)) == (True, 1)
