"""Misbehaviour of the Web API on demand: refusals, limits, broken connections, delays, silence, redirects, garbage."""

import math
from collections.abc import Callable
from typing import Literal

import trio
from msgspec import Struct, field

from tests.fakes.slack_platform.errors import Json, SlackError

FaultKind = Literal[
    "error", "error_after", "drop_before", "drop_after", "delay", "hold", "hang", "hang_after", "status", "redirect"
]
When = Callable[[Json], bool]


class Fault(Struct):
    """What happens to the next ``times`` matching requests (None: to all), at the latest ``until`` (Trio's clock).

    ``…_after`` means: after the effect. ``hold`` waits for ``released``. ``status`` answers ``body`` with that HTTP status.
    """

    kind: FaultKind
    method: str
    times: int | None = 1
    when: When | None = None
    until: float = math.inf
    error: SlackError | None = None
    seconds: float = 0.0
    released: trio.Event | None = None
    status: int = 502
    body: bytes = b""
    location: str = ""

    def limited(self) -> SlackError:
        """The error of this fault; that of a limit tells the seconds that are left (docs.slack.dev/apis/web-api/rate-limits)."""
        if self.error is None or self.error.name != "ratelimited" or self.until == math.inf:
            return self.error or SlackError("internal_error")
        return ratelimited(math.ceil(self.until - trio.current_time()))


class Faults:
    """Faults in the order they were asked for; each request meets at most one."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, fault: Fault) -> None:
        self._faults.append(fault)

    def clear(self) -> None:
        self._faults.clear()

    def take(self, method: str, values: Json) -> Fault | None:
        """The first fault for this request; its count goes down. Method "*" is any."""
        self._faults = [fault for fault in self._faults if fault.until > trio.current_time()]
        for fault in self._faults:
            if fault.method in {method, "*"} and (fault.when is None or fault.when(values)):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None


class Rate(Struct):
    """At most ``calls`` of ``method`` in ``seconds``, for each value of ``per`` (docs.slack.dev/apis/web-api/rate-limits)."""

    method: str
    calls: int
    seconds: float
    per: str | None = None
    made: dict[str, list[float]] = field(default_factory=dict)

    def check(self, method: str, values: Json) -> None:
        """:raises SlackError: ratelimited, with the seconds until the next call may be made."""
        if method != self.method:
            return
        now = trio.current_time()
        key = str(values.get(self.per)) if self.per else ""
        recent = [at for at in self.made.get(key, ()) if at > now - self.seconds]
        if len(recent) >= self.calls:
            raise ratelimited(max(1, math.ceil(recent[0] + self.seconds - now)))
        self.made[key] = [*recent, now]


def ratelimited(seconds: int) -> SlackError:
    """HTTP 429 with Retry-After in seconds (docs.slack.dev/apis/web-api/rate-limits)."""
    return SlackError("ratelimited", status=429, retry_after_seconds=seconds)
