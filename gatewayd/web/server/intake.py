"""The memory that requests take before they are answered: heads and bodies of all connections together.

A client that sends nearly all of a body and then waits holds what it has sent. Each connection has a little of its own, so that
a webhook or a login always finds its place; what is larger comes out of one pool, and where that is empty, the request is
refused.
"""

from typing import Final

from gatewayd.web.http.errors import RETRY_SECONDS, HttpError

OWN_BYTES: Final = 20 * 1024
"""Of each connection, beside the pool: a head of the largest size, and a body of the usual one."""
POOL_BYTES: Final = 16 * 1024 * 1024
"""Of all connections together. Never less than one body of the largest size."""


class Intake:
    """The pool. ``used`` is how much of it is in use, in bytes."""

    def __init__(self, *, max_body_bytes: int) -> None:
        self.limit = max(POOL_BYTES, max_body_bytes)
        self.used = 0

    def open(self) -> "Held":
        """A connection's part of it."""
        return Held(self)


class Held:
    """What one connection has sent since its last answer."""

    def __init__(self, intake: Intake) -> None:
        self._intake = intake
        self._bytes = 0
        self._pooled = 0

    def add(self, count: int) -> None:
        """Take place for what has just been read.

        :raises HttpError: overloaded: the pool is empty. All of the request is to be thrown away, and counts no more.
        """
        self._bytes += count
        more = max(0, self._bytes - OWN_BYTES) - self._pooled
        if more > 0:
            if self._intake.used + more > self._intake.limit:
                self.clear()
                raise HttpError("overloaded", "too many large requests at once", retry_after=RETRY_SECONDS)
            self._intake.used += more
            self._pooled += more

    def clear(self) -> None:
        """The request is answered, or nobody waits for an answer any more."""
        self._intake.used -= self._pooled
        self._bytes = self._pooled = 0
