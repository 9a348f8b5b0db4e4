"""Who runs the blocking calls: a worker thread in production, the caller itself in tests with a fake clock."""

from collections.abc import Callable
from typing import Protocol, TypeVar

from anyio import CapacityLimiter, lowlevel, to_thread

T = TypeVar("T")


class RunBlocking(Protocol):
    """Run ``work`` and return what it returns or raise what it raises.

    Must never return (or be cancelled away) while ``work`` still runs: the store hands its connections from one call to
    the next on the strength of that.
    """

    async def __call__(self, work: Callable[[], T], /) -> T: ...


def threads() -> RunBlocking:
    """Worker threads of the store's own: at most one for its writer and one for its reader, so that it never waits behind
    others' file or name look-ups."""
    limiter = CapacityLimiter(2)

    async def run(work: Callable[[], T], /) -> T:
        return await to_thread.run_sync(work, abandon_on_cancel=False, limiter=limiter)

    return run


async def run_inline(work: Callable[[], T], /) -> T:
    """Run in the event loop's own thread: for tests, whose fake clock would jump while a thread works."""
    await lowlevel.checkpoint()
    return work()
