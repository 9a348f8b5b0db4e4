"""Long waits of HTTP requests (``?wait=``, event streams) that must not hold up a stop."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Final, TypeVar

import anyio
import trio
from quart import request

CLIENT: Final = "gatewayd.client"
"""Where the state of a request's connection holds its ``Waits``: they end when the client has closed its side."""

T = TypeVar("T")
U = TypeVar("U")


async def first_of(one: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[U]]) -> T | U:
    """What the first of two to end returns; the other is cancelled. :raises Exception: what the first one raised."""
    results: list[T | U] = []
    errors: list[Exception] = []
    async with anyio.create_task_group() as tasks:

        async def run(call: Callable[[], Awaitable[T | U]]) -> None:
            try:
                results.append(await call())
            except Exception as error:
                errors.append(error)
            tasks.cancel_scope.cancel()

        tasks.start_soon(run, one)
        tasks.start_soon(run, other)
    if not results:
        raise errors[0]
    return results[0]


class Waits:
    """Cancel scopes that end early when the server stops (or, one for each connection, when its client has closed its side)."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self.over = False

    @contextmanager
    def until(self, seconds: float = inf) -> Iterator[trio.CancelScope]:
        """A scope that is left after ``seconds``, or when :meth:`end_all` is called, whichever is first."""
        with trio.CancelScope(deadline=trio.current_time() + seconds) as scope:
            if self.over:
                scope.cancel()
            self._scopes.add(scope)
            try:
                yield scope
            finally:
                self._scopes.discard(scope)

    @contextmanager
    def of_request(self, seconds: float) -> Iterator[None]:
        """As :meth:`until`; left, too, when the client of the present request has closed its side. It may be gone, or wait for
        what there is now: which of the two, nobody can tell before the answer is written."""
        client: Waits = request.scope["state"][CLIENT]
        with self.until(seconds), client.until():
            yield

    def end_all(self) -> None:
        """End every wait, and every later one at its first checkpoint."""
        self.over = True
        for scope in self._scopes:
            scope.cancel()
