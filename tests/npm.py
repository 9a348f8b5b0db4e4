"""Packages of npm that tests run: installed once, into a folder that git ignores, by whichever test needs them first.

There is no lock file of npm's: it would list the binaries of the platform that wrote it only. A package.json pins exactly.
"""

import fcntl
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

CACHE = Path(__file__).parents[1] / ".cache" / "npm"
_INSTALL_SECONDS = 600


def installed(package_json: Path, package: str, finish: Callable[[Path], None] = lambda _: None) -> Path:
    """The folder with ``node_modules`` of what a package.json names. Several processes may ask at once.

    The version of ``package``, one of the dependencies, names the folder. ``finish`` gets it when it is new. Skips the test where
    there is no npm; fails it where npm cannot install.
    """
    home = CACHE / f"{package}-{msgspec.json.decode(package_json.read_bytes())['dependencies'][package]}"
    CACHE.mkdir(parents=True, exist_ok=True)
    with _locked(CACHE / "lock"):
        if not home.exists():
            if shutil.which("npm") is None:
                pytest.skip("npm is not installed")
            _install(package_json, home, finish)
    return home


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _install(package_json: Path, home: Path, finish: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(dir=CACHE) as scratch:
        shutil.copy(package_json, scratch)
        command = ["npm", "install", "--no-package-lock", "--ignore-scripts", "--no-audit", "--no-fund"]
        done = subprocess.run(command, cwd=scratch, capture_output=True, text=True, timeout=_INSTALL_SECONDS, check=False)
        assert done.returncode == 0, f"npm could not install {package_json}:\n{done.stdout}{done.stderr}"
        finish(Path(scratch))
        Path(scratch).rename(home)
        Path(scratch).mkdir()  # what the context manager is going to remove
