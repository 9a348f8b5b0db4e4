"""As process 1 of a PID namespace, as in a container: orphans that end are taken up, exit codes and signals arrive."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from gatewayd.process.pid1 import FORWARDED

UNSHARE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
SECONDS = 60.0


def _why_not() -> str | None:
    if shutil.which("unshare") is None:
        return "there is no unshare(1) here"
    tried = subprocess.run([*UNSHARE, "true"], capture_output=True, text=True, check=False, timeout=SECONDS)
    return f"no PID namespace may be made here: {tried.stderr.strip()}" if tried.returncode else None


@pytest.fixture(autouse=True)
def namespaces() -> None:
    if reason := _why_not():
        pytest.skip(reason)


PROGRAM = """
import os, subprocess, sys
from pathlib import Path
import trio
from gatewayd.process.pid1 import fork_below_init

fork_below_init()

def zombies():
    stats = [stat.read_text().rpartition(")")[2].split() for stat in Path("/proc").glob("[0-9]*/stat")]
    return sum(fields[0] == "Z" and fields[1] == "1" for fields in stats)

def orphans_left():
    return sum(line.read_bytes().startswith(b"sh\\0") for line in Path("/proc").glob("[0-9]*/cmdline"))

async def main():
    assert os.getpid() != 1
    codes = []

    async def child(code):
        codes.append((code, (await trio.run_process(["sh", "-c", f"exit {code}"], check=False)).returncode))

    async with trio.open_nursery() as nursery:
        for number in range(35):
            nursery.start_soon(trio.run_process, ["sh", "-c", "(sleep 0.2; true) & exit 0"])
            nursery.start_soon(child, number)
        in_thread = await trio.to_thread.run_sync(lambda: subprocess.run(["sh", "-c", "exit 9"]).returncode)
    with trio.fail_after(30):
        while orphans_left() or zombies():
            await trio.sleep(0.05)
    print("pid", os.getenv("LISTEN_PID"), os.getpid(), "thread", in_thread, "codes", all(a == b for a, b in codes), len(codes))
    sys.exit(7)

trio.run(main)
"""


async def test_orphans_are_taken_up_and_every_exit_code_arrives() -> None:
    with trio.fail_after(SECONDS):
        command = [*UNSHARE, sys.executable, "-c", PROGRAM]
        env = {**os.environ, "LISTEN_PID": "1"}
        ended = await trio.run_process(command, capture_stdout=True, check=False, env=env)
    words = ended.stdout.decode().split()
    assert words[1] == words[2] != "1"
    assert words[3:] == ["thread", "9", "codes", "True", "35"]
    assert ended.returncode == 7


async def test_one_that_is_killed_ends_the_container_and_says_by_what() -> None:
    program = "import os; from gatewayd.process.pid1 import fork_below_init; fork_below_init(); os.kill(os.getpid(), 9)"
    with trio.fail_after(SECONDS):
        ended = await trio.run_process([*UNSHARE, sys.executable, "-c", program], check=False)
    assert ended.returncode == 128 + 9


@asynccontextmanager
async def _gatewayd(tmp_path: Path) -> AsyncIterator[tuple[trio.Process, int]]:
    """The process of unshare(1), and the number out here of process 1 in there, when the daemon is ready."""
    log = tmp_path / "log"
    command = [*UNSHARE, sys.executable, "-m", "gatewayd", "--state-dir", str(tmp_path / "state"), "--bind", "127.0.0.1:0"]
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(command, stdout=output, stderr=output, cwd=tmp_path)
    try:
        while b"ready" not in log.read_bytes():
            assert process.returncode is None, log.read_text()
            await trio.sleep(0.1)
        [first] = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        yield process, int(first)
    finally:
        process.kill()
        await process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
async def test_the_daemon_ends_in_order_when_process_1_is_asked_to(tmp_path: Path, number: signal.Signals) -> None:
    assert number in FORWARDED
    with trio.fail_after(SECONDS):
        async with _gatewayd(tmp_path) as (process, first):
            os.kill(first, number)
            assert await process.wait() == 0
    assert "stopped" in (tmp_path / "log").read_text()


def test_elsewhere_it_does_nothing() -> None:
    program = "import os; from gatewayd.process import pid1; a = os.getpid(); pid1.fork_below_init(); print(a == os.getpid())"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, check=True).stdout == b"True\n"
