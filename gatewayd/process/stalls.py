"""Says which frame holds up the loop, from a thread beside it: a loop that is blocked cannot say it itself.

Trio goes from one look at its sockets and timers to the next in a pass; a pass is as long as what the tasks in it do without
giving way. The loop notes when each pass begins and ends (two clock readings, nothing at idle), and the thread sleeps until the
present one would be too long: it wakes once in ``limit_seconds``, and finds a long pass at the very moment when it is.

Not every long pass is somebody's fault: a process that is stopped, frozen with its cgroup or starved of CPU stands still as a
whole. Then the thread did not run either, and the process used no CPU: that is logged as a pause of the process. (While a whole
machine sleeps CLOCK_MONOTONIC stands still, so that nothing is seen at all.) Code that computes in C and keeps the interpreter
lock holds up the thread, too, but uses CPU: it is named as soon as it returns. What never returns is ended by the watchdog,
and faulthandler names it then, without the lock. ``faulthandler.dump_traceback_later`` would name it earlier, but could not
tell it from a process that was stopped, and writes past the log's bounds.
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
"""How much of the stack is logged: the innermost frames."""
UNKNOWN_FRAME: Final = "unknown: the code gave way before the detector looked"
_TOLERANCE_SECONDS: Final = 0.5
"""So late may the thread wake by itself, on a machine that has much to do."""
_SHORTEST_SLEEP_SECONDS: Final = 0.01

_LOOP_FUNCTION: Final = "unrolled_run"
"""Trio's loop, which steps the tasks: what is outside of it is the same for all."""

log = structlog.get_logger("gatewayd.stalls")


class StallDetector(trio.abc.Instrument):
    """Watches the Trio loop of the thread that made it for passes of at least ``limit_seconds``, while it is entered; give it
    to ``trio.run`` as an instrument. ``now`` gives Unix seconds, ``monotonic`` and ``cpu`` (of the whole process) seconds."""

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
        self._lock = threading.Lock()  # for what is rare: the thread's looks and the ends of long passes
        self._began = inf  # of the present pass; inf while the loop waits
        self._reported = inf  # the pass that was found too long
        self._where = UNKNOWN_FRAME
        self._resumed = -inf  # when the whole process last went on after a pause
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
        """The newest stall that is over."""
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
        """Returns after how many seconds to look again."""
        now, began = self._monotonic(), self._began
        if pause := self._pause_until(now):
            log.warning("process_paused", seconds=round(pause, 3))
            self._statistics = replace(self._statistics, pauses=self._statistics.pauses + 1)
            # What was under way counts anew: how much of it was the pause is not known to less than a look.
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
        # When the whole process stood still, this may run before the thread, which would have noted it.
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
        """How long the whole process has not run: the thread is overdue, and no CPU was used meanwhile. 0 if it has."""
        late = now - self._look_due
        return late if late > _TOLERANCE_SECONDS and self._cpu() - self._cpu_before < late / 2 else 0.0


def _stack_of(thread: int) -> list[str]:
    """The innermost frames of a thread, this side of Trio's own loop: FILE:LINE in FUNCTION. Empty if the thread has come to
    the end of its pass meanwhile, and waits for the lock here."""
    frame: FrameType | None = sys._current_frames().get(thread)
    if frame is None or frame.f_code.co_filename == __file__:
        return []
    stack: list[str] = []
    while frame is not None and len(stack) < MAX_FRAMES and not (stack and frame.f_code.co_name == _LOOP_FUNCTION):
        stack.append(f"{frame.f_code.co_filename}:{frame.f_lineno} in {frame.f_code.co_qualname}")
        frame = frame.f_back
    return stack
