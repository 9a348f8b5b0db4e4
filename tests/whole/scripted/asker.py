"""A user's agent that asks its user something, and then for permission. Configured as ``tests.whole.scripted.asker:paint``."""

from collections.abc import AsyncIterator

from gatewayd.agents.callable import CallableTurn


async def paint(turn: CallableTurn) -> AsyncIterator[str]:
    said = await turn.question("Which colour?", ("Red", "Blue"))
    if said is None:
        yield "No colour, then."
        return
    decision = await turn.ask("paint", {"colour": said[0], "what": "x" * 200})
    yield f"{said[0]}: {decision.outcome}"
