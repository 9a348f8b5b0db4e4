"""Every command with a stdout that is closed, full, or read by nobody, and without a stdin: one sentence and an exit code."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from gatewayd.cli.ctl.exit_codes import INTERRUPTED
from gatewayd.cli.streams import IO_ERROR
from tests.cli.test_gatewayctl import commands
from tests.whole.process import daemon

DRIVER = Path(__file__).parent / "every_way.py"
HOWS = ("", ">&-", "> /dev/full", "| true", "<&-")
Told = dict[tuple[str, str], tuple[int, str, str]]
"""By the command and how it was run: its exit code, and what was on stdout and stderr."""


def arguments_of_all() -> list[list[str]]:
    """Every command of gatewayctl, with something for whatever it needs."""
    options = {"route": ["--channel", "webchat", "--account", "main", "--peer", "dm:x"], "webchat revoke": ["--name", "x"]}
    options["new-channel"] = ["--into", "/dev/null/nowhere"]  # the second time it would find what the first has written
    found = []
    for name, params in commands():
        needed = ["x" for param in params if param.param_type_name == "argument" and param.required]
        found.append([*name.split(), *options.get(name, []), *needed])
    return [*found, ["--help"], ["--version"], ["status", "--help"], ["status", "--json"], []]


async def run_all(program: str, rows: list[list[str]], hows: tuple[str, ...], tmp_path: Path) -> Told:
    asked = [(program, how, row) for row in rows for how in hows]
    (tmp_path / "asked").write_text(json.dumps(asked))
    command = [sys.executable, "-W", "error", str(DRIVER), str(tmp_path / "asked"), str(tmp_path / "told")]
    with trio.fail_after(400):
        done = await trio.run_process(command, capture_stdout=True, stderr=subprocess.STDOUT, check=False)
    assert (done.returncode, done.stdout) == (0, b""), done.stdout.decode()
    told = json.loads((tmp_path / "told").read_text())
    return {(" ".join(row), how): tuple(said) for (_, how, row), said in zip(asked, told, strict=True)}


def check(told: Told) -> None:
    for (command, how), (code, _, err) in told.items():
        what = (command, how, code, err)
        assert "Traceback" not in err, what
        assert "Exception ignored" not in err, what
        as_usual, out, said = told[command, ""]
        match how:
            case _ if INTERRUPTED in (code, as_usual):
                continue  # it follows, until Ctrl-C
            case ">&-":
                assert (code, err.count("\n")) == (IO_ERROR, 1), what
            case "> /dev/full" if out:
                assert code == IO_ERROR, what
                assert err.splitlines()[-1].endswith("What was asked for may have been done."), what
            case "| true" if out:
                assert code in (0, as_usual), what
            case _:
                assert code == as_usual, what
                assert err.count("\n") == said.count("\n"), what


@pytest.mark.slow
async def test_commands_of_gatewayctl(state_dir: Path, tmp_path: Path) -> None:
    rows = [["status"], ["webchat", "link"]]
    async with daemon(state_dir):
        told = await run_all("gatewayctl", rows, HOWS, tmp_path)
    check(told)
    assert sum(bool(out) for (_, how), (_, out, _) in told.items() if not how) == 2


@pytest.mark.slow
async def test_every_command_of_gatewayctl(state_dir: Path, tmp_path: Path) -> None:
    async with daemon(state_dir):
        told = await run_all("gatewayctl", arguments_of_all(), HOWS, tmp_path)
    check(told)
    assert sum(bool(out) for (_, how), (_, out, _) in told.items() if not how) > 15


@pytest.mark.slow
async def test_every_command_of_gatewayd_but_the_daemon(tmp_path: Path, state_dir: Path) -> None:
    rows = [["--help"], ["check-config"], ["init", str(tmp_path / "new.toml")]]
    told = await run_all("gatewayd", rows[:-1], HOWS, tmp_path)
    check(told)
    for how in (">&-", "> /dev/full"):
        (tmp_path / "new.toml").unlink(missing_ok=True)
        [(code, _, err)] = (await run_all("gatewayd", rows[-1:], (how,), tmp_path)).values()
        assert (code, err.count("\n")) == (IO_ERROR, 1)
        assert (tmp_path / "new.toml").exists()


@pytest.mark.slow
@pytest.mark.parametrize("program", ["gatewayctl", "gatewayd"])
async def test_with_nowhere_to_say_it_there_is_the_exit_code(tmp_path: Path, state_dir: Path, program: str) -> None:
    told = await run_all(program, [["--version"], ["--nonsense"]], ("2>&-", "> /dev/full 2>&1"), tmp_path)
    version, nonsense = [[told[args, how][0] for how in ("2>&-", "> /dev/full 2>&1")] for args in ("--version", "--nonsense")]
    assert version == [0, IO_ERROR]
    assert 0 not in nonsense
