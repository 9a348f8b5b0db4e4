"""The daemon as a process of its own: start it, ask it, stop it, kill it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import httpx2
import msgspec
import trio

from gatewayd.kit.orphans import MARKER_VARIABLE
from gatewayd.model.status import Snapshot

START_SECONDS = 30.0
STOP_SECONDS = 30.0
PROGRAM = ("-m", "gatewayd")

Condition = Callable[[Snapshot], bool]


class EndedEarly(AssertionError):
    """The process ended before it was ready, with ``code``."""

    def __init__(self, code: int, said: str) -> None:
        super().__init__(f"gatewayd ended with {code}:\n{said}")
        self.code = code


class Daemon:
    """One running gatewayd. Its state directory outlives it."""

    def __init__(self, process: trio.Process, state_dir: Path, url: str, token: str, log: Path) -> None:
        self.process = process
        self.state_dir = state_dir
        self.url = url
        self.token = token
        self.log = log

    def client(self, *, token: str | None = None) -> httpx2.AsyncClient:
        """A client with the operator's token."""
        headers = {"Authorization": f"Bearer {token or self.token}"}
        return httpx2.AsyncClient(base_url=self.url, headers=headers, timeout=30.0, verify=False, trust_env=False)

    async def get(self, path: str) -> dict[str, object]:
        """The JSON of a GET, which must succeed."""
        async with self.client() as client:
            response = await client.get(path)
        assert response.status_code == 200, response.text
        answer: dict[str, object] = response.json()
        return answer

    async def wait_status(self, condition: Condition) -> Snapshot:
        """The first snapshot that fulfils ``condition``."""
        async with self.client() as client:
            while True:
                answer = await client.get("/v1/gateway/status")
                snapshot = msgspec.json.decode(answer.content, type=Snapshot)
                if condition(snapshot):
                    return snapshot
                await trio.sleep(0.02)

    async def status(self) -> Snapshot:
        """The snapshot now."""
        return await self.wait_status(lambda snapshot: True)

    async def wait_logged(self, event: str, times: int = 1) -> None:
        """Wait until the log holds this event so many times."""
        with trio.fail_after(STOP_SECONDS):
            while self.log.read_text().count(f'"event":"{event}"') < times:  # noqa: ASYNC110
                await trio.sleep(0.01)

    def kill(self) -> None:
        """As the kernel does it: at once, with nothing said."""
        self.process.send_signal(signal.SIGKILL)

    async def wait(self) -> int:
        """Its exit code."""
        with trio.fail_after(STOP_SECONDS):
            return await self.process.wait()

    async def stop(self) -> int:
        """Ask it to stop, and wait for its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return await self.wait()


def _command(state_dir: Path, arguments: tuple[str, ...], program: tuple[str, ...] = PROGRAM) -> list[str]:
    command = [sys.executable, "-W", "error", *program, "--state-dir", str(state_dir)]
    return [*command, *([] if "--bind" in arguments else ["--bind", "127.0.0.1:0"]), *arguments]


def _environment(home: Path, env: dict[str, str] | None = None) -> dict[str, str]:
    """Nothing of the tester's own daemon."""
    ours = ("GATEWAYD_", "XDG_", "STATE_DIRECTORY", "NOTIFY_SOCKET", "CREDENTIALS_DIRECTORY")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return environment | {"HOME": str(home), "PYTHONUNBUFFERED": "1"} | (env or {})


async def run_to_end(state_dir: Path, *arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Start a daemon that is expected to refuse; its exit code and everything it said."""
    with trio.fail_after(START_SECONDS):
        done = await trio.run_process(
            _command(state_dir, arguments),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            env=_environment(state_dir, env),
        )
    return done.returncode, (done.stdout + done.stderr).decode()


@asynccontextmanager
async def daemon(
    state_dir: Path,
    config: str | None = None,
    *,
    arguments: tuple[str, ...] = (),
    env: dict[str, str] | None = None,
    program: tuple[str, ...] = PROGRAM,
    log: Path | None = None,
    pass_fds: tuple[int, ...] = (),
) -> AsyncIterator[Daemon]:
    """A daemon on a free port, killed on leaving if it still runs. ``config`` is the text of its configuration file,
    ``program`` what Python runs: another one that runs gatewayd in its process. ``log`` is a file in the state directory unless
    another is given.

    :raises EndedEarly: it ended before it was ready.
    """
    state_dir.mkdir(parents=True, exist_ok=True)
    if config is not None:
        file = state_dir / "gatewayd.toml"
        file.write_text(config)
        arguments = ("--config", str(file), *arguments)
    log = log or state_dir / "log"
    endpoint = state_dir / "endpoint.json"
    endpoint.unlink(missing_ok=True)
    with log.open("ab") as output:
        process = await trio.lowlevel.open_process(
            _command(state_dir, arguments, program),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=_environment(state_dir, env),
            pass_fds=pass_fds,
        )
    try:
        url = await _wait_for_endpoint(process, endpoint, log)
        token = (state_dir / "token").read_text().strip() if (state_dir / "token").exists() else ""
        yield Daemon(process, state_dir, url, token, log)
    finally:
        with trio.CancelScope(shield=True):
            left_running = process.poll() is None
            if left_running:
                process.kill()
            await process.wait()
            if left_running:
                _end_agents_of(state_dir)


def _end_agents_of(state_dir: Path) -> None:
    """What a killed daemon leaves behind, its next start would end (gatewayd/kit/orphans.py); here there is none."""
    for environment in Path("/proc").glob("[0-9]*/environ"):
        with suppress(OSError):
            marks = [mark for mark in environment.read_bytes().split(b"\0") if mark.startswith(MARKER_VARIABLE.encode())]
            if any(bytes(state_dir / "agents") in mark for mark in marks):
                os.kill(int(environment.parent.name), signal.SIGKILL)


async def _wait_for_endpoint(process: trio.Process, endpoint: Path, log: Path) -> str:
    with trio.fail_after(START_SECONDS):
        while not endpoint.exists():
            if (code := process.poll()) is not None:
                raise EndedEarly(code, log.read_text())
            # Another process: there is nothing of ours to wait on.
            await trio.sleep(0.01)
    found: dict[str, str] = json.loads(endpoint.read_text())
    return found["url"]
