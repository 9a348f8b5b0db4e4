"""Members that run under one supervisor, brought in the background to what is wanted of them: from desired to running."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Generic, TypeVar

import anyio
from anyio.abc import TaskGroup

from gatewayd.actor.child import ChildSpec
from gatewayd.actor.life import Life
from gatewayd.actor.supervisor import Supervisor
from gatewayd.actor.wakeup import Wakeup

Member = TypeVar("Member")
Settings = TypeVar("Settings")


class Pool(Generic[Member]):
    """``all`` are the members by name: those that are ``wanted``, and those that are wanted no more and have not ended yet.

    ``live`` is one life of a member, for the supervisor. ``reconcile(name, member)`` makes a member what it is to be, in one task
    at most for each name. It looks at what is wanted now, not at what was when it was asked for: whatever is asked for while it
    works makes it look once more.
    """

    def __init__(
        self,
        supervisor: Supervisor,
        *,
        live: Callable[[Member, Life], Awaitable[None]],
        reconcile: Callable[[str, Member], Awaitable[None]],
        redact: Callable[[str], str],
    ) -> None:
        self.all: dict[str, Member] = {}
        self.wanted: dict[str, Member] = {}
        self._supervisor = supervisor
        self._live = live
        self._reconcile = reconcile
        self._redact = redact
        self._tasks: TaskGroup | None = None
        self._asked: set[str] = set()
        self._working: dict[str, None] = {}
        self._settled = Wakeup()

    @asynccontextmanager
    async def run(self, *, parent: TaskGroup | None, starts: Callable[[Member], bool]) -> AsyncIterator[None]:
        """Members live and are reconciled inside; those that ``starts`` are started before. Leaving cancels the reconciling, then
        the lives. ``parent``: see ``Supervisor.run``."""
        async with self._supervisor.run(parent=parent), anyio.create_task_group() as self._tasks:
            try:
                for name, member in self.wanted.items():
                    if starts(member):
                        await self._supervisor.start(name)  # returns when it has begun
                yield
            finally:
                self._tasks.cancel_scope.cancel()
                self._tasks = None

    def want(
        self, settings: Mapping[str, Settings], *, make: Callable[[Settings], Member], change: Callable[[Member, Settings], None]
    ) -> None:
        """These are wanted from now on, in this order, each with its newest settings. Nothing is reconciled before ``ask``."""
        wanted: dict[str, Member] = {}
        for name, its in settings.items():
            member = self.all.get(name)
            if member is None:
                member = self.all[name] = make(its)
                self._supervisor.add(ChildSpec(name=name, run=partial(self._live, member), redact=self._redact))
            change(member, its)
            wanted[name] = member
        self.wanted = wanted

    def is_gone(self, name: str) -> bool:
        """Whether this one is wanted no more."""
        return name not in self.wanted

    def forget(self, name: str) -> None:
        """For one that has ended. :raises Conflict: it lives."""
        self._supervisor.remove(name)
        del self.all[name]

    def ask(self, name: str) -> None:
        """Reconcile this one, now or once more. Outside of ``run`` nothing happens."""
        if self._tasks is None:
            return
        self._asked.add(name)
        if name not in self._working:
            self._working[name] = None
            self._tasks.start_soon(self._work, name, name=f"settle {name}")

    @property
    def under_way(self) -> tuple[str, ...]:
        """The names that are not yet as they are wanted."""
        return tuple(self._working)

    def works_on(self, name: str) -> bool:
        """Whether this one is being reconciled now: what it looks like meanwhile is not what it will be."""
        return name in self._working

    def is_asked(self, name: str) -> bool:
        """Whether somebody wants this one to be looked at anew, while it is worked on."""
        return name in self._asked

    async def settle(self) -> None:
        """Returns when nothing is under way."""
        while self._working:
            await self._settled.wait()

    async def _work(self, name: str) -> None:
        try:
            while name in self._asked:
                self._asked.discard(name)
                if (member := self.all.get(name)) is not None:
                    await self._reconcile(name, member)
        finally:
            del self._working[name]
            self._settled.notify()
