"""One life of a supervised child: what the child reports, and the deadlines that follow.

The child's code reports facts (connected, heard, closing). The supervisor's own task watches the deadlines, so a child that hangs
is found without its help.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from gatewayd.model.errors import TryAgain

STALL_SECONDS = 1.0
"""If a deadline is noticed so much too late, this process stood still, not the child."""


class Overdue(Exception):
    """The child, or a part of its work, ignored its cancellation for too long."""


class UnexpectedReturn(Exception):
    """A child ended without a request."""


class Life:
    """Given to ``ChildSpec.run``. Every method is synchronous and cheap. Durations are seconds of Trio's clock.

    After its end a life ignores the reports of an abandoned child.
    """

    def __init__(
        self,
        *,
        connect_seconds: float,
        close_seconds: float,
        on_started: Callable[[], None],
        on_connected: Callable[[], None],
    ) -> None:
        self.scope = trio.CancelScope()
        self.done = trio.Event()
        self.error: BaseException | None = None
        self.cut_for: Exception | None = None
        self.cut_at = math.inf
        self.connected_at: float | None = None
        self._connected = trio.Event()
        self.began_at = trio.current_time()
        self.is_started = False
        self._on_started = on_started
        self._on_connected = on_connected
        self._connect_seconds = connect_seconds
        self._close_seconds = close_seconds
        self._silence: float | None = None
        self._heard_at = self._connect_from = self.began_at
        self._interruption = ""
        self._held = 0
        self._tasks: dict[object, float] = {}
        self._close_by: float | None = None
        self._gone_by = math.inf
        self._cause: Exception | None = None
        self._watch: trio.CancelScope | None = None

    # For the child.

    def started(self) -> None:
        """The child has begun: later errors go to the supervisor, not to the caller of ``start``."""
        if not self.is_started:
            self.is_started = True
            self._on_started()

    def connected(self) -> None:
        """The child works. From now on only the deadlines that it asks for hold."""
        if self.over or self.is_connected:
            return
        first, self._heard_at = self.connected_at is None, trio.current_time()
        self._connected.set()
        self._rearm()
        if first:
            self.connected_at = self._heard_at
            self._on_connected()

    def interrupted(self, reason: str) -> None:
        """The child has lost its other side and connects again by itself. The deadline of connecting begins anew."""
        if self.is_connected:
            self._connected = trio.Event()
            self._connect_from = trio.current_time()
        self._interruption = reason
        self._rearm()

    def connect_within(self, seconds: float) -> None:
        """How long connecting may take, now and after each interruption."""
        self._connect_seconds = seconds
        self._rearm()

    @property
    def is_connected(self) -> bool:
        """Whether it has connected, and was not interrupted since."""
        return self._connected.is_set()

    async def wait_connected(self) -> None:
        """Returns when it ``is_connected``."""
        while not self.is_connected:
            await self._connected.wait()

    def heard(self) -> None:
        """The other side was alive just now."""
        self._heard_at = trio.current_time()

    def expect_silence(self, at_most_seconds: float | None) -> None:
        """From now on, hearing nothing for longer means that it hangs. None: silence means nothing."""
        self._silence = at_most_seconds
        self.heard()
        self._rearm()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Inside, the child waits for us: neither silence nor slow connecting counts against it."""
        self._held += 1
        self._rearm()
        try:
            yield
        finally:
            self._held -= 1
            self._heard_at = self._connect_from = trio.current_time()
            self._rearm()

    @contextmanager
    def must_end_within(self, seconds: float) -> Iterator[None]:
        """Inside, work that must end within that time. If it does not, it has ignored its cancellation, which is a bug."""
        token = object()
        self._tasks[token] = trio.current_time() + seconds
        self._rearm()
        try:
            yield
        finally:
            del self._tasks[token]

    @contextmanager
    def closes_after(self) -> Iterator[None]:
        """Leaving this block in any way starts the close deadline. The error that leaves it is the one that is judged."""
        try:
            yield
        except Exception as error:
            self._cause = error
            raise
        finally:
            self.closing()

    def closing(self, *, after: float = 0.0) -> None:
        """The child closes: the close deadline begins, ``after`` seconds of remaining work. A later call replaces it."""
        self._close_by = trio.current_time() + after + self._close_seconds
        self._rearm()

    @property
    def over(self) -> bool:
        """Whether this life has ended or was cancelled. What it does after that is ignored."""
        return self.done.is_set() or self.scope.cancel_called

    # For the supervisor.

    def cut(self, error: Exception | None, *, within_seconds: float = math.inf) -> None:
        """Cancel the child because of ``error`` (None: it was asked to stop), and start the close deadline.

        The child may move that deadline while it closes, but never past ``within_seconds`` from now.
        """
        self._gone_by = min(self._gone_by, trio.current_time() + within_seconds)
        if self.scope.cancel_called:
            self._rearm()
            return
        self.cut_for = error
        self.cut_at = trio.current_time()
        self.scope.cancel()
        if self._close_by is None or error is not None:
            self.closing()

    async def wait_overdue(self) -> bool:
        """True when a deadline has passed, False when the life has ended before."""
        while not self.done.is_set():
            with trio.CancelScope(deadline=self._deadline()) as self._watch:
                await self.done.wait()
            # heard() moves the deadline without waking this task, so it is compared again.
            late = trio.current_time() - self._deadline()
            if late > STALL_SECONDS:
                self._move_deadlines(late)
            elif late >= 0 and not self.done.is_set():
                return True
        return False

    def _move_deadlines(self, seconds: float) -> None:
        """This process stood still (SIGSTOP, a frozen virtual machine), so the child could not act: its deadlines move."""
        self._heard_at = self._connect_from = trio.current_time()
        self._tasks = {token: by + seconds for token, by in self._tasks.items()}
        self._gone_by += seconds
        if self._close_by is not None:
            self._close_by += seconds

    def overdue(self) -> Exception:
        """The error for the deadline that has passed."""
        if self._close_by is not None:
            # An outage that also makes the closing hang is still an outage: the first error decides.
            return self._cause or Overdue("was cut because it did not close in time")
        if min(self._tasks.values(), default=math.inf) <= trio.current_time():
            return Overdue("work that was cancelled did not end")
        if self.connected_at is None:
            return TryAgain(f"did not connect within {self._connect_seconds:g} s")
        if not self.is_connected:
            return TryAgain(f"interrupted, and not connected again within {self._connect_seconds:g} s: {self._interruption}")
        return TryAgain(f"nothing heard for {self._silence:g} s")

    def _deadline(self) -> float:
        if self._close_by is not None:
            return min(self._close_by, self._gone_by)
        return min(self._quiet_until(), min(self._tasks.values(), default=math.inf))

    def _quiet_until(self) -> float:
        if self._held:
            return math.inf
        if not self.is_connected:
            return self._connect_from + self._connect_seconds
        return math.inf if self._silence is None else self._heard_at + self._silence

    def _rearm(self) -> None:
        if self._watch is not None:
            self._watch.deadline = self._deadline()
