"""Misbehaviour on demand: errors, broken connections, delays, silence, garbage."""

from collections.abc import Callable
from typing import Literal

import trio
from msgspec import Struct

from tests.fakes.bot_api.errors import ApiError, Json

FaultKind = Literal["error", "drop_before", "drop_after", "delay", "hold", "hang", "garbage"]
When = Callable[[Json], bool]


class Fault(Struct):
    """What happens to the next ``times`` matching requests (None: to all). ``seconds`` is the delay's, ``released`` ends the
    hold."""

    kind: FaultKind
    method: str
    times: int | None = 1
    when: When | None = None
    error: ApiError | None = None
    seconds: float = 0.0
    released: trio.Event | None = None
    status: int = 502
    body: bytes = b""


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
        for fault in self._faults:
            if fault.method in {method, "*"} and (fault.when is None or fault.when(values)):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times == 0:
                        self._faults.remove(fault)
                return fault
        return None
