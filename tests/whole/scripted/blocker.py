"""An agent as it is written by accident: async, and yet it holds up everything."""

import os
import time
from collections.abc import AsyncGenerator

from gatewayd.agents.callable import CallableTurn


async def hold_up(turn: CallableTurn) -> AsyncGenerator[str, None]:
    """``until PATH``: waits for a file as no async function may."""
    path = turn.text.partition(" ")[2]
    while not os.access(path, os.F_OK):
        time.sleep(0.01)  # noqa: ASYNC251 - the fault that is to be found
    yield "done"
