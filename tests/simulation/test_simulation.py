"""A few seeds of the simulation, and that a seed is a run: the rest is a step of its own (contrib/check simulation)."""

import re
import subprocess
from pathlib import Path

import pytest

from tests.simulation.runs import spins_noticed

SIMULATE = Path(__file__).parents[2] / "contrib/simulate"


def simulate(*options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([SIMULATE, *options], capture_output=True, text=True, timeout=120, check=False)


def test_every_promise_holds_over_a_few_seeds() -> None:
    ran = simulate("--seeds", "6", "--from", "5001", "--jobs", "1")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert re.match(r"6 seeds in .* 0 violations$", ran.stdout.splitlines()[-1])


@pytest.mark.slow
def test_the_same_seed_is_the_same_run_in_another_process() -> None:
    first, second = (simulate("--seeds", "3", "--from", start, "--digests") for start in ("7", "8"))
    digests = [dict(re.findall(r"^(\d+) ([0-9a-f]{32})$", ran.stdout, re.M)) for ran in (first, second)]
    assert len(digests[0]) == len(digests[1]) == 3
    assert digests[0]["8"] == digests[1]["8"]
    assert digests[0]["9"] == digests[1]["9"]
    assert len({*digests[0].values(), *digests[1].values()}) == 4, "and another seed is another one"


@pytest.mark.slow
def test_a_replay_tells_what_happened_step_by_step() -> None:
    ran = simulate("--replay", "5002")
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, ran.stderr
    assert any("life 1" in line and "starts" in line for line in lines)
    assert re.match(r"seed 5002: every promise held \(\d+ steps, digest [0-9a-f]{32}\)$", lines[-1])


def test_a_loop_without_an_await_is_noticed() -> None:
    seen: list[str] = []
    with spins_noticed("seed 1", seen.append, seconds=0.01):
        while not seen:
            pass
    [what] = seen
    assert what.startswith("seed 1: 0.01 s of CPU time, and no end: a loop without an await near ")
    assert Path(__file__).name in what
