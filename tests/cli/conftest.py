"""gatewayctl in an environment of its own: no home, no variables of whoever runs the tests, 80 columns."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from gatewayd.cli.gatewayctl import main
from tests.cli.fake_gatewayd import FakeGatewayd, serve


class Ran(NamedTuple):
    code: int
    out: str
    err: str


Ctl = Callable[..., Ran]


@pytest.fixture
def state_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place where gatewayctl looks for a daemon. Empty at first."""
    for name in [name for name in os.environ if name.startswith(("GATEWAYD_", "XDG_")) or name.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)
    for name in ("STATE_DIRECTORY", "NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TZ", "UTC")
    directory = tmp_path / "state"
    directory.mkdir()
    monkeypatch.setenv("GATEWAYD_STATE_DIR", str(directory))
    return directory


@pytest.fixture
def daemon(state_dir: Path) -> Iterator[FakeGatewayd]:
    """A running gatewayd that gatewayctl finds by itself."""
    with serve() as fake:
        fake.settle_into(state_dir, pid=os.getpid())
        yield fake


@pytest.fixture
def ctl(state_dir: Path, capsys: pytest.CaptureFixture[str]) -> Ctl:
    """``ctl("status", "--json")`` runs the command in this process."""

    def run(*args: str) -> Ran:
        capsys.readouterr()
        code = main(args)
        captured = capsys.readouterr()
        return Ran(code, captured.out, captured.err)

    return run
