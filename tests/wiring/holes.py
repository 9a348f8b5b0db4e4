"""``contrib/wiring-holes``: leave out each argument and each statement of gatewayd/wiring.py in turn, and see that it is noticed.

By mypy, or by the tests of this folder: what neither notices is a hole. The work is done on a copy of the tree.
"""

import argparse
import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
WIRING: Final = "gatewayd/wiring.py"
MYPY_SECONDS: Final = 120.0
MEMORY: Final = "/dev/shm"  # noqa: S108
"""The tests commit a lot, and no disk is to be tested here."""
TESTS_SECONDS: Final = 60.0
"""A mutant whose tests hang for so long is noticed, too. They take some seconds."""


@dataclass(frozen=True)
class Mutant:
    """The source without one thing, and where and what that was."""

    line: int
    what: str
    source: str

    def __str__(self) -> str:
        return f"{WIRING}:{self.line}: without {self.what}"


def mutants(source: str) -> Iterator[Mutant]:
    """One for each statement and each argument inside a function. Docstrings stay."""
    for number, function in enumerate(functions(ast.parse(source))):
        count = len(list(removals(function)))
        for index in range(count):
            tree = ast.parse(source)
            line, what = remove(functions(tree)[number], index)
            yield Mutant(line, what, ast.unparse(tree))


def functions(tree: ast.Module) -> list[ast.AST]:
    return [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


Removal = tuple[list[ast.stmt] | list[ast.expr] | list[ast.keyword], int]
"""A list in the tree, and the place in it."""


def removals(function: ast.AST) -> Iterator[Removal]:
    for node in ast.walk(function):
        for field in ("body", "orelse", "finalbody"):
            body: object = getattr(node, field, None)
            if isinstance(body, list):
                yield from ((body, place) for place, statement in enumerate(body) if not is_docstring(statement))
        if isinstance(node, ast.Call):
            for given in (node.args, node.keywords):
                yield from ((given, place) for place in range(len(given)))


def remove(function: ast.AST, index: int) -> tuple[int, str]:
    """Take out what has this number. Returns its line and what it was."""
    where, place = list(removals(function))[index]
    gone = where[place]
    if isinstance(gone, ast.stmt) and len(where) == 1:
        where[place] = ast.copy_location(ast.Pass(), gone)  # type: ignore[call-overload]
    else:
        del where[place]
    return gone.lineno, ast.unparse(gone).partition("\n")[0]


def is_docstring(statement: ast.stmt) -> bool:
    return isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)


class Copy:
    """A copy of the tree, in which the wiring is changed; with a type checker that keeps what it knows of the rest."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._status = folder / "dmypy.json"
        ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
        for name in ("gatewayd", "tests"):
            shutil.copytree(ROOT / name, folder / name, ignore=ignored)
        shutil.copy(ROOT / "pyproject.toml", folder)
        self._environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}

    def write(self, source: str) -> None:
        (self._folder / WIRING).write_text(source)

    def type_error(self) -> str | None:
        """What mypy says first against the wiring; None: it accepts it."""
        command = ["mypy.dmypy", "--status-file", str(self._status), "run", "--", "--strict", WIRING]
        done = self._run(command, MYPY_SECONDS)
        assert done is not None, "the type checker hangs"
        errors = [line for line in done.stdout.splitlines() if ": error:" in line]
        assert errors or done.returncode == 0, done.stdout + done.stderr
        return errors[0].partition(": error: ")[2] if errors else None

    def failed_test(self, tests: str) -> str | None:
        """The first test that fails; None: all pass."""
        done = self._run(
            ["pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "--basetemp=state", tests],
            TESTS_SECONDS,
        )
        if done is None:
            return f"the tests hang for {TESTS_SECONDS:g} s"
        if done.returncode == 0:
            return None
        failed = [line for line in done.stdout.splitlines() if line.startswith(("FAILED", "ERROR"))]
        return (failed or ["the tests do not run"])[0].partition(" - ")[0]

    def close(self) -> None:
        self._run(["mypy.dmypy", "--status-file", str(self._status), "kill"], MYPY_SECONDS)

    def _run(self, module: list[str], seconds: float) -> subprocess.CompletedProcess[str] | None:
        command = [sys.executable, "-m", *module]
        try:
            return subprocess.run(
                command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=seconds, check=False
            )
        except subprocess.TimeoutExpired:
            return None


_BY_CHANCE = ("wait_flushed", "_FLUSH_SECONDS")
"""The last event is mostly written without the wait for it, too: Trio runs what is ready in a random order."""


def find_holes(tests: str, *, talk: bool) -> list[Mutant]:
    """What nobody misses. :raises SystemExit: the wiring as it is does not pass."""
    holes = []
    source = (ROOT / WIRING).read_text()
    noticed_by = {"mypy": 0, "the tests": 0}
    began_at = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="wiring-holes-", dir=MEMORY if os.path.isdir(MEMORY) else None) as folder:
        copy = Copy(Path(folder))
        try:
            copy.write(ast.unparse(ast.parse(source)))
            if (why := copy.type_error() or copy.failed_test(tests)) is not None:
                raise SystemExit(f"with nothing left out: {why}")
            for mutant in mutants(source):
                copy.write(mutant.source)
                error = copy.type_error()
                failed = None if error is not None else copy.failed_test(tests)
                if error is not None or failed is not None:
                    noticed_by["mypy" if error is not None else "the tests"] += 1
                elif not any(word in str(mutant) for word in _BY_CHANCE):
                    holes.append(mutant)
                if talk or (error is None and failed is None):
                    print(f"{mutant}: {error or failed or 'NOBODY MISSES IT'}", flush=True)
        finally:
            copy.close()
    seconds = time.monotonic() - began_at
    told = ", ".join(f"{count} noticed by {who}" for who, count in noticed_by.items())
    print(f"{sum(noticed_by.values()) + len(holes)} left out in {seconds:.0f} s: {told}, {len(holes)} holes")
    return holes


def main() -> None:
    parser = argparse.ArgumentParser(prog="contrib/wiring-holes", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tests", default="tests/wiring", help="the tests that are to notice what mypy accepts")
    parser.add_argument("--verbose", action="store_true", help="say of everything that is left out who notices it")
    options = parser.parse_args()
    raise SystemExit(1 if find_holes(options.tests, talk=options.verbose) else 0)


if __name__ == "__main__":
    main()
