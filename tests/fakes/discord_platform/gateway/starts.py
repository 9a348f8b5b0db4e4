"""How often sessions may be started ("Gateway", Session Start Limit Object; Identifying; Rate Limiting)."""

from collections import deque

import trio

from tests.fakes.discord_platform.errors import Json

DAY_SECONDS = 86_400.0
CONCURRENCY_SECONDS = 5.0


class SessionStarts:
    """Counts IDENTIFY. The window of a day begins with its first start."""

    def __init__(self) -> None:
        self.total = 1000
        self.max_concurrency = 1
        self.used = 0
        self._window_began: float | None = None
        self._lately: deque[float] = deque()

    @property
    def remaining(self) -> int:
        self._renew()
        return self.total - self.used

    def as_json(self) -> Json:
        """``reset_after`` in milliseconds."""
        self._renew()
        began = trio.current_time() if self._window_began is None else self._window_began
        left = DAY_SECONDS - (trio.current_time() - began)
        return {
            "total": self.total,
            "remaining": self.total - self.used,
            "reset_after": 0 if self._window_began is None else int(left * 1000),
            "max_concurrency": self.max_concurrency,
        }

    def _renew(self) -> None:
        if self._window_began is not None and trio.current_time() - self._window_began >= DAY_SECONDS:
            self.used = 0
            self._window_began = None

    def take(self) -> bool:
        """One start more. False: there was none left."""
        self._renew()
        if self.used >= self.total:
            return False
        if self._window_began is None:
            self._window_began = trio.current_time()
        self.used += 1
        return True

    def is_too_soon(self) -> bool:
        """Whether more than ``max_concurrency`` came within five seconds; this one is counted."""
        now = trio.current_time()
        while self._lately and now - self._lately[0] >= CONCURRENCY_SECONDS:
            self._lately.popleft()
        if len(self._lately) >= self.max_concurrency:
            return True
        self._lately.append(now)
        return False
