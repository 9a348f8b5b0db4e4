"""Brings what runs to what is wanted, in the background: after a change of the configuration, for one account or agent each."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import anyio
from anyio.abc import TaskGroup

from gatewayd.actor.wakeup import Wakeup


class Settling:
    """One task at most for each name. ``bring_about(name)`` looks at what is wanted now, not at what was when it was asked for:
    whatever is asked for while it works makes it look once more. Outside of ``run`` nothing is done."""

    def __init__(self, bring_about: Callable[[str], Awaitable[None]]) -> None:
        self._bring_about = bring_about
        self._tasks: TaskGroup | None = None
        self._asked: set[str] = set()
        self._working: dict[str, None] = {}
        self._settled = Wakeup()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        """Work inside. Leaving cancels what is under way."""
        async with anyio.create_task_group() as self._tasks:
            try:
                yield
            finally:
                self._tasks.cancel_scope.cancel()
                self._tasks = None

    @property
    def under_way(self) -> tuple[str, ...]:
        """The names that are not yet as they are wanted."""
        return tuple(self._working)

    def works_on(self, name: str) -> bool:
        """Whether this one is being brought about now: what it looks like meanwhile is not what it will be."""
        return name in self._working

    def is_asked(self, name: str) -> bool:
        """Whether somebody wants this one to be looked at anew, while it is worked on."""
        return name in self._asked

    def ask(self, name: str) -> None:
        """Look at this one, now or once more."""
        if self._tasks is None:
            return
        self._asked.add(name)
        if name not in self._working:
            self._working[name] = None
            self._tasks.start_soon(self._work, name, name=f"settle {name}")

    async def wait(self) -> None:
        """Returns when nothing is under way."""
        while self._working:
            await self._settled.wait()

    async def _work(self, name: str) -> None:
        try:
            while name in self._asked:
                self._asked.discard(name)
                await self._bring_about(name)
        finally:
            del self._working[name]
            self._settled.notify()
