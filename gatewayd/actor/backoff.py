"""The pause before the next attempt: full jitter under an exponential ceiling."""

import math
from random import Random

# base * 2**62 is far above any ceiling. Without the bound, 2.0**1024 (after nine hours of an outage) would overflow.
_LAST_ATTEMPT = 62
_LOOKS_SECONDS = (60.0, 300.0, 900.0, 1800.0)
_LATER = 1.25


class Backoff:
    """Delays in seconds, drawn evenly between 0 and a ceiling that doubles with each attempt until ``longest_seconds``.

    Full jitter is the best way to spread a thousand accounts that lost one network at the same moment
    (https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/). The caller counts the attempts.
    """

    def __init__(self, rng: Random, *, first_seconds: float = 1.0, longest_seconds: float = 45.0) -> None:
        self._rng = rng
        self._first = first_seconds
        self._longest = longest_seconds

    def ceiling(self, attempt: int) -> float:
        """The longest delay after the ``attempt``-th failure in a row, counted from 1."""
        return min(self._first * 2.0 ** (min(max(attempt, 1), _LAST_ATTEMPT) - 1), self._longest)

    def look(self, number: int) -> float:
        """Seconds until the ``number``-th check, from 1, of something that waits for a person: 1, 5, 15, then every 30 minutes.

        Up to a quarter is added, so that children that stopped together are not checked together.
        """
        return _LOOKS_SECONDS[min(number, len(_LOOKS_SECONDS)) - 1] * self._rng.uniform(1.0, _LATER)

    def delay(self, attempt: int, *, at_least: float | None = None) -> float:
        """Seconds to wait after the ``attempt``-th failure in a row.

        ``at_least`` is the pause that the other side asked for (``Retry-After``), a minimum. It is ignored if it is no finite
        number.
        """
        drawn = self._rng.uniform(0.0, self.ceiling(attempt))
        if at_least is None or not math.isfinite(at_least):
            return drawn
        return max(drawn, at_least)
