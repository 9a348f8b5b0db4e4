"""Processes under measurement: gatewayd by its command line, and what /proc says of a process."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import msgspec
import trio
from msgspec import Struct

STOP_SECONDS = 30.0
LOOK_EVERY_SECONDS = 0.005


class Endpoint(Struct):
    """endpoint.json in the state directory."""

    url: str
    pid: int


class Daemon(Struct):
    """A gatewayd that is ready. ``ready_after`` is seconds from the start of its process."""

    process: trio.Process
    url: str
    token: str
    ready_after: float

    @property
    def pid(self) -> int:
        return self.process.pid

    async def status(self) -> "StatusReport":
        """GET /v1/gateway/status"""
        async with httpx2.AsyncClient(timeout=30.0) as http:
            answer = await http.get(f"{self.url}/v1/gateway/status", headers={"Authorization": f"Bearer {self.token}"})
        answer.raise_for_status()
        return msgspec.json.decode(answer.content, type=StatusReport)


class AccountLine(Struct):
    account: str
    state: str
    reason: str | None = None


class StatusReport(Struct):
    """What the benchmarks read of the status."""

    accounts: list[AccountLine]

    def not_connected(self) -> list[AccountLine]:
        return [line for line in self.accounts if line.state != "connected"]


def allow_many_files() -> None:
    """Raise this process's limit of open files to what it may have; processes started from here inherit it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


@asynccontextmanager
async def run_process(command: Sequence[str], log: Path, env: Mapping[str, str] | None = None) -> AsyncIterator[trio.Process]:
    """A process that is ended (SIGTERM, then SIGKILL) at exit; what it prints goes to ``log``. ``env`` is added to ours.

    :raises RuntimeError: it had ended by itself, with the end of what it printed.
    """
    with log.open("wb") as output:
        process = await trio.lowlevel.open_process(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env={**os.environ, **(env or {})}
        )
    try:
        yield process
        if process.poll() is not None:
            raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}:\n{tail(log)}")
    finally:
        with trio.CancelScope(shield=True):
            await end_process(process)


async def end_process(process: trio.Process) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with trio.move_on_after(STOP_SECONDS):
            await process.wait()
    if process.poll() is None:
        process.kill()
        await process.wait()


async def wait_seen(condition: Callable[[], bool], *, at_most_seconds: float) -> None:
    """Wait for what another process does to its files.

    :raises trio.TooSlowError: it did not in time.
    """
    with trio.fail_after(at_most_seconds):
        while not condition():  # noqa: ASYNC110 - files of another process come without an event
            await trio.sleep(LOOK_EVERY_SECONDS)


def tail(log: Path) -> str:
    return log.read_text(errors="replace")[-3000:]


@asynccontextmanager
async def run_gatewayd(
    config: str,
    directory: Path,
    *,
    ready_within: float = 60.0,
    until_ready: bool = True,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Daemon]:
    """A gatewayd with this configuration (TOML) and a fresh state directory under ``directory``, until exit. ``until_ready``
    False: it is waited for until it answers, as with accounts that never connect it is never ready.

    :raises RuntimeError: it was not ready in time, or ended by itself.
    """
    state = directory / "state"
    file = directory / "gatewayd.toml"
    file.write_text(config)
    log = directory / "gatewayd.log"
    command = [sys.executable, "-m", "gatewayd", "--config", str(file), "--state-dir", str(state)]
    # No certificates: reading them here, while the daemon starts, would be counted as the daemon's time.
    async with httpx2.AsyncClient(timeout=5.0, verify=False, trust_env=False) as http:
        started = time.perf_counter()
        async with run_process(command, log, env) as process:
            endpoint = await _wait_ready(
                process, http, state, log, started + ready_within, "/readyz" if until_ready else "/health"
            )
            ready_after = time.perf_counter() - started
            token = (state / "token").read_text().strip() if (state / "token").exists() else ""
            yield Daemon(process, endpoint.url, token, ready_after)


async def _wait_ready(
    process: trio.Process, http: httpx2.AsyncClient, state: Path, log: Path, until: float, path: str
) -> Endpoint:
    while time.perf_counter() < until and process.poll() is None:
        endpoint = _read_endpoint(state / "endpoint.json")
        if endpoint is not None:
            answer = await http.get(f"{endpoint.url}{path}")
            if answer.status_code == 200:
                return endpoint
        await trio.sleep(LOOK_EVERY_SECONDS)
    raise RuntimeError(f"gatewayd was not ready in time:\n{tail(log)}")


def _read_endpoint(file: Path) -> Endpoint | None:
    try:
        return msgspec.json.decode(file.read_bytes(), type=Endpoint)
    except (FileNotFoundError, msgspec.DecodeError):
        return None


def rss_mib(pid: int) -> float:
    """Resident memory, in MiB (VmRSS of proc_pid_status(5))."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no memory any more")


def rss_below_mib(pid: int) -> float:
    """Resident memory of all that this process has started, and what that has started, in MiB."""
    parents: dict[int, int] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
    below, found = {pid}, set[int]()
    while below:
        below = {child for child, parent in parents.items() if parent in below}
        found |= below
    total = 0.0
    for child in found:
        with suppress(OSError, RuntimeError):  # it has ended, or is a zombie
            total += rss_mib(child)
    return total


def cpu_seconds(pid: int) -> float:
    """User and system time so far (fields 14 and 15 of proc_pid_stat(5))."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def cpu_percent(pid: int, seconds: float) -> float:
    """CPU used over ``seconds``, in percent of one core."""
    before, started = cpu_seconds(pid), time.perf_counter()
    await trio.sleep(seconds)
    return 100 * (cpu_seconds(pid) - before) / (time.perf_counter() - started)


def telegram_account(name: str, token_file: Path, api_base: str, *more: str) -> str:
    """One account's table; ``more`` are further lines of TOML."""
    lines = [
        f"[channels.telegram.accounts.{name}]",
        f'token = {{ file = "{token_file}" }}',
        f'api_base = "{api_base}"',
        *more,
    ]
    return "\n".join(lines) + "\n"


def write_token(directory: Path, name: str, token: str) -> Path:
    """A secret file for an account."""
    file = directory / f"{name}.token"
    file.write_text(token)
    file.chmod(0o600)
    return file
