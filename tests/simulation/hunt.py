"""Each planted bug in a process of its own, until the simulation or its test has found it; and what came of it as a table."""

import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from linecache import getline
from traceback import walk_tb

import msgspec
import pytest
from msgspec import Struct

from tests.simulation.planted import ROOT, Bug, DoesNotApply, bugs, planted_tree

_MARK = "found: "
_TEST_SECONDS = 90.0
"""Starting Python and a browser included."""


class Found(Struct, frozen=True):
    """``after`` how many seeds, and ``by`` which invariant or test. ``found`` None: its test does not run on this machine."""

    bug: str
    found: bool | None
    what: str
    after: str = ""
    by: str = ""


def hunt_all(names: Sequence[str], jobs: int) -> int:
    """Hunt some bugs, or all; print the table. Returns the exit code: 1 when one was not found."""
    known = bugs()
    if strangers := [name for name in names if name not in known]:
        print(f"there is no planted bug {strangers[0]!r}; there are: {', '.join(known)}", file=sys.stderr)
        return 64
    wanted = [known[name] for name in names or known]
    print(f"{'bug':<28} {'seeds':>5}  {'by':<20} what was seen")
    with ThreadPoolExecutor(jobs) as pool:
        results = list(pool.map(_hunt_and_tell, wanted))
    missed = _names(results, found=False)
    print(
        f"{len(_names(results, found=True))} of {len(results)} planted bugs found"
        + (f", not: {', '.join(missed)}" if missed else "")
        + (f", not looked for: {', '.join(skipped)}" if (skipped := _names(results, found=None)) else "")
    )
    return 1 if missed else 0


def _names(results: Sequence[Found], *, found: bool | None) -> list[str]:
    return [result.bug for result in results if result.found is found]


def _hunt_and_tell(bug: Bug) -> Found:
    try:
        found = _hunt(bug)
    except DoesNotApply as error:
        found = Found(bug.name, False, str(error).splitlines()[0])
    except subprocess.TimeoutExpired:
        found = Found(bug.name, False, f"its test did not end within {_TEST_SECONDS:g} s")
    by = found.by if found.found else "not looked for" if found.found is None else "NOT FOUND"
    print(f"{found.bug:<28} {found.after:>5}  {by:<20} {found.what[:140]}", flush=True)
    return found


def _hunt(bug: Bug) -> Found:
    command = [sys.executable, "-m", "tests.simulation", "--with-bug", bug.name]
    with planted_tree(bug) as tree:
        # Where a test makes its inputs up, they are many, and the same each time.
        env = {**os.environ, "PYTHONPATH": str(tree), "CI": "1", "HYPOTHESIS_PROFILE": "slow"}
        seconds = _TEST_SECONDS if bug.test else None
        ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tree, env=env, timeout=seconds)
    last = (ran.stdout.splitlines() or [""])[-1]
    if last.startswith(_MARK):
        return msgspec.json.decode(last.removeprefix(_MARK), type=Found)
    return Found(bug.name, False, (ran.stderr.strip().splitlines() or ["it said nothing"])[-1])


def hunt_here(bug: Bug) -> int:
    """In the process in which the bug was planted. Its last line is read by ``hunt_all``."""
    found = look_by_test(bug) if bug.test else _look_by_seeds(bug)
    print(_MARK + msgspec.json.encode(found).decode())
    return 0 if found.found else 1


def _look_by_seeds(bug: Bug) -> Found:
    from tests.simulation.runs import run_seeds  # only now: with the bug in it

    for tried, result in enumerate(run_seeds(1, bug.seeds, 1), 1):
        if result.what is not None:
            return Found(bug.name, True, result.what, str(tried), result.broken or "")
    return Found(bug.name, False, f"not found within {bug.seeds} seeds", f">{bug.seeds}")


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
