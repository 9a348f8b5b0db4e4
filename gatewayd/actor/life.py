"""One life of a supervised child, seen from both sides: what the child tells, and by when something must happen.

The child's code tells facts (connected, heard, closing). The deadlines that follow from them are watched by the
supervisor's own task, so a child that hangs has to do nothing to be found.
"""

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import trio

from gatewayd.model.errors import TryAgain

STOOD_STILL_SECONDS = 1.0
"""A deadline that is noticed so much too late was missed by this process, not by the child."""


class Overdue(Exception):
    """The child, or a piece of its work, ignored for too long that it was over."""


class ReturnedQuietly(Exception):
    """A child ended though nobody had asked it to."""


class Life:
    """Handed to ``ChildSpec.run``. Every method is synchronous and cheap. Durations are seconds on Trio's clock.

    A life that is over ignores what an abandoned child still says.
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
        self._held = 0
        self._tasks: dict[object, float] = {}
        self._close_by: float | None = None
        self._gone_by = math.inf
        self._cause: Exception | None = None
        self._watch: trio.CancelScope | None = None

    # What the child tells.

    def started(self) -> None:
        """The child has begun: errors from now on are the supervisor's to judge, no longer its caller's."""
        if not self.is_started:
            self.is_started = True
            self._on_started()

    def connected(self) -> None:
        """The child works. From here on nothing has to happen by a certain time, unless it says so."""
        if self.over or self.connected_at is not None:
            return
        self.connected_at = self._heard_at = trio.current_time()
        self._rearm()
        self._connected.set()
        self._on_connected()

    async def wait_connected(self) -> None:
        await self._connected.wait()

    def heard(self) -> None:
        """The other side was alive just now."""
        self._heard_at = trio.current_time()

    def expect_silence(self, at_most_seconds: float | None) -> None:
        """From now on, hearing nothing for longer means hung. None: silence means nothing."""
        self._silence = at_most_seconds
        self.heard()
        self._rearm()

    @contextmanager
    def hold(self) -> Iterator[None]:
        """We keep the child waiting inside this block: no silence and no slow connecting can be blamed on it."""
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
        """A piece of work that ends by itself, or ignores its cancellation when it does not: then it is a bug."""
        token = object()
        self._tasks[token] = trio.current_time() + seconds
        self._rearm()
        try:
            yield
        finally:
            del self._tasks[token]

    @contextmanager
    def closes_after(self) -> Iterator[None]:
        """Leaving this block, by whatever way, starts the close deadline; the error it is left by is the one judged."""
        try:
            yield
        except Exception as error:
            self._cause = error
            raise
        finally:
            self.closing()

    def closing(self, *, after: float = 0.0) -> None:
        """The child is on its way out: the close deadline begins, ``after`` what it still finishes. Said again, it counts
        anew."""
        self._close_by = trio.current_time() + after + self._close_seconds
        self._rearm()

    @property
    def over(self) -> bool:
        """Nothing that this life still does may count."""
        return self.done.is_set() or self.scope.cancel_called

    # What the supervisor asks.

    def cut(self, error: Exception | None, *, within_seconds: float = math.inf) -> None:
        """Cancel the child, for ``error`` (None: it was asked to stop), and give it the close deadline.

        It may move that deadline on its way out, but never past ``within_seconds`` from now.
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
        """True as soon as a deadline has passed, False when the life has ended before."""
        while not self.done.is_set():
            with trio.CancelScope(deadline=self._deadline()) as self._watch:
                await self.done.wait()
            # heard() moves the deadline without waking this task: look again.
            late = trio.current_time() - self._deadline()
            if late > STOOD_STILL_SECONDS:
                self._forgive(late)
            elif late >= 0 and not self.done.is_set():
                return True
        return False

    def _forgive(self, seconds: float) -> None:
        """We were stopped ourselves (SIGSTOP, a frozen virtual machine): what the child did not do meanwhile, it could not."""
        self._heard_at = self._connect_from = trio.current_time()
        self._tasks = {token: by + seconds for token, by in self._tasks.items()}
        self._gone_by += seconds
        if self._close_by is not None:
            self._close_by += seconds

    def overdue(self) -> Exception:
        """Why the deadline that has passed was there."""
        if self._close_by is not None:
            # An outage that also makes the closing hang is still an outage: the first error decides.
            return self._cause or Overdue("was cut because it did not close in time")
        if min(self._tasks.values(), default=math.inf) <= trio.current_time():
            return Overdue("work that was cancelled did not end")
        if self.connected_at is None:
            return TryAgain(f"did not connect within {self._connect_seconds:g} s")
        return TryAgain(f"nothing heard for {self._silence:g} s")

    def _deadline(self) -> float:
        if self._close_by is not None:
            return min(self._close_by, self._gone_by)
        return min(self._quiet_until(), min(self._tasks.values(), default=math.inf))

    def _quiet_until(self) -> float:
        if self._held:
            return math.inf
        if self.connected_at is None:
            return self._connect_from + self._connect_seconds
        return math.inf if self._silence is None else self._heard_at + self._silence

    def _rearm(self) -> None:
        if self._watch is not None:
            self._watch.deadline = self._deadline()
