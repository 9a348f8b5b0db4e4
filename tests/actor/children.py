"""Children of a supervisor that act as the tests say, and a record of what the supervisor reported."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from random import Random

import trio
import trio.testing

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.child import ChildSpec, ChildStatus
from gatewayd.actor.life import Life
from gatewayd.actor.supervisor import Supervisor

EPOCH = 1_700_000_000.0

Run = Callable[[Life], Awaitable[None]]


def wall() -> float:
    return EPOCH + trio.current_time()


class Watched:
    """A supervisor with a record of its reports."""

    def __init__(self) -> None:
        self.changes: list[ChildStatus] = []
        self.failures: list[str] = []
        self.supervisor = Supervisor(
            Backoff(Random(11)),
            now=wall,
            on_change=self.changes.append,
            on_failure=lambda name, verdict, error: self.failures.append(verdict.reason),
        )

    @asynccontextmanager
    async def running(self, **children: Run) -> AsyncIterator[Supervisor]:
        for name, run in children.items():
            self.supervisor.add(ChildSpec(name=name, run=run))
        async with self.supervisor.run():
            for name in children:
                await self.supervisor.start(name)
            yield self.supervisor

    def states(self, name: str) -> list[str]:
        return [status.state for status in self.changes if status.name == name]


async def healthy(life: Life) -> None:
    life.started()
    life.connected()
    await trio.sleep_forever()


def failing(error: Exception, *, after: float = 0.0, connected: bool = False) -> Run:
    async def run(life: Life) -> None:
        life.started()
        if connected:
            life.connected()
        await trio.sleep(after)
        raise error

    return run


def scripted(*lives: Run) -> Run:
    remaining: Iterator[Run] = iter(lives)

    async def run(life: Life) -> None:
        await next(remaining, healthy)(life)

    return run


def shielded(release: trio.Event) -> Run:
    """A child that ignores its cancellation; ``release`` lets the test end."""

    async def run(life: Life) -> None:
        life.started()
        life.connected()
        with trio.CancelScope(shield=True):
            await release.wait()

    return run
