"""When a life of the daemon ends without a word: before any step of any task, or around a commit or a call to a platform."""

from collections.abc import Callable
from random import Random
from typing import Literal

import trio

Point = Literal["before_commit", "after_commit", "before_call", "after_call"]
_POINTS: tuple[Point, ...] = ("before_commit", "after_commit", "before_call", "after_call")


class CrashPlan:
    """Where one life is to end: at the ``number``-th passing of ``point``. Without a point it lives on."""

    def __init__(self, point: Point | Literal["step"] | None, number: int) -> None:
        self.point = point
        self.number = number

    def __str__(self) -> str:
        return "none" if self.point is None else f"{self.point} {self.number}"


def draw_plan(rng: Random) -> CrashPlan:
    """Half of the crashes are before a step, the others at the points where most can go wrong; early ones are as likely as late
    ones."""
    if rng.random() < 0.5:
        return CrashPlan("step", int(10 ** rng.uniform(1.7, 3.4)))
    return CrashPlan(rng.choice(_POINTS), int(10 ** rng.uniform(0, 1.7)))


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks of a run, and calls ``then`` before one that was asked for. ``too_many`` is called when there
    are so many that something goes round in circles."""

    def __init__(self, most: int, too_many: Callable[[], None]) -> None:
        self.count = 0
        self._most = most
        self._too_many = too_many
        self._at = -1
        self._then: Callable[[], None] = lambda: None

    def call_after(self, steps: int, then: Callable[[], None]) -> None:
        """``then`` once, so many steps from now; what was asked for before is forgotten."""
        self._at = self.count + steps
        self._then = then

    def forget(self) -> None:
        self._at = -1

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += 1
        if self.count == self._at:
            self._then()
        elif self.count == self._most:
            self._too_many()
