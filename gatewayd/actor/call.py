"""One call of third-party code, in a task of its own: who waits for its result can go on without it."""

from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

import trio

from gatewayd.actor.border import sole, third_party
from gatewayd.actor.position import position_of

T = TypeVar("T")


class Call(Generic[T]):
    """``run`` is started in the task group that keeps the call if it ignores its cancellation. ``done`` is set at its end."""

    def __init__(self, work: Callable[[], Awaitable[T]]) -> None:
        self.done = trio.Event()
        self._work = work
        self._scope = trio.CancelScope()
        self._task: trio.lowlevel.Task | None = None
        self._results: list[T] = []
        self._errors: list[BaseException] = []

    async def run(self) -> None:
        """The call. Its errors wait in ``result``."""
        self._task = trio.lowlevel.current_task()
        try:
            # The border is outside of the scope, too: if the code leaves one of its own scopes open, leaving our scope fails.
            with third_party(), self._scope:
                self._results.append(await self._work())
        except* Exception as group:
            self._errors.append(sole(group))
        finally:
            self.done.set()

    def cancel(self) -> None:
        self._scope.cancel()

    @property
    def was_cut(self) -> bool:
        """After its end: whether it was cancelled before it had a result."""
        return not (self._results or self._errors)

    def result(self) -> T:
        """After an end that was not cut. :raises Exception: what the code raised, as it arrives from the border."""
        if self._errors:
            raise self._errors[0]
        return self._results[0]

    @property
    def where(self) -> str:
        """Where in the code it waits. Empty: it has not begun."""
        return "" if self._task is None else position_of(self._task)
