"""Corners: which seeds have one."""

from collections import Counter

from tests.simulation.outside.corners import CORNERS, corner_of


def test_of_any_twenty_seeds_in_a_row_each_corner_has_one() -> None:
    for first in (1, 7, 5_000_000):
        met = Counter(corner_of(seed) for seed in range(first, first + 20))
        assert [met[each] for each in (None, *CORNERS)] == [15, 1, 1, 1, 1, 1]
