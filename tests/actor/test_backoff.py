import math
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gatewayd.actor.backoff import Backoff


def test_the_ceiling_doubles_until_the_longest() -> None:
    backoff = Backoff(Random(1), first_seconds=1, longest_seconds=45)
    assert [backoff.ceiling(attempt) for attempt in range(1, 9)] == [1, 2, 4, 8, 16, 32, 45, 45]


@given(st.integers(min_value=-5, max_value=10**30), st.integers())
def test_no_attempt_is_too_many(attempt: int, seed: int) -> None:
    delay = Backoff(Random(seed), longest_seconds=45).delay(attempt)
    assert 0 <= delay <= 45


def test_jitter_is_full() -> None:
    backoff = Backoff(Random(7), longest_seconds=40)
    drawn = [backoff.delay(100) for _ in range(4000)]
    assert min(drawn) < 1
    assert max(drawn) > 39
    assert abs(sum(drawn) / len(drawn) - 20) < 1


def test_the_same_seed_draws_the_same_delays() -> None:
    first, second = Backoff(Random(3)), Backoff(Random(3))
    assert [first.delay(n) for n in range(1, 20)] == [second.delay(n) for n in range(1, 20)]


@given(st.floats(min_value=0, max_value=1e9), st.integers(min_value=1, max_value=2000))
def test_what_the_platform_asks_for_is_a_minimum(asked: float, attempt: int) -> None:
    backoff = Backoff(Random(5), longest_seconds=45)
    assert asked <= backoff.delay(attempt, at_least=asked) <= max(asked, 45)


def test_a_wish_that_is_no_number_is_ignored() -> None:
    backoff = Backoff(Random(5), longest_seconds=45)
    for wish in (math.nan, math.inf, -math.inf, -1.0):
        assert 0 <= backoff.delay(3, at_least=wish) <= 4
