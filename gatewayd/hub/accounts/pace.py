"""An account that sends too fast, as its driver or its platform says: all its sends wait, and it stays connected."""

import math
from collections.abc import Callable

import trio
from msgspec import Struct

from gatewayd.actor.backoff import Backoff
from gatewayd.model.errors import TryAgain


class Held(Struct, frozen=True):
    """Sends wait: since when, until when at least (Unix seconds), and why."""

    since: float
    until: float
    reason: str


class Pace:
    """After ``hold`` nothing is sent until ``wait`` returns. While it is ``held``, one send is tried at a time. The first success
    ends that."""

    def __init__(self, backoff: Backoff, *, now: Callable[[], float]) -> None:
        self._backoff = backoff
        self._now = now
        self._until = -math.inf
        self._in_a_row = 0
        self.held: Held | None = None

    def hold(self, error: TryAgain, reason: str) -> float:
        """Wait as long as the error says, else longer each time. Returns for how many seconds."""
        self._in_a_row += 1
        wish = error.after_seconds
        seconds = self._backoff.delay(self._in_a_row) if wish is None else wish
        self._until = max(self._until, trio.current_time() + seconds)
        now = self._now()
        since = now if self.held is None else self.held.since
        self.held = Held(since, now + self._until - trio.current_time(), reason)
        return seconds

    def note_success(self) -> None:
        """A send has succeeded."""
        if trio.current_time() >= self._until:
            self._in_a_row = 0
            self.held = None

    @property
    def seconds_left(self) -> float:
        """For how many seconds no send may be tried."""
        return max(0.0, self._until - trio.current_time())

    @property
    def is_over(self) -> bool:
        """Whether a send may be tried now."""
        return not self.seconds_left

    async def wait(self) -> None:
        """Returns when a send may be tried."""
        while not self.is_over:  # noqa: ASYNC110 -- it may have been made longer meanwhile
            await trio.sleep_until(self._until)
