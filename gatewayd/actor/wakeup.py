"""An event that can be waited for again and again."""

import trio


class Wakeup:
    """Wakes tasks when something is new. Several may ``wait``; one alone may ``take``, which misses nothing.

    It costs next to nothing to notify when nobody waits.
    """

    __slots__ = ("_event", "_is_new")

    def __init__(self) -> None:
        self._event: trio.Event | None = None
        self._is_new = False

    def notify(self) -> None:
        """Wake every task that waits. Never waits."""
        self._is_new = True
        if self._event is not None:
            self._event.set()
            self._event = None

    def upcoming(self) -> trio.Event:
        """What the next ``notify`` sets: for a task that looks at something with waits in between, and misses nothing since."""
        if self._event is None:
            self._event = trio.Event()
        return self._event

    async def wait(self) -> None:
        """Returns at the next ``notify``. What was before is for the caller to look at, without a wait in between."""
        await self.upcoming().wait()

    async def take(self) -> None:
        """Returns at once if there was a ``notify`` since the last ``take``, else at the next one."""
        if self._is_new:
            await trio.lowlevel.checkpoint()
        else:
            await self.wait()
        self._is_new = False
