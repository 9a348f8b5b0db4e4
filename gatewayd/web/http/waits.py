"""Long waits of HTTP requests (``?wait=``, event streams), which must not delay a stop."""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from math import inf
from typing import Final, TypeVar

import anyio
import trio
from quart import request

CLIENT: Final = "gatewayd.client"
"""The key of a connection's ``Waits`` in its state: they end when the client closes its side."""

T = TypeVar("T")
U = TypeVar("U")


async def first_of(one: Callable[[], Awaitable[T]], other: Callable[[], Awaitable[U]]) -> T | U:
    """The result of the call that ends first; the other is cancelled. :raises Exception: the first call raised it."""
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
    """Cancel scopes that end early: those of the app when the server stops, those of a connection when its client closes its
    side."""

    def __init__(self) -> None:
        self._scopes: set[trio.CancelScope] = set()
        self.over = False

    @contextmanager
    def until(self, seconds: float = inf) -> Iterator[trio.CancelScope]:
        """A scope that ends after ``seconds``, or when :meth:`end_all` is called."""
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
        """As :meth:`until`; it ends, too, when the client of the present request closes its side. The client has gone, or waits
        for a response without delay: only the attempt to write it tells."""
        client: Waits = request.scope["state"][CLIENT]
        with self.until(seconds), client.until():
            yield

    def end_all(self) -> None:
        """End every wait, and every later one at its first checkpoint."""
        self.over = True
        for scope in self._scopes:
            scope.cancel()
