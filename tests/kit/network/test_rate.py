"""Requests against a platform that counts them, on a fake clock."""

from collections.abc import Callable

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from gatewayd.kit.network import rate
from gatewayd.kit.network.rate import Limits, Pace, RateLimits, limits_in

MUCH = 1_000_000


class Platform:
    """Counts as Discord does: a window begins with its first request. Several routes may share a bucket."""

    def __init__(self, limit: int, seconds: float, *, latency: Callable[[], float] = lambda: 0.1, bucket: str = "b") -> None:
        self.limit, self.seconds, self.latency, self.bucket = limit, seconds, latency, bucket
        self.served: list[float] = []
        self.refused = 0
        self._counts: dict[str, int] = {}
        self._ends: dict[str, float] = {}

    async def answer(self, resource: str = "") -> Limits:
        await trio.sleep(self.latency())
        now = trio.current_time()
        if now >= self._ends.get(resource, 0.0):
            self._counts[resource], self._ends[resource] = 0, now + self.seconds
        self._counts[resource] += 1
        is_refused = self._counts[resource] > self.limit
        self.refused += is_refused
        if not is_refused:
            self.served.append(now)
        headers = {
            "x-ratelimit-limit": str(self.limit),
            "x-ratelimit-remaining": str(max(self.limit - self._counts[resource], 0)),
            "x-ratelimit-reset-after": f"{self._ends[resource] - now:.12f}",
            "x-ratelimit-bucket": self.bucket,
            **({"retry-after": f"{self._ends[resource] - now:.12f}"} if is_refused else {}),
        }
        await trio.sleep(self.latency())
        return limits_in(headers, refused=is_refused)


async def ask(limits: RateLimits, platform: Platform, route: str = "GET /x", resource: str = "") -> None:
    async with limits.permit(route, resource) as permit:
        permit.settle(await platform.answer(resource))


def on_fake_clock(test: Callable[[], object]) -> None:
    trio.run(test, clock=MockClock(autojump_threshold=0))  # type: ignore[arg-type]


latencies = st.lists(st.floats(0.01, 3), min_size=1, max_size=10)


@given(st.integers(1, 6), st.floats(0.5, 10), st.integers(1, 30), latencies, st.data())
def test_a_platform_that_says_its_limits_refuses_nothing_and_is_used_fully(
    limit: int, seconds: float, count: int, latency: list[float], data: st.DataObject
) -> None:
    pauses = iter(latency * 100)
    platform = Platform(limit, seconds, latency=lambda: next(pauses))
    resources = data.draw(st.lists(st.sampled_from(["", "a", "b"]), min_size=count, max_size=count))

    async def go() -> None:
        limits = RateLimits(burst=MUCH, per_second=MUCH)
        async with trio.open_nursery() as nursery:
            for resource in resources:
                nursery.start_soon(ask, limits, platform, "GET /x", resource)
        assert (platform.refused, len(platform.served)) == (0, count)
        rounds = -(-count // limit) + 1  # the first one has a single request
        assert trio.current_time() - began < rounds * (seconds + 2 * max(latency) + 0.1) + 2 * max(latency) + 1

    began = 0.0
    on_fake_clock(go)


@given(st.integers(1, 5), st.floats(0.5, 20), st.lists(st.floats(0, 3), max_size=40))
def test_a_pace_holds_in_every_second(burst: int, per_second: float, pauses: list[float]) -> None:
    pace, now, begun = Pace(burst, per_second), 0.0, list[float]()
    for pause in pauses:
        now = max(now + pause, pace.ready_at())
        pace.take(now)
        begun.append(now)
    for start in begun:
        assert sum(start <= at < start + 0.999_999 for at in begun) <= burst + per_second


async def test_the_account_s_pace_is_over_all_routes_and_in_order(autojump_clock: MockClock) -> None:
    limits, order = RateLimits(burst=2, per_second=1), list[tuple[int, float]]()

    async def use(number: int) -> None:
        async with limits.permit(f"route {number}"):
            order.append((number, round(trio.current_time() - began)))

    began = trio.current_time()
    async with trio.open_nursery() as nursery:
        for number in range(6):
            nursery.start_soon(use, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == [(0, 0), (1, 0), (2, 1), (3, 2), (4, 3), (5, 4)]


async def test_one_bucket_serves_in_order(autojump_clock: MockClock) -> None:
    limits, platform, order = RateLimits(burst=MUCH, per_second=MUCH), Platform(2, 5), list[int]()

    async def use(number: int) -> None:
        async with limits.permit("x") as permit:
            order.append(number)
            permit.settle(await platform.answer())

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(use, number)
            await trio.testing.wait_all_tasks_blocked()
    assert order == list(range(20))


async def test_a_refusal_holds_its_route_and_a_global_one_holds_all(autojump_clock: MockClock) -> None:
    limits = RateLimits(burst=MUCH, per_second=MUCH)

    async def waits(route: str) -> float:
        began = trio.current_time()
        async with limits.permit(route):
            return round(trio.current_time() - began, 3)

    async with limits.permit("a") as permit:
        permit.settle(limits_in({"retry-after": "7", "x-ratelimit-scope": "shared"}, refused=True))
    assert (await waits("b"), await waits("a")) == (0, 7)
    async with limits.permit("a") as permit:
        permit.settle(limits_in({"retry-after": "3.5", "x-ratelimit-global": "true"}, refused=True))
    assert (await waits("b"), await waits("a")) == (3.5, 0)


async def test_a_route_without_limits_is_not_held_back(autojump_clock: MockClock) -> None:
    limits, most, now = RateLimits(burst=MUCH, per_second=MUCH), 0, 0

    async def use() -> None:
        nonlocal most, now
        async with limits.permit("x") as permit:
            now += 1
            most = max(most, now)
            await trio.sleep(1)
            permit.settle(limits_in({"content-type": "application/json"}))
            now -= 1

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(use)
    assert most == 19  # the first one was alone


async def test_routes_of_one_bucket_share_it(autojump_clock: MockClock) -> None:
    limits, platform = RateLimits(burst=MUCH, per_second=MUCH), Platform(4, 10)
    for route in ("GET /x", "POST /x"):
        await ask(limits, platform, route)
    async with trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(ask, limits, platform, "GET /x")
            nursery.start_soon(ask, limits, platform, "POST /x")
    assert (platform.refused, len(platform.served)) == (0, 14)


@given(st.lists(st.integers(0, 5), max_size=15), st.integers(1, 3))
def test_cancelled_waits_use_up_nothing_and_cancelled_requests_end(patiences: list[int], limit: int) -> None:
    async def go() -> None:
        limits, platform = RateLimits(burst=2, per_second=2), Platform(limit, 2)

        async def impatient(seconds: int) -> None:
            with trio.move_on_after(seconds / 2):
                await ask(limits, platform)

        async with trio.open_nursery() as nursery:
            for patience in patiences:
                nursery.start_soon(impatient, patience)
        with trio.fail_after(2 + 2 + 1):  # a window, the pace, and the answer
            await ask(limits, platform)
        assert sum(queue.bucket.in_flight + queue.users for queue in limits._queues.values()) == 0

    on_fake_clock(go)


async def test_a_request_that_fails_counts_as_used(autojump_clock: MockClock) -> None:
    limits, platform = RateLimits(burst=MUCH, per_second=MUCH), Platform(3, 10)
    began = trio.current_time()
    await ask(limits, platform)
    for _ in range(2):
        with pytest.raises(RuntimeError):  # noqa: PT012
            async with limits.permit("GET /x"):
                await platform.answer()
                raise RuntimeError
    assert trio.current_time() - began < 1
    await ask(limits, platform)
    assert trio.current_time() - began > 10
    assert platform.refused == 0


async def test_requests_that_all_fail_block_nobody(autojump_clock: MockClock) -> None:
    limits, platform = RateLimits(burst=MUCH, per_second=MUCH), Platform(3, 10)
    await ask(limits, platform)
    with trio.fail_after(15):
        for _ in range(20):
            async with limits.permit("GET /x"):
                pass


async def test_idle_buckets_are_forgotten(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rate, "BUCKETS", 20)
    limits, platform = RateLimits(burst=MUCH, per_second=MUCH), Platform(5, 1, latency=lambda: 0.001)
    async with limits.permit("busy", "one"):
        for number in range(100):
            await ask(limits, platform, "GET /x", str(number))
            assert len(limits._queues) <= 21
        assert ("busy", "one") in limits._queues


numbers = st.sampled_from(["", "-1", "1e9", "nan", "inf", "1.5", "²", "9" * 30, "0", "5", " 1", "true"]) | st.text(max_size=5)
names = st.sampled_from(
    [
        "x-ratelimit-limit",
        "x-ratelimit-remaining",
        "x-ratelimit-reset-after",
        "x-ratelimit-bucket",
        "retry-after",
        "x-ratelimit-global",
    ]
)


@given(st.lists(st.tuples(st.dictionaries(names, numbers), st.booleans()), max_size=8))
def test_headers_of_garbage_are_no_error_and_no_standstill(answers: list[tuple[dict[str, str], bool]]) -> None:
    async def go() -> None:
        limits = RateLimits(burst=5, per_second=5)
        for headers, refused in answers:
            async with limits.permit("x") as permit:
                permit.settle(limits_in(headers, refused=refused))
        with trio.fail_after(10_000_001):
            async with limits.permit("x"):
                pass

    on_fake_clock(go)
