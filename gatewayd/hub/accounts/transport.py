"""What the driver of an account says of its connection, and what one life hands to its driver."""

from collections.abc import Callable

from gatewayd.actor.border import Bug
from gatewayd.actor.life import Life
from gatewayd.model.status import Lack

MOST_LACKS = 100
_LONGEST = 200
_LONGEST_CONNECT = 3600.0


class Transport:
    """The reports of the newest life. ``on_change`` is called when ``interrupted_since`` or ``lacks`` changes, ``on_gap_end`` at
    the first connection of each life, and at those after an interruption."""

    def __init__(
        self,
        *,
        now: Callable[[], float],
        redact: Callable[[str], str],
        on_change: Callable[[], None],
        on_gap_end: Callable[[], None],
    ) -> None:
        self._now = now
        self._redact = redact
        self._on_change = on_change
        self._on_gap_end = on_gap_end
        self._is_away = False
        self._lacks: dict[str, Lack] = {}
        self.identity: str | None = None
        self.last_at: float | None = None
        self.interrupted_since: float | None = None
        self.reason: str | None = None

    @property
    def lacks(self) -> tuple[Lack, ...]:
        """What does not work although the account is connected, the oldest first."""
        return tuple(self._lacks.values())

    def begin(self) -> None:
        """A new life has said nothing yet."""
        self._is_away = True
        self.interrupted_since = self.reason = None
        self._lacks.clear()

    def note_heard(self) -> None:
        self.last_at = self._now()

    def note_connected(self, identity: str | None, *, resumed: bool) -> None:
        self.identity = identity or self.identity
        self.note_heard()
        is_whole = resumed and self.interrupted_since is not None
        if self.interrupted_since is not None:
            self.interrupted_since = self.reason = None
            self._on_change()
        if self._is_away:
            self._is_away = False
            if not is_whole:
                self._on_gap_end()

    def note_interrupted(self, reason: str) -> None:
        self._is_away = True
        self.reason = self._short(reason)
        if self.interrupted_since is None:
            self.interrupted_since = self._now()
            self._on_change()

    def note_lack(self, what: str, reason: str | None) -> None:
        what = self._short(what)
        before = self._lacks.get(what)
        if reason is None:
            self._lacks.pop(what, None)
        elif before is not None or len(self._lacks) < MOST_LACKS:
            self._lacks[what] = Lack(what, self._short(reason), self._now() if before is None else before.since)
        if (before is None) != (reason is None):
            self._on_change()

    def _short(self, text: str) -> str:
        return " ".join(self._redact(text).split())[:_LONGEST]


class Reporter:
    """``ConnectionReporter`` for one life. What a driver says after the end of its life is ignored."""

    def __init__(self, transport: Transport, life: Life) -> None:
        self._transport = transport
        self._life = life

    def connected(self, identity: str | None = None, *, resumed: bool = False) -> None:
        if not self._life.over:
            self._life.connected()
            self._transport.note_connected(identity, resumed=resumed)

    def connect_within(self, seconds: float) -> None:
        if not 0 < seconds <= _LONGEST_CONNECT:
            raise Bug(f"connect_within takes more than 0 and at most {_LONGEST_CONNECT:g} s, not {seconds:g}")
        self._life.connect_within(seconds)

    def interrupted(self, reason: str) -> None:
        # Before the first connection there is nothing to interrupt.
        if not self._life.over and self._life.connected_at is not None:
            self._life.interrupted(reason)
            self._transport.note_interrupted(reason)

    def lacks(self, what: str, reason: str | None) -> None:
        if not self._life.over:
            self._transport.note_lack(what, reason)

    def heard(self) -> None:
        if not self._life.over:
            self._transport.note_heard()
            self._life.heard()

    def expect_silence(self, at_most_seconds: float | None) -> None:
        if not self._life.over:
            self._life.expect_silence(at_most_seconds)
