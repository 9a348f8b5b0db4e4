"""The IRC channel is a package of its own: its tests run as its author runs them, in a process where it is installed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.installed import register

PACKAGE = Path(__file__).parents[2] / "contrib" / "examples" / "irc"


@pytest.mark.slow
@pytest.mark.parametrize("marked", ["not slow", "slow"])
def test_its_own_tests_pass(marked: str, tmp_path: Path) -> None:
    """The slow ones need a real InspIRCd, and are skipped without it."""
    register((PACKAGE / "pyproject.toml").read_text(), tmp_path)
    path = os.pathsep.join((str(tmp_path), str(PACKAGE)))
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--basetemp", str(tmp_path / "t"), "-m", marked],
        cwd=PACKAGE,
        env={**kept, "PYTHONPATH": path, "HYPOTHESIS_STORAGE_DIRECTORY": str(tmp_path / "hypothesis")},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    assert " passed" in done.stdout or marked == "slow"
