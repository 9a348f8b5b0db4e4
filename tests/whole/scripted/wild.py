"""An agent of a user's own that raises what it is told to."""

from collections.abc import AsyncIterator

from gatewayd.agents.callable import CallableTurn
from tests.third_party.kinds import KINDS


async def raise_it(turn: CallableTurn) -> AsyncIterator[str]:
    yield "I shall see."
    if turn.text in KINDS:
        raise KINDS[turn.text]()
