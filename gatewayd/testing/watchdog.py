"""A test that hangs fails within seconds, and says where.

A fake clock does not help where something goes on for ever, and a cancellation does not help where a driver ignores it. So there
are two deadlines: one on Trio's clock, and one of real time. At either, what ignores its cancellation is made to obey it.
"""

import signal
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import trio

from gatewayd.actor.position import own_position_of

REAL_SECONDS = 10.0
LAST_RESORT_SECONDS = 2.0
_DEEPEST = 40


class Hung(AssertionError):
    """What was watched did not end. The text has the task tree at the deadline."""


def task_tree(root: trio.lowlevel.Task) -> str:
    """A line for each task under ``root``: its name, and where it waits."""
    return "\n".join(_lines(root, 0))


def _lines(task: trio.lowlevel.Task, depth: int) -> Iterator[str]:
    yield f"{'  ' * depth}{task.name}: {own_position_of(task) or 'it runs'}"
    for nursery in task.child_nurseries if depth < _DEEPEST else ():
        for child in nursery.child_tasks:
            yield from _lines(child, depth + 1)


@asynccontextmanager
async def deadline(seconds: float = 60.0) -> AsyncIterator[None]:
    """``seconds`` of Trio's clock, and ``REAL_SECONDS``.

    :raises Hung: the block took longer. What else it raised is the cause.
    """
    watch = _Watch(trio.lowlevel.current_task(), seconds)
    trio.lowlevel.spawn_system_task(watch.run, name="watchdog")
    try:
        with _alarm(watch), watch.scope:
            yield
    except BaseException as error:
        if watch.tree is None or isinstance(error, Hung):
            raise
        raise watch.hung() from error
    finally:
        watch.over.cancel()
    if watch.tree is not None:
        raise watch.hung()


class _Watch:
    def __init__(self, task: trio.lowlevel.Task, seconds: float) -> None:
        self.scope = trio.CancelScope()
        self.over = trio.CancelScope()
        self.tree: str | None = None
        self.token = trio.lowlevel.current_trio_token()
        self.task = task
        self._seconds = seconds

    async def run(self) -> None:
        with self.over:
            await trio.sleep(self._seconds)
            self.fire()
            while True:
                await trio.sleep(0.1)
                self._break_shields(self.task)

    def fire(self) -> None:
        if self.tree is None:
            self.tree = task_tree(self.task)
        self.scope.cancel()
        self._break_shields(self.task)

    def hung(self) -> Hung:
        return Hung(f"it hangs. Its tasks, and where they wait:\n{self.tree}")

    def _break_shields(self, task: trio.lowlevel.Task) -> None:
        """What a driver does behind a shield cannot be cancelled, and would hang the test for ever."""
        # Trio has no public way to end a task that does not want to end.
        status: Any = task._cancel_status
        while status is not None and status._scope is not self.scope:
            status._scope.shield = False
            status = status.parent
        for nursery in task.child_nurseries:
            for child in nursery.child_tasks:
                self._break_shields(child)


@contextmanager
def _alarm(watch: _Watch) -> Iterator[None]:
    """The deadline of real time. If nothing obeys then, because something blocks the whole loop, it is thrown out."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(*_: object) -> None:
        if watch.tree is not None:
            raise watch.hung()
        watch.tree = task_tree(watch.task)
        watch.token.run_sync_soon(watch.fire)
        signal.setitimer(signal.ITIMER_REAL, LAST_RESORT_SECONDS)

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, REAL_SECONDS)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0.0)
        signal.signal(signal.SIGALRM, before)
