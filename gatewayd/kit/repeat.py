"""Repeats calls that change nothing after a short outage. Never for a send, a turn or a decision: these wait as rows, where
people can see them."""

from collections.abc import Awaitable, Callable
from typing import TypeVar

import anyio
from tenacity import AsyncRetrying, retry_if_exception, stop_after_attempt, wait_exponential

from gatewayd.model.errors import TryAgain

ATTEMPTS = 3
FIRST_SECONDS = 0.5
"""Before the second attempt; twice as long before the third."""
WITHIN_SECONDS = 5.0
"""After this time no call is repeated. The caller shows a longer outage, and waits for its end."""

T = TypeVar("T")


async def repeat(call: Callable[[], Awaitable[T]]) -> T:
    """The result of ``call`` at its first attempt without an outage. A TryAgain with a time to wait is not repeated.

    :raises TryAgain: the last attempt failed, too. :raises Exception: any other error of ``call``, at once.
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
