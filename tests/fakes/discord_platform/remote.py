"""The fake as a process of its own, held by a test or a benchmark."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self

import httpx2
import trio

from tests.fakes.bot_api.remote import read_line, run_process

START_SECONDS = 20.0


class RemoteDiscord:
    """Drives a fake in another process; :meth:`do` takes the name and the arguments of a FakeDiscord method. ``api_url`` and
    ``token`` are what a client needs."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self.url = url
        self._client = client

    @classmethod
    @asynccontextmanager
    async def start(cls, *, port: int = 0) -> AsyncIterator[Self]:
        """Start the process, and end it at exit.

        :raises AssertionError: at the end, when a client did what no correct client does.
        """
        command = [sys.executable, "-m", "tests.fakes.discord_platform", "--port", str(port), "--control"]
        async with trio.open_nursery() as nursery:
            process = await nursery.start(run_process, command)
            with trio.fail_after(START_SECONDS):
                url = (await read_line(process)).strip()
            async with httpx2.AsyncClient(timeout=60.0) as client:
                discord = cls(url, client)
                yield discord
                violations = await discord.get("violations")
            nursery.cancel_scope.cancel()
        assert not violations, "\n".join(violations)

    async def do(self, name: str, /, *positional: Any, **arguments: Any) -> Any:
        """``do("say", user, channel, "hello")``, ``do("gateway.close_all", 4000)``. Files are base64.

        :raises RuntimeError: the fake could not.
        """
        answer = await self._client.post(f"{self.url}/control/{name}", json={"args": positional, **arguments})
        body = answer.json()
        if answer.status_code != 200:
            raise RuntimeError(body["error"])
        return body["result"]

    async def get(self, name: str) -> Any:
        """A property: ``get("token")``, ``get("gateway.identify_count")``."""
        return await self.do(f"get.{name}")

    async def set(self, name: str, value: Any) -> None:
        """A setting: ``set("session_starts.max_concurrency", 16)``; the names are control.SETTABLE."""
        await self.do(f"set.{name}", value=value)
