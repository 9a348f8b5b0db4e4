"""One-for-one supervision of named children. Nothing here knows of chats.

The error that ends a life decides what follows (``gatewayd.model.errors``):

- ``TryAgain``: an outage. Waited out without end, with back-off; the budget is not touched.
- ``NeedsOperator``: parked at once, with the reason. With ``retries_slowly`` it is tried again slowly (``Backoff.look``), and
  stays parked until that works.
- anything else, and an end without a request: a bug. Restarted with back-off until the budget is spent, then parked.

Errors of a child never reach the caller of the supervisor, except one before ``Life.started``: it goes to the caller of
``start``.
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
from gatewayd.actor.life import Life, UnexpectedReturn
from gatewayd.model.errors import Conflict, NeedsOperator, NotFound, StoreRefused, TryAgain

_REASON_LENGTH = 200


class Verdict(Struct, frozen=True):
    """What an error means. ``reason`` is one line for an operator, without secrets."""

    action: Literal["wait", "park", "restart"]
    reason: str
    after_seconds: float | None = None
    retries_slowly: bool = False


def classify_failure(error: BaseException, redact: Callable[[str], str] = str) -> Verdict:
    """What to do about the error that ended a life.

    In a group of several kinds the strictest action wins: parking, then the bounded restarts of a bug, then waiting. So nothing
    is retried that needs a person (after a revoked token, the closing often crashes, too), and no bug hides behind an outage at
    the same time.
    """
    found = leaves(error)
    if operator := [leaf for leaf in found if isinstance(leaf, NeedsOperator)]:
        # If one of several reasons can only be fixed by a setting, trying again is useless.
        retries_slowly = all(leaf.retries_slowly for leaf in operator)
        return Verdict("park", _join(redact(leaf.reason) for leaf in operator), retries_slowly=retries_slowly)
    outages = [leaf for leaf in found if isinstance(leaf, TryAgain | StoreRefused)]
    if bugs := [describe(leaf, redact) for leaf in found if leaf not in outages]:
        return Verdict("restart", f"bug: {_join(bugs)}")
    wishes = [leaf.after_seconds for leaf in outages if isinstance(leaf, TryAgain) and leaf.after_seconds is not None]
    return Verdict("wait", _join(redact(leaf.reason) for leaf in outages), max(wishes, default=None))


def _error_of(life: Life) -> BaseException:
    return life.cut_for or life.error or UnexpectedReturn("it ended without a request to stop")


def _ignore_started() -> None:
    """At the second life, the caller of ``start`` does not wait any more."""


def _join(reasons: Iterable[str]) -> str:
    return "; ".join(dict.fromkeys(reasons))[:_REASON_LENGTH]


_NOT_RUNNING = "nothing can be started: the supervisor is not running"


class Supervisor:
    """Runs children, each in a cancel scope of its own, inside ``async with supervisor.run():``.

    ``on_change`` gets every change of a child's state, ``on_failure`` every error that ended a life. Both are called
    synchronously and must not raise. ``now`` gives Unix seconds, for the status only: all waiting uses Trio's clock.
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
        """Add a child in the state ``stopped``."""
        self._children[spec.name] = Child(spec, now=self._now, on_change=self._on_change)

    def remove(self, name: str) -> None:
        """Forget a stopped child. An abandoned life of it is still counted.

        :raises NotFound: no such child. :raises Conflict: it lives.
        """
        if self._child(name).supervised is not None:
            raise Conflict(f"{name} lives: stop it first")
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
        """Start a stopped or parked child at once; a living one is not touched. Returns after its ``started``.

        :raises NotFound: no such child.
        :raises Conflict: outside ``run``.
        :raises Exception: the error of its first life before ``started``; the child is stopped then.
        """
        child = self._child(name)
        async with child.lock:
            self._refuse_if_removed(child)
            if self._supervisors is None:
                raise Conflict(_NOT_RUNNING)
            if child.supervised is not None:
                child.wake()
                return
            child.reset_failures()
            child.stop_requested = False
            await self._supervisors.start(self._supervise, child, name=name)

    async def stop(self, name: str, *, within_seconds: float = math.inf) -> None:
        """Stop a child, in a life or in back-off. Returns when it is gone or abandoned: after ``within_seconds`` or its close
        deadline at the latest.

        :raises NotFound: no such child.
        """
        child = self._child(name)
        # Before the lock, too: an earlier stop with more time must not delay this one.
        child.request_stop(within_seconds)
        async with child.lock:
            self._refuse_if_removed(child)
            child.request_stop(within_seconds)
            if child.supervised is None:
                child.enter("stopped")
            else:
                await child.supervised.wait()

    async def restart(self, name: str) -> None:
        """Stop and start. A child that does not close stays parked: a second life beside it would be in conflict with it.

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
        """Whether it has ended, and only a start or a later try makes it live. :raises NotFound: no such child."""
        child = self._child(name)
        return child.state == "stopped" or (child.state == "parked" and child.life is None)

    def is_supervised(self, name: str) -> bool:
        """Whether it lives, or will live without a start. :raises NotFound: no such child."""
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
        """Check again after waiting for the child's lock: it may have been removed. :raises NotFound:"""
        if self._children.get(child.spec.name) is not child:
            raise NotFound(f"there is no {child.spec.name}")

    async def _supervise(self, child: Child, *, task_status: trio.TaskStatus[None]) -> None:
        """Run life after life until the child is stopped or parked. :raises Conflict: ``run`` has been left meanwhile."""
        if self._lives is None:
            raise Conflict(_NOT_RUNNING)
        supervised = child.supervised = trio.Event()
        child.enter("starting")
        on_started: Callable[[], None] = task_status.started
        try:
            while True:
                life = child.begin(on_started)
                gone = await self._live(child, life)
                if on_started is not _ignore_started and not life.is_started:
                    child.enter("stopped", child.status.reason)
                    raise sole(_error_of(life))
                delay = self._after(child, life) if gone else None
                if delay is None:
                    return
                await child.wait(delay)
                if child.stop_requested:
                    child.enter("stopped")
                    return
                on_started = _ignore_started
        finally:
            child.supervised = None
            supervised.set()

    async def _live(self, child: Child, life: Life) -> bool:
        """Run one life and watch its deadlines. False: it was abandoned, and the child is parked."""
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
                # The supervisor itself is being cancelled: the child gets its time to close, and no more.
                life.cut(None)
                with trio.CancelScope(shield=True):
                    if await life.wait_overdue():
                        self._abandon(child, life)

    async def _run_life(self, spec: ChildSpec, life: Life) -> None:
        try:
            # The border is outside of the scope, too: if a child leaves one of its own scopes open, leaving our scope fails.
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
        after = "" if life.cut_for is None else f", after: {classify_failure(life.cut_for, child.spec.redact).reason}"
        seconds = trio.current_time() - life.cut_at
        child.enter("parked", f"did not close within {seconds:.3g} s of its cancellation{after}")

    def _after(self, child: Child, life: Life) -> float | None:
        """What follows after a life: the seconds to the next attempt, or None when there is none."""
        attempt = child.end(life, failed=not child.stop_requested or life.error is not None)
        error = _error_of(life)
        verdict = classify_failure(error, child.spec.redact)
        if not child.stop_requested or life.error is not None:
            self._on_failure(child.spec.name, verdict, error)
        if child.stop_requested:
            child.enter("stopped")
            return None
        if verdict.action == "restart" and child.over_budget():
            verdict = Verdict("park", f"{verdict.reason} (more than {BUGS} times in {BUG_WINDOW_SECONDS:g} s)")
        if verdict.action == "park":
            return child.park(verdict.reason, self._backoff.look if verdict.retries_slowly else None)
        delay = self._backoff.delay(attempt, at_least=verdict.after_seconds)
        child.enter("waiting", verdict.reason, delay=delay)
        return delay
