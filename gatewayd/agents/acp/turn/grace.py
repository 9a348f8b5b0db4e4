"""How long an agent is listened to after the end of its turn: docs/decisions/0008. Pure."""

from typing import Final

GRACE_SECONDS: Final = 0.25
_SHARE: Final = 0.05
_FIRST_TURNS: Final = 3
_TURNS_AFTER_A_TAIL: Final = 20


class GracePeriod:
    """The grace period of one agent process: after its response to a prompt, some more text may come (a tail)."""

    def __init__(self) -> None:
        self._turns_to_watch = _FIRST_TURNS

    def seconds_after(self, turn_seconds: float) -> float:
        """The grace period, in seconds, after a turn that took ``turn_seconds``. Every text begins it again."""
        return GRACE_SECONDS if self._turns_to_watch else min(GRACE_SECONDS, _SHARE * turn_seconds)

    def note_end(self, *, had_tail: bool) -> None:
        """A turn is over. ``had_tail``: text came in its grace period."""
        self._turns_to_watch = _TURNS_AFTER_A_TAIL if had_tail else max(0, self._turns_to_watch - 1)

    def note_tail(self) -> None:
        """Text came soon after the grace period: a longer one would have had it in the reply."""
        self._turns_to_watch = _TURNS_AFTER_A_TAIL
