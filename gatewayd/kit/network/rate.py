"""Requests no faster than the platform allows: for each route what its headers say, and for the whole account a pace.

The cores are pure. Their times are those of one clock in seconds, and never differences: rounding would make a wait of nothing
for ever. ``RateLimits`` waits, on the clock of the event loop.
"""

import math
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Final

import anyio
from msgspec import Struct

from gatewayd.actor.wakeup import Wakeup

BUCKETS: Final = 1_000
"""Buckets of one account in memory. When there are more, those that limit nothing now are forgotten, or else all that nobody
uses."""

_NUMBER: Final = re.compile(r"[0-9]{1,7}(\.[0-9]{1,12})?", re.ASCII)


class Limits(Struct, frozen=True):
    """What a response says of its bucket: ``remaining`` requests of ``limit`` until ``reset_after_seconds`` have passed.

    ``pause_seconds``: it was refused, and nothing may be sent for so long: on this route, or ``for_all`` of the account.
    """

    limit: int | None = None
    remaining: int | None = None
    reset_after_seconds: float | None = None
    bucket: str | None = None
    pause_seconds: float | None = None
    for_all: bool = False


def limits_in(headers: Mapping[str, str], *, refused: bool = False) -> Limits:
    """The limits in headers whose names are in lower case. What is no number in them is left out.

    The names are Discord's ("Rate Limits": X-RateLimit-Limit, -Remaining, -Reset-After, -Bucket, -Global) with Retry-After (RFC
    9110, section 10.2.3). ``refused``: the status is 429. Discord's scope ``shared`` is a limit of the route.
    """
    pause = _number(headers.get("retry-after"))
    return Limits(
        limit=_count(headers.get("x-ratelimit-limit")),
        remaining=_count(headers.get("x-ratelimit-remaining")),
        reset_after_seconds=_number(headers.get("x-ratelimit-reset-after")),
        bucket=headers.get("x-ratelimit-bucket") or None,
        pause_seconds=(1.0 if pause is None else pause) if refused else None,
        for_all=headers.get("x-ratelimit-global", "").lower() == "true",
    )


class Pace:
    """A token bucket: ``burst`` requests at once, and ``per_second`` in the long run. In any second there are at most the sum of
    both. (It is kept as the generic cell rate algorithm: one time instead of a number of tokens.)"""

    def __init__(self, burst: int, per_second: float) -> None:
        self._interval = 1.0 / per_second
        self._tolerance = (burst - 1) * self._interval
        self._full_at = -math.inf
        self._paused_until = -math.inf

    def ready_at(self) -> float:
        """When the next request may be sent."""
        return max(self._full_at - self._tolerance, self._paused_until)

    def take(self, now: float) -> None:
        self._full_at = max(self._full_at, now) + self._interval

    def pause(self, until: float) -> None:
        self._paused_until = max(self._paused_until, until)


class Bucket:
    """One bucket of the platform, as its responses tell. Requests that are not answered count as used.

    Until the first answer there is one request at a time. Where answers say nothing of limits, there are none.
    """

    def __init__(self) -> None:
        self.limit: int | None = None
        self.in_flight = 0
        self._remaining = 1
        self._resets_at: float | None = None
        self._paused_until = -math.inf
        self._is_free = False

    def ready_at(self, now: float) -> float:
        """When the next request may be sent; inf: when one is answered."""
        if now < self._paused_until:
            return self._paused_until
        if self._is_free or self.in_flight < self._left(now):
            return now
        if self._resets_at is not None and now < self._resets_at:
            return self._resets_at
        return now if self.in_flight == 0 else math.inf

    def take(self, now: float) -> None:
        if self._resets_at is not None and now >= self._resets_at:
            self._remaining = self._left(now)
            self._resets_at = None
        self.in_flight += 1

    def settle(self, limits: Limits | None, now: float) -> None:
        """A request is over. None: without an answer."""
        self.in_flight -= 1
        self._remaining = max(self._remaining - 1, 0)
        if limits is not None:
            self.learn(limits, now)

    def learn(self, limits: Limits, now: float) -> None:
        """Answers may come in another order than the platform gave them: within one window the lowest number counts."""
        if limits.remaining is not None and limits.reset_after_seconds is not None:
            is_same_window = self._resets_at is not None and now < self._resets_at
            self._remaining = min(self._remaining, limits.remaining) if is_same_window else limits.remaining
            self._resets_at = max(self._resets_at or 0.0, now + limits.reset_after_seconds)
            self.limit = limits.limit if limits.limit is not None else self.limit
        self._is_free = limits.remaining is None and self.limit is None
        if limits.pause_seconds is not None and not limits.for_all:
            self._paused_until = max(self._paused_until, now + limits.pause_seconds)

    def is_idle(self, now: float) -> bool:
        """To forget it changes nothing but that its limit has to be learnt again."""
        return self.in_flight == 0 and now >= self._paused_until and (self._resets_at is None or now >= self._resets_at)

    def _left(self, now: float) -> int:
        is_over = self._resets_at is not None and now >= self._resets_at
        return (self.limit or 1) if is_over else self._remaining


class Permit:
    """One request that may be sent now. ``limits`` is what its response says, None without one."""

    def __init__(self) -> None:
        self.limits: Limits | None = None

    def settle(self, limits: Limits) -> None:
        """Its response has come."""
        self.limits = limits


class RateLimits:
    """The limits of one account. Requests of one bucket begin in the order in which they asked.

    ::

        async with limits.permit("POST /channels/*/messages", channel_id) as permit:
            reply = await exchange(...)
            permit.settle(limits_in(reply.headers, refused=reply.status == 429))
    """

    def __init__(self, *, burst: int, per_second: float) -> None:
        self._account = Pace(burst, per_second)
        self._account_turn = anyio.Lock()
        self._queues: dict[tuple[str, str], _Queue] = {}
        self._names: dict[str, str] = {}

    @asynccontextmanager
    async def permit(self, route: str, resource: str = "") -> AsyncIterator[Permit]:
        """Wait until a request may be sent. A cancelled wait uses up nothing.

        ``route`` has no ids in it, or each would be a bucket of its own; ``resource`` is what the platform counts apart (Discord:
        the channel, the guild or the webhook).
        """
        queue = self._queue(route, resource)
        queue.users += 1
        try:
            await self._take(queue)
            permit = Permit()
            try:
                yield permit
            finally:
                self._settle(queue, route, resource, permit.limits)
        finally:
            queue.users -= 1

    def seconds_until(self, route: str, resource: str = "") -> float:
        """How long a request would have to wait now for what the platform has said; 0 for not at all. How many others wait before
        it, or for an answer, is not counted."""
        now = anyio.current_time()
        queue = self._queues.get((self._names.get(route, route), resource))
        ready = now if queue is None else queue.bucket.ready_at(now)
        return max(0.0, self._account.ready_at() - now, 0.0 if math.isinf(ready) else ready - now)

    async def _take(self, queue: "_Queue") -> None:
        async with queue.turn:
            while True:
                now = anyio.current_time()
                if (at := queue.bucket.ready_at(now)) > now:
                    with anyio.CancelScope(deadline=at):
                        await queue.changed.wait()
                    continue
                async with self._account_turn:
                    await anyio.sleep_until(self._account.ready_at())
                    now = anyio.current_time()
                    # A request may have been refused meanwhile.
                    if max(queue.bucket.ready_at(now), self._account.ready_at()) <= now:
                        queue.bucket.take(now)
                        self._account.take(now)
                        return

    def _settle(self, queue: "_Queue", route: str, resource: str, limits: Limits | None) -> None:
        now = anyio.current_time()
        queue.bucket.settle(limits, now)
        queue.changed.notify()
        if limits is None:
            return
        if limits.for_all and limits.pause_seconds is not None:
            self._account.pause(now + limits.pause_seconds)
        if limits.bucket is not None and self._names.get(route) != limits.bucket:
            if len(self._names) >= BUCKETS:
                self._names.clear()
            self._names[route] = limits.bucket
            shared = self._queues.setdefault((limits.bucket, resource), queue)
            if shared is not queue:
                shared.bucket.learn(limits, now)

    def _queue(self, route: str, resource: str) -> "_Queue":
        key = (self._names.get(route, route), resource)
        if key not in self._queues:
            if len(self._queues) >= BUCKETS:
                self._forget_some()
            self._queues[key] = _Queue()
        return self._queues[key]

    def _forget_some(self) -> None:
        now = anyio.current_time()
        kept = {key: queue for key, queue in self._queues.items() if queue.users or not queue.bucket.is_idle(now)}
        if len(kept) >= BUCKETS:
            kept = {key: queue for key, queue in kept.items() if queue.users}
        self._queues = kept


class _Queue:
    """Those who wait for one bucket."""

    def __init__(self) -> None:
        self.bucket = Bucket()
        self.turn = anyio.Lock()
        self.changed = Wakeup()
        self.users = 0


def _number(text: str | None) -> float | None:
    return float(text) if text is not None and _NUMBER.fullmatch(text) else None


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and text.isascii() and text.isdigit() and len(text) < 8 else None
