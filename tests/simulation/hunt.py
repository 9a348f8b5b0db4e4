"""Each planted bug in a process of its own, until the simulation has found it; and what came of it as a table."""

import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import msgspec
from msgspec import Struct

from tests.simulation.planted import Bug, bugs

_MARK = "found: "


class Found(Struct, frozen=True):
    """After how many seeds, and by which invariant. ``seed`` None: not within the stated number, or it did not apply."""

    bug: str
    seed: int | None
    tried: int
    invariant: str | None
    what: str


def hunt_all(names: Sequence[str], jobs: int) -> int:
    """Hunt some bugs, or all; print the table. Returns the exit code: 1 when one was not found."""
    known = bugs()
    if strangers := [name for name in names if name not in known]:
        print(f"there is no planted bug {strangers[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 64
    wanted = [known[name] for name in names or known]
    print(f"{'bug':<28} {'seeds':>5}  {'invariant':<20} what was seen")
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(_hunt_and_tell, wanted))
    missed = [result.bug for result in results if result.seed is None]
    print(
        f"{len(results) - len(missed)} of {len(results)} planted bugs found" + (f", not: {', '.join(missed)}" if missed else "")
    )
    return 1 if missed else 0


def _hunt_and_tell(bug: Bug) -> Found:
    command = [sys.executable, "-m", "tests.simulation", "--with-bug", bug.name]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    last = (ran.stdout.splitlines() or [""])[-1]
    if not last.startswith(_MARK):
        said = (ran.stderr.strip().splitlines() or ["it said nothing"])[-1]
        found = Found(bug.name, None, 0, None, said)
    else:
        found = msgspec.json.decode(last.removeprefix(_MARK), type=Found)
    tried = str(found.tried) if found.seed is not None else f">{found.tried}"
    print(f"{found.bug:<28} {tried:>5}  {found.invariant or 'NOT FOUND':<20} {found.what[:100]}", flush=True)
    return found


def hunt_here(bug: Bug) -> int:
    """In the process in which the bug was planted: seeds until one finds it. Its last line is read by ``hunt_all``."""
    from tests.simulation.runs import run_seeds  # only now: with the bug in it

    found = Found(bug.name, None, bug.seeds, None, f"not found within {bug.seeds} seeds")
    for tried, result in enumerate(run_seeds(1, bug.seeds, 1), 1):
        if result.what is not None:
            found = Found(bug.name, result.seed, tried, result.broken, result.what)
            break
    print(_MARK + msgspec.json.encode(found).decode())
    return 0 if found.seed is not None else 1
