"""The bugs that are planted: that they still apply to the source as it is, and that some of them are found."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

from tests.simulation.planted import Bug, Change, DoesNotApply, bugs, changed_source, plant

SIMULATE = Path(__file__).parents[2] / "contrib/simulate"
QUICK = ("recover-resends-sending", "press-of-a-stranger", "core-not-asked")


def source_of(module: str) -> str:
    spec = importlib.util.find_spec(module)
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).read_text()


@pytest.mark.parametrize("bug", bugs().values(), ids=lambda bug: bug.name)
def test_each_planted_bug_still_applies(bug: Bug) -> None:
    for module in {change.module for change in bug.change}:
        source = source_of(module)
        changed = changed_source(module, source, [change for change in bug.change if change.module == module])
        assert changed != source
        compile(changed, module, "exec")


def test_they_are_many_and_each_says_why_and_within_how_many_seeds() -> None:
    assert len(bugs()) >= 18
    assert all(bug.why and 0 < bug.seeds <= 300 for bug in bugs().values())


def test_a_text_that_is_not_there_once_does_not_apply() -> None:
    with pytest.raises(DoesNotApply, match="has this 0 times"):
        changed_source("m", "a = 1\n", [Change("m", "b", "c")])
    with pytest.raises(DoesNotApply, match="has this 2 times"):
        changed_source("m", "a = a\n", [Change("m", "a", "c")])


def test_a_module_that_was_imported_already_is_not_planted_into() -> None:
    with pytest.raises(DoesNotApply, match="imported already"):
        plant(Bug("late", "because", 1, (Change("pytest", "a", "b"),)))


@pytest.mark.slow
def test_quick_ones_are_found() -> None:
    ran = subprocess.run([SIMULATE, "--planted", *QUICK], capture_output=True, text=True, timeout=120, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.findall(r"^([a-z-]+) +\d+  (visible once|gated|an effect once) ", ran.stdout, re.M) == [
        ("recover-resends-sending", "visible once"),
        ("press-of-a-stranger", "gated"),
        ("core-not-asked", "an effect once"),
    ]


def test_one_that_there_is_not_is_refused() -> None:
    ran = subprocess.run([SIMULATE, "--planted", "no-such"], capture_output=True, text=True, timeout=60, check=False)
    assert (ran.returncode, ran.stdout) == (64, "")
    assert "no planted bug 'no-such'" in ran.stderr
