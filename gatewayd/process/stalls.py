"""Detects a blocked event loop, and names the frame that blocks it. A thread does it: a blocked loop cannot.

Between two polls of its sockets and timers Trio runs a pass: each ready task, until it gives way. The loop notes when a pass
begins and ends (two clock readings, none at idle). The thread wakes once in ``limit_seconds``, and finds a long pass while it
runs.

A long pass need not be a fault. A process that is stopped, frozen with its cgroup or starved of CPU stands still as a whole: its
thread does not run, and it uses no CPU. That is logged as a pause of the process. (While the machine sleeps, CLOCK_MONOTONIC
stands still, and nothing is noticed.) C code that keeps the interpreter lock blocks the thread, too, but uses CPU: it is named
when it returns. Code that never returns is ended by the watchdog, and faulthandler then names it without the lock.
``faulthandler.dump_traceback_later`` would name it earlier, but could not tell it from a stopped process, and ignores the bounds
of the log.
"""

import sys
import threading
import time
from collections.abc import Callable
from math import inf
from types import FrameType, TracebackType
from typing import Final, Self

import structlog
import trio
from msgspec.structs import replace

from gatewayd.model.status import Stall, StallStatistics

MAX_FRAMES: Final = 20
"""The number of logged frames: the innermost ones."""
UNKNOWN_FRAME: Final = "unknown: the code gave way before the detector looked"
_TOLERANCE_SECONDS: Final = 0.5
"""The thread may wake so late on a busy machine."""
_SHORTEST_SLEEP_SECONDS: Final = 0.01

_LOOP_FUNCTION: Final = "unrolled_run"
"""Trio's loop, which steps the tasks. The frames outside of it are the same for every task."""

log = structlog.get_logger("gatewayd.stalls")


class StallDetector(trio.abc.Instrument):
    """Watches the Trio loop of the thread that created it, while it is entered, for passes of at least ``limit_seconds``.

    Give it to ``trio.run`` as an instrument. ``now`` gives Unix seconds, ``monotonic`` and ``cpu`` (of the process) seconds."""

    def __init__(
        self,
        limit_seconds: float,
        *,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        cpu: Callable[[], float] = time.process_time,
    ) -> None:
        self._limit = limit_seconds
        self._now = now
        self._monotonic = monotonic
        self._cpu = cpu
        self._loop_thread = threading.get_ident()
        self._thread = threading.Thread(target=self._watch, name="stall detector", daemon=True)
        self._over = threading.Event()
        self._lock = threading.Lock()  # for rare events: the checks of the thread and the ends of long passes
        self._began = inf  # of the running pass; inf while the loop waits
        self._reported = inf  # the start of the pass that was logged
        self._where = UNKNOWN_FRAME
        self._resumed = -inf  # the end of the last pause of the process
        self._look_due = inf
        self._cpu_before = 0.0
        self._statistics = StallStatistics()
        self._last: Stall | None = None

    def __enter__(self) -> Self:
        self._plan_look(self._limit)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._over.set()
        self._thread.join()

    def last_stall(self) -> Stall | None:
        """The newest stall that has ended."""
        return self._last

    def statistics(self) -> StallStatistics:
        return self._statistics

    def after_io_wait(self, timeout: float) -> None:
        """Trio: a pass begins."""
        self._began = self._monotonic()

    def before_io_wait(self, timeout: float) -> None:
        """Trio: the pass is over."""
        now = self._monotonic()
        if now - self._began >= self._limit:
            with self._lock:
                self._end_long_pass(now)
        self._began = inf

    def _watch(self) -> None:
        seconds = self._limit
        while not self._over.wait(seconds):
            with self._lock:
                seconds = self._look()
                self._plan_look(seconds)

    def _plan_look(self, seconds: float) -> None:
        self._cpu_before = self._cpu()
        self._look_due = self._monotonic() + seconds

    def _look(self) -> float:
        """One check. Returns the seconds until the next one."""
        now, began = self._monotonic(), self._began
        if pause := self._pause_until(now):
            log.warning("process_paused", seconds=round(pause, 3))
            self._statistics = replace(self._statistics, pauses=self._statistics.pauses + 1)
            # The running pass is timed anew: the part of it that was the pause is known only to the precision of one check.
            self._resumed = now
        if began in (inf, self._reported):
            return self._limit
        seconds = now - max(began, self._resumed)
        if seconds < self._limit:
            return max(self._limit - seconds, _SHORTEST_SLEEP_SECONDS)
        if stack := _stack_of(self._loop_thread):
            self._reported, self._where = began, stack[0]
            log.warning("loop_stalled", seconds=round(seconds, 3), frame=stack[0], frames=stack)
        return self._limit

    def _end_long_pass(self, now: float) -> None:
        seen = self._reported == self._began
        # After a pause of the process this may run before the thread, which has not logged the pause yet.
        if not seen and self._pause_until(now):
            return
        seconds = now - (self._began if seen else max(self._began, self._resumed))
        if seconds < self._limit:
            return
        where, longest = self._where if seen else UNKNOWN_FRAME, max(self._statistics.longest, seconds)
        self._statistics = replace(self._statistics, stalls=self._statistics.stalls + 1, longest=longest)
        self._last = Stall(self._now() - seconds, seconds, where)
        log.warning("loop_resumed", seconds=round(seconds, 3), frame=where)

    def _pause_until(self, now: float) -> float:
        """The seconds in which the process did not run: the thread is late, and no CPU was used meanwhile. 0: it ran."""
        late = now - self._look_due
        return late if late > _TOLERANCE_SECONDS and self._cpu() - self._cpu_before < late / 2 else 0.0


def _stack_of(thread: int) -> list[str]:
    """The innermost frames of a thread, up to Trio's loop, as "FILE:LINE in FUNCTION". Empty where the thread has meanwhile ended
    its pass and waits for the lock here."""
    frame: FrameType | None = sys._current_frames().get(thread)
    if frame is None or frame.f_code.co_filename == __file__:
        return []
    stack: list[str] = []
    while frame is not None and len(stack) < MAX_FRAMES and not (stack and frame.f_code.co_name == _LOOP_FUNCTION):
        stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
        frame = frame.f_back
    return stack
