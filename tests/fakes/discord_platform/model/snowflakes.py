"""Ids (discord.com/developers/docs, "Reference", Snowflakes): milliseconds since 2015 in the upper 42 bits."""

from collections.abc import Callable
from datetime import UTC, datetime

EPOCH_MILLISECONDS = 1_420_070_400_000


class Snowflakes:
    """Makes ids that grow. ``now`` is in Unix seconds; a clock that stands still gives ids of one millisecond, in order."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._last = 0

    def make(self) -> str:
        milliseconds = int(self._now() * 1000) - EPOCH_MILLISECONDS
        self._last = max(self._last + 1, milliseconds << 22)
        return str(self._last)


def iso(seconds: float) -> str:
    """A timestamp as Discord writes it: ``2017-07-11T17:27:07.299000+00:00``."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="microseconds")
