"""Rate limits ("Rate Limits"): buckets per route and resource, and the global one of a bot."""

from collections import deque
from collections.abc import Callable
from hashlib import md5
from math import ceil

import trio
from msgspec import Struct

from tests.fakes.discord_platform.errors import Json

GLOBAL_PER_SECOND = 50
UNLIMITED_GLOBALLY = ("/interactions/", "/webhooks/")
"""Routes of interactions are not bound to the global limit ("Receiving and Responding", Endpoints)."""
WITHOUT_BUCKET = "POST /interactions/"
"""The callback has no bucket and no such headers: hikari's routes say so (has_ratelimits)."""
DEFAULT_RULE = (50, 1.0)
RULES: dict[str, tuple[int, float]] = {
    "POST /channels/{channel_id}/messages": (5, 5.0),
    "PATCH /channels/{channel_id}/messages/{message_id}": (5, 5.0),
    "DELETE /channels/{channel_id}/messages/{message_id}": (5, 1.0),
    "GET /channels/{channel_id}/messages": (5, 5.0),
    "POST /channels/{channel_id}/typing": (5, 5.0),
    "PUT /channels/{channel_id}/messages/{message_id}/reactions/{emoji_name}/@me": (1, 0.25),
    "POST /webhooks/{webhook_id}/{webhook_token}": (5, 2.0),
    "PATCH /webhooks/{webhook_id}/{webhook_token}/messages/@original": (5, 2.0),
}
"""Requests and seconds by route, near what the real API says today. They are no promise of Discord's: clients read headers."""


class Bucket(Struct):
    remaining: int
    resets_at: float


class Verdict(Struct):
    """What the limits say to a request. ``body`` is None when it may pass."""

    headers: tuple[tuple[str, str], ...]
    body: Json | None = None


class Limits:
    """``now`` is in Unix seconds. Change ``rules`` and ``global_per_second`` at will; ``is_on = False`` lets everything pass."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._buckets: dict[tuple[str, str], Bucket] = {}
        self._lately: deque[float] = deque()
        self._global_until = 0.0
        self.rules = dict(RULES)
        self.global_per_second = GLOBAL_PER_SECOND
        self.is_on = True
        self.sends_headers = True

    def check(self, route: str, resource: str) -> Verdict:
        """Take one request from its bucket. ``resource``: the ids of the top-level resources in its path."""
        if not self.is_on:
            return Verdict(())
        now = trio.current_time()
        if now < self._global_until:
            return self.globally(self._global_until - now)
        if not any(route.partition(" ")[2].startswith(free) for free in UNLIMITED_GLOBALLY):
            while self._lately and now - self._lately[0] >= 1.0:
                self._lately.popleft()
            if len(self._lately) >= self.global_per_second:
                return self.globally(1.0 - (now - self._lately[0]))
            self._lately.append(now)
        if route.startswith(WITHOUT_BUCKET):
            return Verdict(())
        return self._take(route, resource, now)

    def _take(self, route: str, resource: str, now: float) -> Verdict:
        limit, seconds = self.rules.get(route, DEFAULT_RULE)
        bucket = self._buckets.get((route, resource))
        if bucket is None or now >= bucket.resets_at:
            bucket = self._buckets[route, resource] = Bucket(limit, now + seconds)
        if bucket.remaining <= 0:
            wait = bucket.resets_at - now
            return Verdict(
                (*self._headers(route, limit, 0, wait), ("X-RateLimit-Scope", "user"), _retry_after(wait)), _body(wait)
            )
        bucket.remaining -= 1
        return Verdict(self._headers(route, limit, bucket.remaining, bucket.resets_at - now))

    def _headers(self, route: str, limit: int, remaining: int, wait: float) -> tuple[tuple[str, str], ...]:
        if not self.sends_headers:
            return ()
        return (
            ("X-RateLimit-Limit", str(limit)),
            ("X-RateLimit-Remaining", str(remaining)),
            ("X-RateLimit-Reset", f"{self._now() + wait:.3f}"),
            ("X-RateLimit-Reset-After", f"{wait:.3f}"),
            ("X-RateLimit-Bucket", bucket_hash(route)),
        )

    def exhaust(self, route: str, resource: str, seconds: float) -> None:
        """From now on, for these seconds: 429 with scope ``user`` for this route and resource."""
        self._buckets[route, resource] = Bucket(0, trio.current_time() + seconds)

    def limit_globally(self, seconds: float) -> None:
        """From now on, for these seconds: 429 with ``global: true`` for everything."""
        self._global_until = trio.current_time() + seconds

    def globally(self, wait: float) -> Verdict:
        """A 429 of the global limit: without the headers of a bucket."""
        headers = (("X-RateLimit-Global", "true"), ("X-RateLimit-Scope", "global"), _retry_after(wait))
        return Verdict(headers, _body(wait, is_global=True))

    def shared(self, route: str, wait: float) -> Verdict:
        """A 429 of a resource's own limit: the bucket's headers say nothing of it, only the body and Retry-After do."""
        limit, seconds = self.rules.get(route, DEFAULT_RULE)
        headers = (*self._headers(route, limit, limit - 1, seconds), ("X-RateLimit-Scope", "shared"), _retry_after(wait))
        return Verdict(headers, {**_body(wait), "message": "The resource is being rate limited."})


def bucket_hash(route: str) -> str:
    """X-RateLimit-Bucket: one name for a route, whatever the resource."""
    return md5(route.encode(), usedforsecurity=False).hexdigest()


def _retry_after(wait: float) -> tuple[str, str]:
    return ("Retry-After", str(ceil(wait)))


def _body(wait: float, *, is_global: bool = False) -> Json:
    return {"message": "You are being rate limited.", "retry_after": round(wait, 3), "global": is_global}
