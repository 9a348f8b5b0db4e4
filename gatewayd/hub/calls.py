"""Calls into agent cores. Each ends in time for us: a core that ignores its cancellation is left behind, and its lane goes on."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from gatewayd.actor.border import third_party

_CLOSE_SECONDS = 5.0

T = TypeVar("T")


class CoreCalls:
    """Runs each call in a task of its own. ``left_behind`` counts those that were cancelled and still run: only the end of
    the process can end them."""

    def __init__(self) -> None:
        self._host: trio.Nursery | None = None
        self.left_behind = 0

    @asynccontextmanager
    async def open(self, *, host: trio.Nursery | None = None) -> AsyncIterator[None]:
        """Calls can be made inside. A call that is left behind holds up the leaving of ``host``, see ``Supervisor.run``."""
        async with trio.open_nursery() as own:
            self._host = host or own
            yield

    async def call(self, work: Callable[[], Awaitable[T]]) -> T:
        """What ``work`` returns. Cancelled, this gives it a few seconds to end, and then returns without it.

        :raises Exception: what it raised, as it arrives from the border.
        """
        assert self._host is not None, "calls are made inside open()"
        scope, done = trio.CancelScope(), trio.Event()
        results: list[T] = []
        errors: list[Exception] = []

        async def run() -> None:
            try:
                # Around the scope, too: what a core leaves open of its own scopes is an error of leaving ours.
                with third_party(), scope:
                    results.append(await work())
            except* Exception as group:
                errors.append(group)
            finally:
                done.set()

        self._host.start_soon(run, name="call of an agent core")
        try:
            await done.wait()
        finally:
            if not done.is_set():
                scope.cancel()
                await self._wait_gone(done)
        if errors:
            raise errors[0]
        if not results:
            # The host itself is being cancelled, and we with it.
            await trio.sleep_forever()
        return results[0]

    async def _wait_gone(self, done: trio.Event) -> None:
        with trio.move_on_after(_CLOSE_SECONDS, shield=True):
            await done.wait()
        if not done.is_set():
            assert self._host is not None
            self.left_behind += 1
            self._host.start_soon(self._note_gone, done)

    async def _note_gone(self, done: trio.Event) -> None:
        await done.wait()
        self.left_behind -= 1
