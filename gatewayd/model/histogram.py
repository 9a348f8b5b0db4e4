"""Histograms of durations: counts in fixed buckets, of constant size."""

from bisect import bisect_left
from typing import Final

from msgspec import Struct

SHORT: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, for durations that should be short."""
LONG: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 900.0, 3600.0)
"""Upper bounds in seconds, for durations that depend on an agent or a platform."""


class Histogram(Struct, frozen=True):
    """``counts[i]`` durations were at most ``bounds[i]`` seconds and longer than the bound before. The last count is of durations
    above all bounds. ``total_seconds`` is the sum of all."""

    bounds: tuple[float, ...] = SHORT
    counts: tuple[int, ...] = (0,) * (len(SHORT) + 1)
    total_seconds: float = 0.0

    @property
    def count(self) -> int:
        return sum(self.counts)


class Stopwatch:
    """Counts durations; ``histogram`` has the counts so far."""

    def __init__(self, bounds: tuple[float, ...] = SHORT) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self._total = 0.0

    def observe(self, seconds: float) -> None:
        """Count one duration. A negative one, from a clock that was set back, counts as 0."""
        seconds = max(0.0, seconds)
        self._counts[bisect_left(self._bounds, seconds)] += 1
        self._total += seconds

    @property
    def histogram(self) -> Histogram:
        return Histogram(self._bounds, tuple(self._counts), self._total)
