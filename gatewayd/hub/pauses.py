"""Conversations that wait because one of their replies was refused for a while: the pause is the conversation's, not the reply's.

A person may put back an older reply of the conversation, and a reply may be given up: what comes first then waits all the same.
"""

import math
from collections.abc import Callable

import trio

from gatewayd.ports.store import OutboundRow


class Pauses:
    """Times are Trio's; those in rows are of the wall clock, for restarts. Of each conversation that waits there is one time."""

    def __init__(self, *, now: Callable[[], float]) -> None:
        self._now = now
        self._until: dict[tuple[str, str, str], float] = {}

    def until(self, row: OutboundRow) -> float:
        """Until when the conversation of a row waits; what is past, when it does not."""
        return self._until.get(_conversation(row), -math.inf)

    def hold(self, row: OutboundRow, *, at_most: float) -> None:
        """Nothing is sent where this row goes before its ``next_attempt_at``.

        A wall clock that was set back meanwhile (to 1970, on a board without a battery) must not hold a reply up for years, nor
        for longer than it was to wait when it was tried last.
        """
        assert row.next_attempt_at is not None
        if row.sending_at is not None:
            at_most = min(at_most, row.next_attempt_at - row.sending_at)
        until = trio.current_time() + min(row.next_attempt_at - self._now(), at_most)
        self._until[_conversation(row)] = max(until, self.until(row))

    def let_go(self, row: OutboundRow) -> None:
        """A row was dealt with: forget the pause of its conversation, if that is over."""
        if self.until(row) <= trio.current_time():
            self._until.pop(_conversation(row), None)

    def sweep(self) -> None:
        """Forget what is over, also of conversations in which nothing is sent any more."""
        now = trio.current_time()
        self._until = {conversation: until for conversation, until in self._until.items() if until > now}


def _conversation(row: OutboundRow) -> tuple[str, str, str]:
    return row.channel, row.account, row.conversation
