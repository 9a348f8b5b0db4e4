"""The limit on the memory of unanswered requests: the heads and bodies of all connections together.

A client that sends nearly all of a body and then waits keeps that memory in use. Each connection has a small allowance of its
own, so that a webhook or a login always fits. A larger request takes the rest from a common pool; while the pool is empty, it is
answered 503.
"""

from typing import Final

from gatewayd.web.http.errors import HttpError

OWN_BYTES: Final = 20 * 1024
"""The allowance of each connection, beside the pool: a head of the largest size and a body of the usual size."""
POOL_BYTES: Final = 16 * 1024 * 1024
"""The pool of all connections. It is never smaller than one body of the largest size."""


class RequestMemory:
    """The pool. ``used`` is how much of it is in use, in bytes."""

    def __init__(self, *, max_body_bytes: int) -> None:
        self.limit = max(POOL_BYTES, max_body_bytes)
        self.used = 0

    def open(self) -> "ConnectionMemory":
        """The account of a new connection."""
        return ConnectionMemory(self)


class ConnectionMemory:
    """The bytes that one connection has received since its last answer."""

    def __init__(self, memory: RequestMemory) -> None:
        self._memory = memory
        self._bytes = 0
        self._pooled = 0

    def add(self, count: int) -> None:
        """Account for bytes that were just read.

        :raises HttpError: overloaded: the pool is empty. The caller must drop the whole request; it is not counted any more.
        """
        self._bytes += count
        more = max(0, self._bytes - OWN_BYTES) - self._pooled
        if more > 0:
            if self._memory.used + more > self._memory.limit:
                self.clear()
                raise HttpError("overloaded", "large requests use all memory for requests: try again later")
            self._memory.used += more
            self._pooled += more

    def clear(self) -> None:
        """Release everything: the request was answered, or its client has gone."""
        self._memory.used -= self._pooled
        self._bytes = self._pooled = 0
