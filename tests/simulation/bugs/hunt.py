"""Each planted bug in a process of its own, until the simulation or its test has found it; and what came of it as a table."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from linecache import getline
from traceback import walk_tb

import msgspec
import pytest
from msgspec import Struct

from tests.simulation.bugs.planted import ROOT, Bug, DoesNotApply, bugs, planted_tree

MARGIN = 5
"""Seeds that are a bug's only proof find it this much sooner than they must."""
_MARK = "found: "
_TEST_SECONDS = 90.0
"""Starting Python and a browser included."""


class Found(Struct, frozen=True):
    """``after`` how many seeds, and ``by`` which invariant or test. ``found`` None: its test does not run on this machine, or
    seeds were to find what they need not. ``late``: found with less than the margin, and no test is named."""

    bug: str
    found: bool | None
    what: str
    after: str = ""
    by: str = ""
    late: bool = False


def hunt_all(names: Sequence[str], jobs: int, first: int | None = None) -> int:
    """Hunt some bugs, or all; print the table. Returns the exit code: 1 when one was not found.

    With ``first`` those that seeds may find are looked for by seeds from there, though a test is named for them.
    """
    known = bugs()
    if strangers := [name for name in names if name not in known]:
        print(f"there is no planted bug {strangers[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 64
    wanted = [known[name] for name in names or known]
    print(f"{'bug':<28} {'seeds':>5}  {'by':<20} what was seen")
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(partial(_hunt_and_tell, first=first), wanted))
    missed = _names(results, found=False)
    print(
        f"{len(_names(results, found=True))} of {len(results)} planted bugs found"
        + (f", not: {', '.join(missed)}" if missed else "")
        + (f", not decided: {', '.join(skipped)}" if (skipped := _names(results, found=None)) else "")
        + (f", found late (name a test for them): {', '.join(late)}" if (late := [r.bug for r in results if r.late]) else "")
    )
    return 1 if missed else 0


def _names(results: Sequence[Found], *, found: bool | None) -> list[str]:
    return [result.bug for result in results if result.found is found]


def _hunt_and_tell(bug: Bug, first: int | None) -> Found:
    try:
        found = _hunt(bug, first)
    except DoesNotApply as error:
        found = Found(bug.name, False, str(error).splitlines()[0])
    except subprocess.TimeoutExpired:
        found = Found(bug.name, False, f"its test did not end within {_TEST_SECONDS:g} s")
    by = found.by if found.found else "not decided" if found.found is None else "NOT FOUND"
    print(f"{found.bug:<28} {found.after:>5}  {by:<20} {found.what[:140]}", flush=True)
    return found


def _hunt(bug: Bug, first: int | None) -> Found:
    command = [sys.executable, "-m", "tests.simulation", "--with-bug", bug.name]
    if first is not None:
        command += ["--by-seeds", "--from", str(first)]
    with planted_tree(bug) as tree:
        # Where a test makes its inputs up, they are many, and the same each time.
        env = {**os.environ, "PYTHONPATH": str(tree), "CI": "1", "HYPOTHESIS_PROFILE": "slow"}
        seconds = _TEST_SECONDS if _is_for_its_test(bug, first) else None
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tree, env=env, timeout=seconds)
    last = (ran.stdout.splitlines() or [""])[-1]
    if last.startswith(_MARK):
        return msgspec.json.decode(last.removeprefix(_MARK), type=Found)
    return Found(bug.name, False, (ran.stderr.strip().splitlines() or ["it said nothing"])[-1])


def _is_for_its_test(bug: Bug, first: int | None) -> bool:
    """A test is quick and exact: seeds look only where there is none, or where they are asked to."""
    return bool(bug.test) and (first is None or not bug.seeds)


def hunt_here(bug: Bug, first: int | None = None) -> int:
    """In the process in which the bug was planted. Its last line is read by ``hunt_all``."""
    found = look_by_test(bug) if _is_for_its_test(bug, first) else _look_by_seeds(bug, first or 1)
    _tell(found)
    return 0 if found.found else 1


def _tell(found: Found) -> None:
    print(_MARK + msgspec.json.encode(found).decode(), flush=True)


def _look_by_seeds(bug: Bug, first: int) -> Found:
    from tests.simulation.runs import run_seeds  # only now: with the bug in it

    def found(tried: int, what: str, by: str) -> Found:
        return Found(bug.name, True, what, str(tried), by, late=not bug.test and tried * MARGIN > bug.seeds)

    def found_by_spin(what: str) -> None:
        _tell(found(done + 1, what, "it spins"))
        os._exit(0)

    done = 0
    for result in run_seeds(first, bug.seeds, 1, on_spin=found_by_spin):
        done += 1  # noqa: SIM113 - found_by_spin reads it in the middle of a seed
        if result.what is not None:
            return found(done, result.what, result.broken or "")
    held = None if bug.test else False
    return Found(
        bug.name, held, f"not found within {bug.seeds} seeds" + (", but its test holds it" if bug.test else ""), f">{bug.seeds}"
    )


def look_by_test(bug: Bug) -> Found:
    """Run the test of ``bug``. It has found the bug if it fails at the line that is meant for it."""
    seen = _Seen(bug)
    options = ("-q", "-m", "", "-p", "no:randomly", "-p", "no:cacheprovider")
    code = pytest.main([*options, str(ROOT / bug.test)], plugins=[seen])
    if bug.assertion in seen.failed:
        return Found(bug.name, True, f"{bug.test.removeprefix('tests/')}: {bug.assertion}", by="a test")
    if seen.failed:
        return Found(bug.name, False, f"its test failed elsewhere: {seen.failed[0]}")
    if seen.skipped:
        return Found(bug.name, None, f"its test was skipped: {seen.skipped[0]}")
    return Found(bug.name, False, "its test passed" if code == 0 else f"its test did not run: pytest ended with {code}")


class _Seen:
    """``failed``: of each failed assertion the line in the file of the bug's test, of everything else what it was."""

    def __init__(self, bug: Bug) -> None:
        self._file = str(ROOT / bug.test.partition("::")[0])
        self.failed: list[str] = []
        self.skipped: list[str] = []

    def pytest_exception_interact(self, call: pytest.CallInfo[object]) -> None:
        assert call.excinfo is not None
        self.failed += [self._line_of(error) for error in _leaves(call.excinfo.value)]

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped:
            self.skipped.append(str(report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr))

    def _line_of(self, error: BaseException) -> str:
        lines = [number for frame, number in walk_tb(error.__traceback__) if frame.f_code.co_filename == self._file]
        if isinstance(error, AssertionError) and lines:
            return getline(self._file, lines[-1]).strip()
        return repr(error)


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for each in error.exceptions:
            yield from _leaves(each)
    else:
        yield error
