"""Misbehaviour of the REST API on demand, by route: statuses, limits, broken connections, delays, silence."""

from collections.abc import Callable
from typing import Any, Literal

import trio
from msgspec import Struct

from tests.fakes.discord_platform.errors import ApiError
from tests.fakes.discord_platform.rest.routing import Call

FaultKind = Literal["error", "page", "limit", "shared", "global", "cut_before", "cut_after", "delay", "hold", "hang"]
When = Callable[[Call], bool]
BAD_GATEWAY = (
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body><center><h1>502 Bad Gateway</h1></center></body></html>"
)


class Fault(Struct):
    """What happens to the next ``times`` matching requests (None: to all). ``route`` is a name as "POST
    /channels/{channel_id}/messages", a beginning of one, or "*". ``seconds`` is of a limit or a delay; ``until`` (Trio's clock)
    ends the fault."""

    kind: FaultKind
    route: str = "*"
    times: int | None = 1
    when: When | None = None
    until: float = float("inf")
    error: ApiError | None = None
    status: int = 502
    body: bytes = BAD_GATEWAY
    content_type: str = "text/html"
    seconds: float = 0.0
    released: trio.Event | None = None


class Faults:
    """Faults in the order they were asked for; each request meets at most one."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(self, kind: FaultKind, route: str, **settings: Any) -> Fault:
        """``settings`` are fields of :class:`Fault`."""
        fault = Fault(kind, route, **settings)
        self._faults.append(fault)
        return fault

    def clear(self) -> None:
        self._faults.clear()

    def take(self, call: Call) -> Fault | None:
        """The first fault for this request; its count goes down."""
        self._faults = [fault for fault in self._faults if trio.current_time() < fault.until]
        for fault in self._faults:
            if fault.route != "*" and not call.route.startswith(fault.route):
                continue
            if fault.when is None or fault.when(call):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None
