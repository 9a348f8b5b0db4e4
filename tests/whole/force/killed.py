"""gatewayd in a process that ends by SIGKILL at a named point, or whose wall clock is another one.

    python -m tests.whole.force.killed [--at POINT [--nth N] [--gate FILE]] [--clock FILE] -- GATEWAYD-ARGUMENTS

The N-th call that comes to the point is the end; with a gate it waits there for that file first. ``--clock`` names a file that
holds what ``time.time`` is ahead by, in seconds; it may be written while the process runs. Production code knows nothing of this.
"""

import importlib
import inspect
import os
import signal
import sys
import threading
import time
from argparse import ArgumentParser
from collections.abc import Awaitable, Callable
from functools import wraps
from pathlib import Path
from typing import NoReturn, ParamSpec, TypeVar

import trio

from tests.whole.force.points import POINTS, Point

P = ParamSpec("P")
T = TypeVar("T")


class Trap:
    """Counts the calls that come to a point and ends the process at the ``nth``."""

    def __init__(self, point: Point, nth: int, gate: Path | None) -> None:
        self._point = point
        self._left = nth
        self._gate = gate
        self._lock = threading.Lock()

    def set(self) -> None:
        """Wrap the method."""
        module, _, path = self._point.target.partition(":")
        owner_name, _, method = path.partition(".")
        owner = getattr(importlib.import_module(module), owner_name)
        original = getattr(owner, method)
        wrapper = self._around_async(original) if inspect.iscoroutinefunction(original) else self._around(original)
        setattr(owner, method, wrapper)

    def _around(self, original: Callable[P, T]) -> Callable[P, T]:
        @wraps(original)
        def trapped(*args: P.args, **kwargs: P.kwargs) -> T:
            if self._point.moment == "before" and self._is_the_one():
                die()
            result = original(*args, **kwargs)
            if self._point.moment == "after" and self._is_the_one():
                die()
            return result

        return trapped

    def _around_async(self, original: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[T]]:
        @wraps(original)
        async def trapped(*args: P.args, **kwargs: P.kwargs) -> T:
            if self._point.moment == "before" and self._is_the_one():
                await self._die_behind_the_gate()
            result = await original(*args, **kwargs)
            if self._point.moment == "after" and self._is_the_one():
                await self._die_behind_the_gate()
            return result

        return trapped

    async def _die_behind_the_gate(self) -> NoReturn:
        while self._gate is not None and not self._gate.exists():  # noqa: ASYNC110
            await trio.sleep(0.005)
        die()

    def _is_the_one(self) -> bool:
        with self._lock:
            self._left -= 1
            return self._left == 0


def die() -> NoReturn:
    """As the kernel's OOM killer does it."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("nobody gets here")


def shift_clock(file: Path) -> None:
    """Replace ``time.time`` before anything of gatewayd has seen it."""
    real = time.time

    def shifted() -> float:
        return real() + float(file.read_text())

    time.time = shifted


def main() -> int:
    parser = ArgumentParser(prog="python -m tests.whole.force.killed")
    parser.add_argument("--at", choices=sorted(POINTS))
    parser.add_argument("--nth", type=int, default=1)
    parser.add_argument("--gate", type=Path)
    parser.add_argument("--clock", type=Path)
    # A word of its own ends our options: the rest is gatewayd's.
    here = sys.argv.index("--")
    options = parser.parse_args(sys.argv[1:here])
    if options.clock is not None:
        shift_clock(options.clock)
    from gatewayd.cli import gatewayd  # only now: the clock comes first

    if options.at is not None:
        Trap(POINTS[options.at], options.nth, options.gate).set()
    return gatewayd.main(sys.argv[here + 1 :])


if __name__ == "__main__":
    sys.exit(main())
