"""A supervised child as data: how to run it, its state, and its counts."""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Literal

import trio
from msgspec import Struct

from gatewayd.actor.life import Life
from gatewayd.actor.wakeup import Wakeup

BUGS: Final = 5
BUG_WINDOW_SECONDS: Final = 60.0
"""More than ``BUGS`` bugs in so many seconds of running park a child. The window counts the time that the child ran, not the
back-off between its lives: a growing back-off would hide a loop of crashes."""
_HEALTHY_SECONDS: Final = 60.0
"""A child that was connected for so long begins its back-off anew."""

ChildState = Literal["starting", "running", "waiting", "parked", "stopped"]


class ChildSpec(Struct, frozen=True):
    """How to run one child. ``run`` is called for each life, and works until it fails or is cancelled.

    It calls ``Life.started`` and then, within ``connect_seconds``, ``Life.connected``. After its cancellation it has
    ``close_seconds``. ``redact`` removes secrets from the text of errors that may hold some.
    """

    name: str
    run: Callable[[Life], Awaitable[None]]
    connect_seconds: float = 60.0
    close_seconds: float = 10.0
    redact: Callable[[str], str] = str


class ChildStatus(Struct, frozen=True):
    """``since`` and ``next_attempt_at`` are Unix seconds. ``since`` is when ``state`` began: an outage is one state, however many
    attempts it has. ``down_since`` is since when the child should run and does not, in whatever states. ``attempt`` counts
    failures in a row, ``restarts`` all lives but the first. A ``parked`` child with a ``next_attempt_at`` is tried again then; it
    stays parked unless that works."""

    name: str
    state: ChildState
    since: float
    reason: str | None = None
    attempt: int = 0
    next_attempt_at: float | None = None
    restarts: int = 0
    down_since: float | None = None


class SupervisorStatistics(Struct, frozen=True):
    """Children by state. ``abandoned`` lives ignored their cancellation: only the end of the process ends them."""

    children: int
    running: int
    waiting: int
    parked: int
    abandoned: int


class Child:
    """The supervisor's data about one child, for all its lives."""

    def __init__(self, spec: ChildSpec, *, now: Callable[[], float], on_change: Callable[[ChildStatus], None]) -> None:
        self.spec = spec
        self.lock = trio.Lock()
        self.life: Life | None = None
        self.stop_requested = False
        self.supervised: trio.Event | None = None
        self._interrupt = Wakeup()
        self._now = now
        self._on_change = on_change
        self._ran_seconds = 0.0
        self._bugs: deque[float] = deque()
        self._lives = 0
        self._attempt = 0
        self._looks = 0
        self._next_attempt_at: float | None = None
        self._reason: str | None = None
        self._state: ChildState = "stopped"
        self._since = now()
        self._down_since: float | None = None

    @property
    def status(self) -> ChildStatus:
        return ChildStatus(
            name=self.spec.name,
            state=self._state,
            since=self._since,
            reason=self._reason,
            attempt=0 if self._state == "running" else self._attempt,
            next_attempt_at=self._next_attempt_at,
            restarts=max(0, self._lives - 1),
            down_since=self._down_since,
        )

    @property
    def state(self) -> ChildState:
        return self._state

    def enter(self, state: ChildState, reason: str | None = None, *, delay: float | None = None) -> None:
        """Note the state, its reason, and in how many seconds the next attempt begins. Only a change of the state is told to
        ``on_change`` and moves ``since``."""
        self._reason = reason
        self._next_attempt_at = None if delay is None else self._now() + delay
        if state != self._state:
            self._state = state
            self._since = self._now()
            if state in ("running", "stopped"):
                self._down_since = None
            elif self._down_since is None:
                self._down_since = self._since
            self._on_change(self.status)

    def park(self, reason: str, look: Callable[[int], float] | None) -> float | None:
        """Note that it waits for a person. ``look`` gives the seconds until the next try by its number; None: there is none.
        Returns the seconds."""
        self._looks += look is not None
        delay = None if look is None else look(self._looks)
        self.enter("parked", reason, delay=delay)
        return delay

    def wake(self) -> None:
        """Try a parked child again now, because an operator starts it."""
        if self._state == "parked":
            self.reset_failures()
            self.enter("starting")
            self._interrupt.notify()

    def begin(self, on_started: Callable[[], None]) -> Life:
        """A new life. While an outage lasts, its attempts do not end the state ``waiting``."""
        self._lives += 1
        self._interrupt = Wakeup()
        self._next_attempt_at = None
        self.life = Life(
            connect_seconds=self.spec.connect_seconds,
            close_seconds=self.spec.close_seconds,
            on_started=on_started,
            on_connected=lambda: self.enter("running"),
        )
        return self.life

    def end(self, life: Life, *, failed: bool = True) -> int:
        """The life is over. Returns how many lives in a row have failed; a life that ended on request has not."""
        ended_at = trio.current_time()
        self._ran_seconds += ended_at - life.began_at
        if life.connected_at is not None and ended_at - life.connected_at >= _HEALTHY_SECONDS:
            self._attempt = self._looks = 0
        self._attempt += failed
        self.life = None
        return self._attempt

    async def wait(self, seconds: float) -> None:
        """Returns after that time, or at once when the child is to stop or to be started."""
        with trio.move_on_after(seconds):
            await self._interrupt.take()

    def request_stop(self, within_seconds: float) -> None:
        """End the life, or the back-off before the next one. Of several requests the shortest time counts."""
        self.stop_requested = True
        self._interrupt.notify()
        if self.life is not None:
            self.life.cut(None, within_seconds=within_seconds)

    def reset_failures(self) -> None:
        """Forget earlier failures: an operator has started the child."""
        self._attempt = self._looks = 0
        self._bugs.clear()

    def over_budget(self) -> bool:
        """Count one more bug. Returns whether that exceeds the budget."""
        self._bugs.append(self._ran_seconds)
        while self._bugs[0] < self._ran_seconds - BUG_WINDOW_SECONDS:
            self._bugs.popleft()
        return len(self._bugs) > BUGS
