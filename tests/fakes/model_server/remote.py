"""The scripted model as a process of its own, held by a test or a benchmark."""

import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

import httpx2
import msgspec
import trio
from msgspec import Struct

from tests.fakes.model_server.server import Seen

START_SECONDS = 20.0


class _Record(Struct):
    requests: list[Seen]
    titles: list[Seen]


class RemoteModelServer:
    """As :class:`ModelServer`, from another process. ``url`` ends in /v1."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url = url
        self._client = client

    @classmethod
    @asynccontextmanager
    async def start(cls) -> AsyncIterator[Self]:
        """Start the process, and end it at exit."""
        command = [sys.executable, "-m", "tests.fakes.model_server"]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(_run, command)
            with trio.fail_after(START_SECONDS):
                url = (await _read_line(process)).strip()
            async with httpx2.AsyncClient(timeout=60.0, verify=False, trust_env=False) as client:
                yield cls(url, client)
            nursery.cancel_scope.cancel()

    async def requests(self) -> list[Seen]:
        answer = await self._client.get(self._control("_requests"))
        return msgspec.json.decode(answer.content, type=_Record).requests

    async def release(self, text: str) -> None:
        await self._client.post(self._control("_release"), json={"text": text})

    async def wait_held(self, text: str) -> None:
        await self._client.post(self._control("_wait_held"), json={"text": text})

    async def wait_requests(self, count: int) -> list[Seen]:
        await self._client.post(self._control("_wait_requests"), json={"count": count})
        return await self.requests()

    def _control(self, name: str) -> str:
        return f"{self.url.removesuffix('/v1')}/{name}"


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
            raise RuntimeError("the scripted model ended before it said its URL")
        line += data
    return line.decode()
