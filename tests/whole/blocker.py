"""An agent as it is written by accident: async, and yet it holds up everything."""

import time
from collections.abc import AsyncGenerator

from gatewayd.agents.callable import CallableTurn


async def hold_up(turn: CallableTurn) -> AsyncGenerator[str, None]:
    """``hold SECONDS``: sleeps as no async function may."""
    time.sleep(float(turn.text.partition(" ")[2]))  # noqa: ASYNC251 - the fault that is to be found
    yield "done"
