"""An agent of a user's own, for the whole-process tests: it reads the files it is sent."""

from collections.abc import AsyncGenerator

from gatewayd.agents.callable import CallableTurn


async def read_files(turn: CallableTurn) -> AsyncGenerator[str, None]:
    for attachment in turn.attachments:
        content = await turn.fetch(attachment, at_most_bytes=1000)
        yield f"{attachment.name}: {content.decode()}"
