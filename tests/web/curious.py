"""An agent that asks its user where to go. Configured as ``tests.web.curious:ask``."""

from collections.abc import AsyncIterator

from gatewayd.agents.callable import CallableTurn


async def ask(turn: CallableTurn) -> AsyncIterator[str]:
    yield f"told {await turn.question('Where to?', ('North', 'South'))}"
