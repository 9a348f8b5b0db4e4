"""How often a session may be begun. Discord takes 1,000 a day; who uses them up gets a new token, and every session ends
("Gateway", "Session Start Limit").

Before each one Discord is asked how many are left, so that those of earlier lives and of other programs count, too. The first
half of them is there for restarts in a row. Of the rest, each waits for its share of the time that is left, so that no storm ever
uses them up.
"""

from typing import Final

from gatewayd.channels.discord.wire.answers import StartLimit
from gatewayd.ports.store import State

APART_SECONDS: Final = 5.5
"""Between two IDENTIFYs ("Gateway", "Rate Limiting": ``max_concurrency`` in five seconds)."""
RESERVE: Final = 5
"""So many are never used: another program may have the token, too."""

_STATE: Final = "started"


class Starts:
    """Of one account. When the last session was begun is kept over restarts."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._last: float | None = None

    async def seconds_until(self, limit: StartLimit, now: float) -> float:
        """How long to wait before a session may be begun; ``now`` in Unix seconds."""
        reset_after = max(limit.reset_after, 0) / 1000
        if limit.remaining <= min(RESERVE, limit.total // 2):
            return max(reset_after, 1.0)
        apart = APART_SECONDS
        if limit.remaining <= limit.total / 2:
            apart = max(apart, reset_after / (limit.remaining - min(RESERVE, limit.total // 2)))
        since = now - await self._begun_at()
        return apart - since if 0 <= since < apart else 0.0

    async def note(self, now: float) -> None:
        """A session is about to be begun. :raises StoreRefused: it cannot be kept, so it must not begin."""
        self._last = now
        await self._state.save(_STATE, repr(now))

    async def _begun_at(self) -> float:
        if self._last is None:
            stored = await self._state.load(_STATE)
            self._last = float(stored) if stored is not None else 0.0
        return self._last
