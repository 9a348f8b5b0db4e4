"""The fake as a process of its own, held by a test or a benchmark."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx2
import trio

from tests.fakes.slack_platform.platform import APP_TOKEN, BOT_TOKEN, SIGNING_SECRET, Mode

START_SECONDS = 20.0


class RemoteSlack:
    """Drives a fake in another process; :meth:`do` takes the name and the keyword arguments of a FakeSlack method."""

    bot_token = BOT_TOKEN
    app_token = APP_TOKEN
    signing_secret = SIGNING_SECRET

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url = url
        self._client = client

    @property
    def api_base(self) -> str:
        """What stands for ``https://slack.com/api``."""
        return self.url + "/api"

    @classmethod
    @asynccontextmanager
    async def start(cls, *, mode: Mode = "socket") -> AsyncIterator[Self]:
        """Start the process, and end it at exit.

        :raises AssertionError: at the end, when a client did what no correct client does.
        """
        command = [sys.executable, "-m", "tests.fakes.slack_platform", "--port", "0", "--control", "--mode", mode]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(_run, command)
            with trio.fail_after(START_SECONDS):
                url = (await _read_line(process)).strip()
            async with httpx2.AsyncClient(timeout=60.0, trust_env=False) as client:
                slack = cls(url, client)
                yield slack
                violations = await slack.do("violations")
            nursery.cancel_scope.cancel()
        assert not violations, "\n".join(violations)

    async def do(self, name: str, /, **arguments: Any) -> Any:
        """:raises RuntimeError: the fake could not."""
        answer = await self._client.post(f"{self.url}/control/{name}", json=arguments)
        body = answer.json()
        if answer.status_code != 200:
            raise RuntimeError(body["error"])
        return body["result"]


async def _run(command: list[str], *, task_status: trio.TaskStatus[trio.Process]) -> None:
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        task_status.started(process)
        await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()


async def _read_line(process: trio.Process) -> str:
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some(256)
        if not data:
            raise RuntimeError("the fake Slack ended before it said its URL")
        line += data
    return line.decode()
