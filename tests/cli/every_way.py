"""Runs commands with their streams as it is told: reads a JSON list of [program, how, arguments] and writes one of [code, stdout,
stderr]. Each runs in a child that is forked when everything is imported, and ends as a process of its own does."""

import json
import os
import pkgutil
import signal
import sys
from importlib import import_module
from pathlib import Path

import gatewayd.cli.ctl
from gatewayd.cli.gatewayctl import main as gatewayctl
from gatewayd.cli.gatewayd import main as gatewayd_main
from gatewayd.cli.streams import open_closed_streams

MAINS = {"gatewayctl": gatewayctl, "gatewayd": gatewayd_main}


def arrange(how: str, out: int) -> None:
    """``how``: what stands behind a command in a shell."""
    match how:
        case ">&-":
            os.close(1)
            sys.stdout = None
        case "2>&-":
            os.close(2)
            sys.stderr = None
            os.dup2(out, 1)
        case "<&-":
            os.close(0)
            sys.stdin = None
            os.dup2(out, 1)
        case "> /dev/full":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
        case "> /dev/full 2>&1":
            os.dup2(os.open("/dev/full", os.O_WRONLY), 1)
            os.dup2(1, 2)
        case "| true":
            reader, writer = os.pipe()
            os.close(reader)
            os.dup2(writer, 1)
        case _:
            os.dup2(out, 1)


def run(program: str, how: str, arguments: list[str], folder: Path) -> tuple[int, str, str]:
    out, err = folder / "out", folder / "err"
    child = os.fork()
    if child == 0:
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        signal.alarm(30 if arguments[0:1] in (["status"], ["webchat"]) else 2)  # Ctrl-C, for those that follow
        arrange(how, os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC))
        sys.argv = [program]
        sys.exit(MAINS[program](arguments))
    _, status = os.waitpid(child, 0)
    told_out, told_err = (path.read_text() if path.exists() else "" for path in (out, err))
    for path in (out, err):
        path.unlink(missing_ok=True)
    return os.waitstatus_to_exitcode(status), told_out, told_err


if __name__ == "__main__":
    assert not open_closed_streams()
    for module in pkgutil.iter_modules(gatewayd.cli.ctl.__path__):
        import_module(f"gatewayd.cli.ctl.{module.name}")
    asked, answers = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    told = [run(program, how, arguments, answers.parent) for program, how, arguments in asked]
    answers.write_text(json.dumps(told))
