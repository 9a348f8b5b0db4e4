"""Long waits of HTTP requests (``?wait=``, event streams) that must not hold up a stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from math import inf

import trio


class Waits:
    """Cancel scopes that end early when the server stops."""

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

    def end_all(self) -> None:
        """End every wait, and every later one at its first checkpoint."""
        self.over = True
        for scope in self._scopes:
            scope.cancel()
