"""Invalid requests, of which Discord takes 10,000 in ten minutes from one address: then it takes nothing more from it for a while
("Rate Limits", "Invalid Request Limit").

An invalid request is one that is answered 401, 403 or 429, where a 429 with the scope ``shared`` does not count. All accounts
behind one address are counted together, so the count is one of the process, for each way out of it.
"""

from collections import deque
from typing import Final
from weakref import WeakKeyDictionary

import anyio
import httpx2
from msgspec import Struct

from gatewayd.model.errors import TryAgain

WINDOW_SECONDS: Final = 600.0
MOST: Final = 5_000
"""Half of what Discord takes: another program may share the address."""
STEP_SECONDS: Final = 10.0
"""Times are counted in steps, so that a window has few of them."""


class _Step(Struct):
    began_at: float
    count: int


class InvalidRequests:
    """Counts them, with those whose answer is still to come, so that there are never more than ``MOST`` in a window."""

    def __init__(self) -> None:
        self._steps: deque[_Step] = deque()
        self._count = 0
        self._in_flight = 0

    @property
    def count(self) -> int:
        """In the last ten minutes."""
        self._forget(anyio.current_time())
        return self._count

    def begin(self) -> None:
        """A request is about to be sent. Call ``end`` after it.

        :raises TryAgain: so many were refused that one more could cut off every account behind this address.
        """
        now = anyio.current_time()
        self._forget(now)
        if self._count + self._in_flight >= MOST:
            after = self._steps[0].began_at + STEP_SECONDS + WINDOW_SECONDS - now if self._steps else 1.0
            raise TryAgain(
                f"Discord has refused {self._count} calls of all accounts in ten minutes; at 10,000 it would take none from this "
                "address",
                after_seconds=after,
                scope="sends",
            )
        self._in_flight += 1

    def end(self, *, is_invalid: bool) -> None:
        """Its answer has come, or none will."""
        self._in_flight -= 1
        if not is_invalid:
            return
        now = anyio.current_time()
        if not self._steps or now >= self._steps[-1].began_at + STEP_SECONDS:
            self._steps.append(_Step(now, 0))
        self._steps[-1].count += 1
        self._count += 1

    def _forget(self, now: float) -> None:
        while self._steps and now >= self._steps[0].began_at + STEP_SECONDS + WINDOW_SECONDS:
            self._count -= self._steps.popleft().count


_OF_CLIENT: WeakKeyDictionary[httpx2.AsyncClient, InvalidRequests] = WeakKeyDictionary()


def invalid_requests_of(http: httpx2.AsyncClient) -> InvalidRequests:
    """The count of all that goes out through this client: the shared one, or that of one account's proxy."""
    return _OF_CLIENT.setdefault(http, InvalidRequests())
