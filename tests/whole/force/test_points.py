"""The named points: what docs/reliability-points.md says of them, and that each names code that is there."""

import importlib
from pathlib import Path

import pytest

from tests.whole.force.points import POINTS, Point

ROOT = Path(__file__).parents[3]


def test_the_page_names_each_in_the_same_words() -> None:
    page = (ROOT / "docs/reliability-points.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert rows == [f"| `{point.name}` | {point.says} |" for point in POINTS.values()]


@pytest.mark.parametrize("point", POINTS.values(), ids=list(POINTS))
def test_what_a_point_names_is_there(point: Point) -> None:
    module, _, path = point.target.partition(":")
    found: object = importlib.import_module(module)
    for name in path.split("."):
        found = getattr(found, name)
    assert callable(found)
