"""An event that can be used again and again."""

import trio


class Wakeup:
    """Wakes tasks when something is new. Several tasks may ``wait``; one task alone may ``take``, which misses nothing.

    Notifying costs almost nothing when no task waits.
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
        """The event that the next ``notify`` sets: for a task that awaits other things between its check and its wait."""
        if self._event is None:
            self._event = trio.Event()
        return self._event

    async def wait(self) -> None:
        """Returns at the next ``notify``. The caller checks what was before, with no await in between."""
        await self.upcoming().wait()

    async def take(self) -> None:
        """Returns at once if ``notify`` was called since the last ``take``, else at the next call."""
        if self._is_new:
            await trio.lowlevel.checkpoint()
        else:
            await self.wait()
        self._is_new = False
