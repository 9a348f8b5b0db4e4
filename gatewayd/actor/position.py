"""The position of a task in its code: for a task that ignores its cancellation, which only its author can fix."""

from itertools import islice
from pathlib import Path
from types import FrameType
from typing import Final

import trio

_FRAMES_MAX: Final = 200
_DEPTH_MAX: Final = 20
_WAITING: Final = (f"{Path(trio.__file__).parent}/", "/anyio/")
"""Where code waits. Of interest is the code that called it."""


def position_of(task: trio.lowlevel.Task) -> str:
    """FILE:LINE in FUNCTION of the innermost frame outside of Trio and AnyIO. If the task waits for tasks of its own, the newest
    of them counts. Empty when it has ended. The task must not be running at this moment, so it cannot be the caller's own."""
    for _ in range(_DEPTH_MAX):
        inner = next((task for nursery in reversed(task.child_nurseries) for task in nursery.child_tasks), None)
        if inner is None:
            break
        task = inner
    return own_position_of(task)


def own_position_of(task: trio.lowlevel.Task) -> str:
    """As ``position_of``, of this task alone, whatever it waits for."""
    frames = list(islice(task.iter_await_frames(), _FRAMES_MAX))
    own = [(frame, line) for frame, line in frames if not _only_waits(frame)]
    if not (found := own or frames):
        return ""
    frame, line = found[-1]
    return f"{frame.f_code.co_filename}:{line} in {frame.f_code.co_qualname}"


def _only_waits(frame: FrameType) -> bool:
    return any(part in frame.f_code.co_filename for part in _WAITING)
