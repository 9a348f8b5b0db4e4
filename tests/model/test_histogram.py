"""Durations in buckets: each counted once, in the right one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.model.histogram import LONG, SHORT, Stopwatch


@pytest.mark.parametrize("bounds", [SHORT, LONG])
def test_the_bounds_grow(bounds: tuple[float, ...]) -> None:
    assert list(bounds) == sorted(set(bounds))


@given(st.lists(st.floats(0, 10_000)))
def test_a_bucket_holds_what_is_at_most_its_bound(durations: list[float]) -> None:
    watch = Stopwatch(LONG)
    for seconds in durations:
        watch.observe(seconds)
    found = watch.histogram
    assert found.count == len(durations)
    assert found.total_seconds == pytest.approx(sum(durations))
    for index, bound in enumerate(LONG, 1):
        assert sum(found.counts[:index]) == sum(seconds <= bound for seconds in durations)


def test_a_clock_that_was_set_back_counts_as_no_time() -> None:
    watch = Stopwatch()
    watch.observe(-3600.0)
    assert (watch.histogram.counts[0], watch.histogram.total_seconds) == (1, 0.0)
