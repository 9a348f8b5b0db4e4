"""The fake as a process of its own, held by a test or a benchmark."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx2
import trio

from tests.fakes.bot_api.api import TOKEN

START_SECONDS = 20.0


class RemoteBotApi:
    """Drives a fake in another process; :meth:`do` takes the name and the keyword arguments of a FakeBotApi method."""

    def __init__(self, url: str, token: str, client: httpx2.AsyncClient) -> None:
        self.url = url
        self.token = token
        self._client = client

    @classmethod
    @asynccontextmanager
    async def start(cls, *, token: str = TOKEN) -> AsyncIterator[Self]:
        """Start the process, and end it at exit.

        :raises AssertionError: at the end, when a client violated the Bot API.
        """
        command = [sys.executable, "-m", "tests.fakes.bot_api", "--port", "0", "--control", "--token", token]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(run_process, command)
            with trio.fail_after(START_SECONDS):
                url = (await read_line(process)).strip()
            async with httpx2.AsyncClient(timeout=60.0) as client:
                api = cls(url, token, client)
                yield api
                violations = await api.do("violations")
            nursery.cancel_scope.cancel()
        assert not violations, "\n".join(violations)

    async def do(self, name: str, /, **arguments: Any) -> Any:
        """:raises RuntimeError: the fake could not."""
        answer = await self._client.post(f"{self.url}/control/{name}", json=arguments)
        body = answer.json()
        if answer.status_code != 200:
            raise RuntimeError(body["error"])
        return body["result"]


async def run_process(command: list[str], *, task_status: trio.TaskStatus[trio.Process]) -> None:
    """A fake until cancelled, ended by SIGTERM; its standard output is a pipe."""
    process = await trio.lowlevel.open_process(command, stdout=subprocess.PIPE)
    try:
        task_status.started(process)
        await process.wait()
    finally:
        with trio.CancelScope(shield=True):
            process.terminate()
            await process.wait()


async def read_line(process: trio.Process) -> str:
    """The first line of its output.

    :raises RuntimeError: it ended before.
    """
    assert process.stdout is not None
    line = b""
    while not line.endswith(b"\n"):
        data = await process.stdout.receive_some(256)
        if not data:
            raise RuntimeError("the fake ended before it said its URL")
        line += data
    return line.decode()
