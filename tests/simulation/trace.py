"""What happened in a run, one line each: printed when somebody looks, and always counted into a digest."""

from collections import deque
from collections.abc import Callable
from hashlib import blake2b

import trio

_KEPT = 60


class Violation(Exception):
    """A promise was broken. ``invariant`` is its name in docs/simulation.md."""

    def __init__(self, invariant: str, what: str) -> None:
        super().__init__(f"{invariant}: {what}")
        self.invariant = invariant
        self.what = what


class Trace:
    """``show`` gets every line; without it only the newest lines are kept."""

    def __init__(self, show: Callable[[str], None] | None = None) -> None:
        self._show = show
        self._digest = blake2b(digest_size=16)
        self.newest: deque[str] = deque(maxlen=_KEPT)

    def tell(self, who: str, what: str) -> None:
        """``who`` did or met ``what``, now."""
        line = f"{trio.current_time():10.3f}  {who:<14} {what}"
        self.newest.append(line)
        self._digest.update(line.encode())
        if self._show is not None:
            self._show(line)

    def count_in(self, data: object) -> None:
        """Something that belongs to the run and is no line."""
        self._digest.update(repr(data).encode())

    @property
    def digest(self) -> str:
        return self._digest.hexdigest()
