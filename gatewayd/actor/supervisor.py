"""One-for-one supervision of named children. Knows nothing of chat.

What ends a child decides what becomes of it (``gatewayd.model.errors``):

- ``TryAgain``: an outage. Waited out for ever, with back-off; spends nothing.
- ``NeedsOperator``: parked at once, with the reason; and with ``look_again`` tried again slowly (``Backoff.look``), which is no
  restart loop. It stays parked until it works.
- anything else, and returning without being asked to: a bug. Restarted with back-off until the budget is spent, then parked.

Errors of a child never reach the supervisor's caller, except one before ``Life.started``: that belongs to who started it.
"""

import math
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Literal

import anyio
import trio
from anyio.abc import TaskGroup
from msgspec import Struct

from gatewayd.actor.backoff import Backoff
from gatewayd.actor.border import describe, leaves, sole, third_party
from gatewayd.actor.child import BUG_WINDOW_SECONDS, BUGS, Child, ChildSpec, ChildStatus, SupervisorStatistics
from gatewayd.actor.life import Life, ReturnedQuietly
from gatewayd.model.errors import Conflict, NeedsOperator, NotFound, StoreRefused, TryAgain

_REASON_LENGTH = 200


class Verdict(Struct, frozen=True):
    """What an error means. ``reason`` is one line for an operator, without secrets."""

    cure: Literal["wait", "park", "restart"]
    reason: str
    after_seconds: float | None = None
    look_again: bool = False


def judge(error: BaseException, redact: Callable[[str], str] = str) -> Verdict:
    """What to do about the error a child ended with.

    Where a group mixes kinds the strictest cure wins: parking, then the bounded restarts of a bug, then waiting without
    end. So nothing is retried that one part says only a person can mend (a revoked token is often followed by a crash in
    the cleaning up), and no bug hides for ever behind an outage that happened at the same time.
    """
    found = leaves(error)
    if operator := [leaf for leaf in found if isinstance(leaf, NeedsOperator)]:
        # Of several reasons one that nothing but a setting mends is enough to make looking pointless.
        look_again = all(leaf.look_again for leaf in operator)
        return Verdict("park", _join(redact(leaf.reason) for leaf in operator), look_again=look_again)
    outages = [leaf for leaf in found if isinstance(leaf, TryAgain | StoreRefused)]
    if bugs := [describe(leaf, redact) for leaf in found if leaf not in outages]:
        return Verdict("restart", f"bug: {_join(bugs)}")
    wishes = [leaf.after_seconds for leaf in outages if isinstance(leaf, TryAgain) and leaf.after_seconds is not None]
    return Verdict("wait", _join(redact(leaf.reason) for leaf in outages), max(wishes, default=None))


def _error_of(life: Life) -> BaseException:
    return life.cut_for or life.error or ReturnedQuietly("it returned though nobody had asked it to")


def _nobody_waits() -> None:
    """The caller of start has long gone on when the second life starts."""


def _join(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))[:_REASON_LENGTH]


_NOT_RUNNING = "nothing can be started: the supervisor is not running"


class Supervisor:
    """Runs children, each in a cancel scope of its own, inside ``async with supervisor.run():``.

    ``on_change`` is told every change of a child's state, ``on_failure`` every error a life ended with; both are called
    synchronously and must not raise. ``now`` gives Unix seconds, for status only: all waiting is on Trio's clock.
    """

    def __init__(
        self,
        backoff: Backoff,
        *,
        now: Callable[[], float],
        on_change: Callable[[ChildStatus], None] = lambda status: None,
        on_failure: Callable[[str, Verdict, BaseException], None] = lambda name, verdict, error: None,
    ) -> None:
        self._backoff = backoff
        self._now = now
        self._on_change = on_change
        self._on_failure = on_failure
        self._children: dict[str, Child] = {}
        self._abandoned: set[Life] = set()
        self._lives: TaskGroup | None = None
        self._supervisors: TaskGroup | None = None

    def add(self, spec: ChildSpec) -> None:
        """Make a child known, stopped."""
        self._children[spec.name] = Child(spec, now=self._now, on_change=self._on_change)

    def remove(self, name: str) -> None:
        """Forget a child that was stopped. A life of it that was abandoned is still counted.

        :raises NotFound: no such child. :raises Conflict: it lives.
        """
        if self._child(name).supervised is not None:
            raise Conflict(f"{name} lives: it is stopped first")
        del self._children[name]

    @asynccontextmanager
    async def run(self, *, parent: TaskGroup | None = None) -> AsyncIterator[None]:
        """Children run inside; leaving cancels them.

        A life that ignores its cancellation stays in the parent task group of the lives, which cannot end before it. Where
        other things must be closed in any case, pass as ``parent`` a task group that ends after them.
        """
        async with anyio.create_task_group() as own, anyio.create_task_group() as supervisors:
            self._lives = parent or own
            self._supervisors = supervisors
            try:
                yield
            finally:
                self._lives = self._supervisors = None
                supervisors.cancel_scope.cancel()

    async def start(self, name: str) -> None:
        """Start a child that is stopped or parked, which does not wait for its next look; one that lives is left alone. Returns
        once it has said ``started``.

        :raises NotFound: no such child.
        :raises Conflict: outside ``run``.
        :raises Exception: what its first life ended with before it had started; it is stopped then.
        """
        child = self._child(name)
        async with child.lock:
            self._refuse_if_removed(child)
            if self._supervisors is None:
                raise Conflict(_NOT_RUNNING)
            if child.supervised is not None:
                child.wake()
                return
            child.forgive()
            child.stop_requested = False
            await self._supervisors.start(self._supervise, child, name=name)

    async def stop(self, name: str, *, within_seconds: float = math.inf) -> None:
        """Stop a child, whether it runs or waits out its back-off. Returns once it is gone, or abandoned: at the latest
        after ``within_seconds``, or when the time is over that it gives itself to close.

        :raises NotFound: no such child.
        """
        child = self._child(name)
        # Before the lock, too: a stop that is under way already must not hold up one that has less time.
        child.request_stop(within_seconds)
        async with child.lock:
            self._refuse_if_removed(child)
            child.request_stop(within_seconds)
            if child.supervised is None:
                child.enter("stopped")
            else:
                await child.supervised.wait()

    async def restart(self, name: str) -> None:
        """Stop and start. A child that would not close stays parked: a second one beside it would only fight it.

        :raises NotFound: no such child.
        :raises Exception: as ``start`` does.
        """
        await self.stop(name)
        if self.status(name).state == "stopped":
            await self.start(name)

    def status(self, name: str) -> ChildStatus:
        """:raises NotFound: no such child."""
        return self._child(name).status

    def is_down(self, name: str) -> bool:
        """Whether it has ended, and nothing but a start or a look makes it live. :raises NotFound: no such child."""
        child = self._child(name)
        return child.state == "stopped" or (child.state == "parked" and child.life is None)

    def is_supervised(self, name: str) -> bool:
        """Whether it lives, or will by itself. :raises NotFound: no such child."""
        return self._child(name).supervised is not None

    def statistics(self) -> SupervisorStatistics:
        states = [child.state for child in self._children.values()]
        return SupervisorStatistics(
            children=len(states),
            running=states.count("running"),
            waiting=states.count("waiting"),
            parked=states.count("parked"),
            abandoned=len(self._abandoned),
        )

    def _child(self, name: str) -> Child:
        try:
            return self._children[name]
        except KeyError:
            raise NotFound(f"there is no {name}") from None

    def _refuse_if_removed(self, child: Child) -> None:
        """Who waited for a child's lock looks again: it may be known no more. :raises NotFound:"""
        if self._children.get(child.spec.name) is not child:
            raise NotFound(f"there is no {child.spec.name}")

    async def _supervise(self, child: Child, *, task_status: trio.TaskStatus[None]) -> None:
        """Run life after life until the child is stopped or parked. :raises Conflict: the supervisor was left meanwhile."""
        if self._lives is None:
            raise Conflict(_NOT_RUNNING)
        supervised = child.supervised = trio.Event()
        child.enter("starting")
        on_started: Callable[[], None] = task_status.started
        try:
            while True:
                life = child.begin(on_started)
                gone = await self._live(child, life)
                if on_started is not _nobody_waits and not life.is_started:
                    child.enter("stopped", child.status.reason)
                    raise sole(_error_of(life))
                delay = self._after(child, life) if gone else None
                if delay is None:
                    return
                await child.wait(delay)
                if child.stop_requested:
                    child.enter("stopped")
                    return
                on_started = _nobody_waits
        finally:
            child.supervised = None
            supervised.set()

    async def _live(self, child: Child, life: Life) -> bool:
        """One life, watched from here. False when it would not go, and the child is parked."""
        assert self._lives is not None
        self._lives.start_soon(self._run_life, child.spec, life, name=f"{child.spec.name} (life)")
        try:
            while await life.wait_overdue():
                if life.scope.cancel_called:
                    self._abandon(child, life)
                    return False
                life.cut(life.overdue())
            return True
        finally:
            if not life.done.is_set() and life not in self._abandoned:
                # The supervisor itself is being cancelled: the child gets its time to close all the same, and no more.
                life.cut(None)
                with trio.CancelScope(shield=True):
                    if await life.wait_overdue():
                        self._abandon(child, life)

    async def _run_life(self, spec: ChildSpec, life: Life) -> None:
        try:
            # Around the scope, too: what a child leaves open of its own scopes is an error of leaving ours.
            with third_party(), life.scope:
                await spec.run(life)
        except* Exception as group:
            life.error = group
        finally:
            self._abandoned.discard(life)
            life.done.set()

    def _abandon(self, child: Child, life: Life) -> None:
        self._abandoned.add(life)
        child.end(life)
        after = "" if life.cut_for is None else f", after: {judge(life.cut_for, child.spec.redact).reason}"
        seconds = trio.current_time() - life.cut_at
        child.enter("parked", f"would not close within {seconds:.3g} s of its cancellation{after}")

    def _after(self, child: Child, life: Life) -> float | None:
        """What follows a life that is over: the seconds to the next attempt, or None when there is none."""
        attempt = child.end(life, failed=not child.stop_requested or life.error is not None)
        error = _error_of(life)
        verdict = judge(error, child.spec.redact)
        if not child.stop_requested or life.error is not None:
            self._on_failure(child.spec.name, verdict, error)
        if child.stop_requested:
            child.enter("stopped")
            return None
        if verdict.cure == "restart" and child.over_budget():
            verdict = Verdict("park", f"{verdict.reason} (more than {BUGS} times in {BUG_WINDOW_SECONDS:g} s)")
        if verdict.cure == "park":
            return child.park(verdict.reason, self._backoff.look if verdict.look_again else None)
        delay = self._backoff.delay(attempt, at_least=verdict.after_seconds)
        child.enter("waiting", verdict.reason, delay=delay)
        return delay
