"""A pool: members that run under one supervisor, each reconciled in the background with what is desired of it."""

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
    """``all`` are the members by name: those that are ``desired``, and others that have not ended yet.

    ``live`` is one life of a member, for the supervisor. ``reconcile(name, member)`` brings a member to what is desired when it
    runs, not when it was scheduled. For each name one task at most runs it. When it is scheduled meanwhile, it runs once more.
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
        self.desired: dict[str, Member] = {}
        self._supervisor = supervisor
        self._live = live
        self._reconcile = reconcile
        self._redact = redact
        self._tasks: TaskGroup | None = None
        self._scheduled: set[str] = set()
        self._pending: dict[str, None] = {}
        self._reconciled = Wakeup()

    @asynccontextmanager
    async def run(self, *, parent: TaskGroup | None, starts: Callable[[Member], bool]) -> AsyncIterator[None]:
        """Members live and are reconciled inside. Those for which ``starts`` is true are started first. Leaving cancels the
        reconciling, then the lives. ``parent``: see ``Supervisor.run``."""
        async with self._supervisor.run(parent=parent), anyio.create_task_group() as self._tasks:
            try:
                for name, member in self.desired.items():
                    if starts(member):
                        await self._supervisor.start(name)  # returns when it has begun
                yield
            finally:
                self._tasks.cancel_scope.cancel()
                self._tasks = None

    def set_desired(
        self, settings: Mapping[str, Settings], *, make: Callable[[Settings], Member], change: Callable[[Member, Settings], None]
    ) -> None:
        """These members are desired from now on, in this order, with these settings. Only ``schedule`` reconciles them."""
        desired: dict[str, Member] = {}
        for name, its in settings.items():
            member = self.all.get(name)
            if member is None:
                member = self.all[name] = make(its)
                self._supervisor.add(ChildSpec(name=name, run=partial(self._live, member), redact=self._redact))
            change(member, its)
            desired[name] = member
        self.desired = desired

    def is_gone(self, name: str) -> bool:
        """Whether the member is not desired (any more)."""
        return name not in self.desired

    def forget(self, name: str) -> None:
        """Remove a member that has ended. :raises Conflict: it lives."""
        self._supervisor.remove(name)
        del self.all[name]

    def schedule(self, name: str) -> None:
        """Reconcile the member, now or once more. Outside of ``run`` nothing happens."""
        if self._tasks is None:
            return
        self._scheduled.add(name)
        if name not in self._pending:
            self._pending[name] = None
            self._tasks.start_soon(self._reconcile_scheduled, name, name=f"reconcile {name}")

    @property
    def pending(self) -> tuple[str, ...]:
        """The names of members that are being reconciled."""
        return tuple(self._pending)

    def is_scheduled(self, name: str) -> bool:
        """Whether the member will be reconciled once more."""
        return name in self._scheduled

    async def wait_reconciled(self) -> None:
        """Returns when no member is pending."""
        while self._pending:
            await self._reconciled.wait()

    async def _reconcile_scheduled(self, name: str) -> None:
        try:
            while name in self._scheduled:
                self._scheduled.discard(name)
                if (member := self.all.get(name)) is not None:
                    await self._reconcile(name, member)
        finally:
            del self._pending[name]
            self._reconciled.notify()
