"""The budget of IDENTIFYs, over restarts."""

from collections.abc import Awaitable, Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.channels.discord.receiving.starts import RESERVE, Starts
from gatewayd.channels.discord.wire.answers import StartLimit
from gatewayd.testing.services import ServicesInMemory

DAY = 86_400.0
CONCURRENCY_SECONDS = 5.0
NOW = 1_800_000_000.0


class Platform:
    """Counts as Discord does. The window of a day begins with its first start."""

    def __init__(self, total: int, used: int) -> None:
        self.total = total
        self.used = used
        self.window = NOW
        self.at: list[float] = []

    def limit(self, now: float) -> StartLimit:
        if now >= self.window + DAY:
            self.window, self.used = now, 0
        return StartLimit(self.total, self.total - self.used, int((self.window + DAY - now) * 1000))

    def start(self, now: float) -> None:
        self.limit(now)
        self.used += 1
        self.at.append(now)


def run(body: Callable[[], Awaitable[None]]) -> None:
    trio.run(body)


@given(
    total=st.integers(1, 1000),
    share=st.floats(0, 1),
    steps=st.lists(st.tuples(st.floats(0, 3000) | st.just(0.0), st.booleans()), min_size=1, max_size=120),
)
def test_no_storm_uses_them_up(total: int, share: float, steps: list[tuple[float, bool]]) -> None:
    """Each step wants one more after so many seconds, perhaps in a new life."""

    async def go() -> None:
        services, platform, now = ServicesInMemory(), Platform(total, int(total * share)), NOW
        before, starts = platform.used, Starts(services)
        reserve = min(RESERVE, total // 2)
        for seconds, is_restart in steps:
            now += seconds
            if is_restart:
                starts = Starts(services)
            while wait := await starts.seconds_until(platform.limit(now), now):
                now += wait
            await starts.note(now)
            platform.start(now)
            assert platform.used <= max(before, total - reserve)
        assert all(later - earlier >= CONCURRENCY_SECONDS for earlier, later in zip(platform.at, platform.at[1:], strict=False))

    run(go)


@given(st.integers(0, 10), st.integers(0, 3))
def test_a_storm_of_a_day_is_spread(total: int, used: int) -> None:
    async def go() -> None:
        starts, platform, now = Starts(ServicesInMemory()), Platform(1000, 900 + used), NOW
        for _ in range(total):
            now += await starts.seconds_until(platform.limit(now), now)
            await starts.note(now)
            platform.start(now)
        if total > 1:
            apart = (platform.at[-1] - platform.at[0]) / (total - 1)
            assert apart == pytest.approx(DAY / (100 - used - RESERVE), rel=0.2)

    run(go)


@pytest.mark.parametrize("ahead", [0.0, 1.0, 1_000_000.0])
async def test_a_clock_that_is_set_back_holds_up_nothing(ahead: float) -> None:
    services = ServicesInMemory()
    await Starts(services).note(NOW + ahead)
    wait = await Starts(services).seconds_until(StartLimit(), NOW)
    assert wait == pytest.approx(5.5 if not ahead else 0.0)
