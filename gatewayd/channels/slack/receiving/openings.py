"""How often a connection is opened, and which connections there are. Pure: times are seconds of one clock."""

import math
from collections import deque
from random import Random
from typing import Final, Generic, TypeVar

STEADY_SECONDS: Final = 60.0
"""A connection that lasted so long was no failure: Slack ends each after some hours."""
LONGEST_PAUSE_SECONDS: Final = 60.0
"""Between two attempts to open a connection. With pauses that double from a half to a whole second on, there are at most
``ATTEMPTS_A_MINUTE`` in the first minute, and fewer in each later one."""
ATTEMPTS_A_MINUTE: Final = 7
STAGGER_SECONDS: Final = 1.0
"""Between any two attempts: connections that are opened at one moment also end at one moment."""
FORGOTTEN_SECONDS: Final = 300.0
"""Failures so long ago say nothing of the next attempt."""
LEFT_SECONDS: Final = 30.0
"""So long Slack may still count a connection that is gone."""

_FIRST_SECONDS: Final = 1.0

Member = TypeVar("Member")


class Pauses:
    """When the next connection may be opened.

    A failure is an attempt that gave no connection, and a connection that soon ended. Some apps try again at once, and so for
    ever, when Slack refuses (slackapi/node-slack-sdk pull request 1762).
    """

    def __init__(self, rng: Random) -> None:
        self.ready_at = -math.inf
        self._rng = rng
        self._failures = 0
        self._failed_at = -math.inf

    def note_attempt(self, now: float) -> None:
        """One attempt is over."""
        self.ready_at = max(self.ready_at, now + STAGGER_SECONDS)

    def note_failure(self, now: float, *, at_least: float | None = None) -> None:
        """``at_least`` is the pause that Slack asks for, in seconds."""
        self._failures = self._failures + 1 if now - self._failed_at < FORGOTTEN_SECONDS else 1
        self._failed_at = now
        ceiling = min(_FIRST_SECONDS * 2.0 ** min(self._failures - 1, 30), LONGEST_PAUSE_SECONDS)
        self.ready_at = max(self.ready_at, now + max(self._rng.uniform(ceiling / 2, ceiling), at_least or 0.0))

    def note_end(self, now: float, *, lasted: float) -> bool:
        """A connection is over, or will soon be. Returns whether that was a failure."""
        if lasted < STEADY_SECONDS:
            self.note_failure(now)
        return lasted < STEADY_SECONDS


class Crew(Generic[Member]):
    """The connections of one app token that are ours. A member is fresh until Slack, or we, say that it will go. Then it is read
    for as long as it lasts, and another one takes its place."""

    def __init__(self, wanted: int) -> None:
        self._wanted = wanted
        self._fresh: dict[Member, float] = {}
        self._leaving: dict[Member, None] = {}
        self._left: deque[float] = deque(maxlen=100)

    @property
    def fresh(self) -> int:
        """How many are fresh."""
        return len(self._fresh)

    @property
    def is_short(self) -> bool:
        """Whether one more is to be opened."""
        return len(self._fresh) < self._wanted

    @property
    def is_empty(self) -> bool:
        """Whether nothing is received."""
        return not self._fresh and not self._leaving

    def members(self) -> tuple[Member, ...]:
        return (*self._fresh, *self._leaving)

    def leaving(self) -> tuple[Member, ...]:
        """Those that will go."""
        return tuple(self._leaving)

    def oldest(self) -> Member | None:
        """The fresh member that has been there for the longest."""
        return next(iter(self._fresh), None)

    def join(self, member: Member, now: float, *, told: int | None) -> int:
        """A hello has come. Returns how many of the ``told`` connections, the number in the hello, are of other programs."""
        self._fresh[member] = now
        while self._left and now - self._left[0] >= LEFT_SECONDS:
            self._left.popleft()
        ours = len(self._fresh) + len(self._leaving)
        return 0 if told is None or told <= ours + len(self._left) else told - ours

    def will_leave(self, member: Member, now: float) -> float | None:
        """The seconds for which it was fresh; None: it was not."""
        joined_at = self._fresh.pop(member, None)
        if joined_at is None:
            return None
        self._leaving[member] = None
        return now - joined_at

    def leave(self, member: Member, now: float) -> float | None:
        """It is over. Returns as ``will_leave``."""
        lasted = self.will_leave(member, now)
        if member in self._leaving:
            del self._leaving[member]
            self._left.append(now)
        return lasted
