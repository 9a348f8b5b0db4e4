"""How blocking calls are run: in a worker thread in production, in the event loop in tests with a fake clock."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from anyio import CapacityLimiter, lowlevel, to_thread

T = TypeVar("T")


class RunBlocking(Protocol):
    """Run ``work``, and return its result or raise its error.

    It must not return, and must not be cancelled, while ``work`` still runs: the next call uses the same connection.
    """

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def threads() -> RunBlocking:
    """Worker threads for the store alone, one for its writer and one for its reader. So it never waits for the file or name
    look-ups of other parts."""
    limiter = CapacityLimiter(2)

    async def run(work: Callable[[], T], /) -> T:
        return await to_thread.run_sync(work, abandon_on_cancel=False, limiter=limiter)

    return run


async def run_inline(work: Callable[[], T], /) -> T:
    """Run ``work`` in the thread of the event loop. For tests: their fake clock would jump while a worker thread is busy."""
    await lowlevel.checkpoint()
    return work()
