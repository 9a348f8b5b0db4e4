"""Calls that change nothing, made again when they meet an outage of a moment. Never around a send, a turn or a decision: these
wait as rows, where they can be seen."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from gatewayd.model.errors import TryAgain

ATTEMPTS = 3
FIRST_SECONDS = 0.5
"""Before the second attempt; twice as long before the third."""
WITHIN_SECONDS = 5.0
"""Nothing is tried again after this time. A longer outage is for the caller to show, and to wait for."""

T = TypeVar("T")


async def repeat(call: Callable[[], Awaitable[T]]) -> T:
    """What ``call`` returns, at its first attempt that meets no outage. Who is asked to wait for a time is not asked before.

    :raises TryAgain: the last attempt met one, too. :raises Exception: what else ``call`` raises, at once.
    """
    began = anyio.current_time()

    def may_pass_soon(error: BaseException) -> bool:
        is_outage = isinstance(error, TryAgain) and error.after_seconds is None
        return is_outage and anyio.current_time() - began < WITHIN_SECONDS

    attempts = AsyncRetrying(
        sleep=anyio.sleep,
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_exponential(multiplier=FIRST_SECONDS),
        retry=retry_if_exception(may_pass_soon),
        reraise=True,
    )
    async for attempt in attempts:
        with attempt:
            return await call()
    raise AssertionError("the last attempt returns or raises")
