"""Fetches what was said while the account was not connected, from a history in pages, and delivers it oldest first.

Each commit moves the cursor along with its messages. So a backfill that is cut goes on where it was; it loses and repeats
nothing.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from gatewayd.model.message.envelope import InboundEnvelope
from gatewayd.ports.channel import Deliver

PAGES: Final = 20
"""The default bound of the pages of one backfill."""
MESSAGES: Final = 1_000
"""The default bound of its messages. Backward, so many are held in memory."""
_IN_ONE_COMMIT: Final = 100


class Fetched(Struct, frozen=True):
    """One message of a history, with its place in it. Without an envelope it only moves the cursor (a message of ours)."""

    cursor: str
    envelope: InboundEnvelope | None = None


class Page(Struct, frozen=True):
    """Part of a history, in any order. ``next`` names the page behind it, in the platform's words; None: there is no more."""

    items: Sequence[Fetched]
    next: str | None = None


Fetch = Callable[[str | None], Awaitable[Page]]
"""Gets None for the first page, and then the ``next`` of each page."""


class Gap:
    """The messages of one history behind ``cursor``. Those that are delivered are marked as ``missed``.

    ``order`` makes of a cursor what can be compared, as ``int`` of a snowflake: so a cursor keeps its place when its message is
    deleted. ``state`` makes of a cursor what is stored with the messages.

    Whatever the fetching or ``deliver`` raises goes to the caller; ``cursor`` and ``delivered`` then say how far it came.
    """

    def __init__(
        self, deliver: Deliver, *, cursor: str, order: Callable[[str], Any], state: Callable[[str], Mapping[str, str]]
    ) -> None:
        self.cursor = cursor
        self.delivered = 0
        self._deliver = deliver
        self._order = order
        self._state = state

    async def fill_forward(self, fetch: Fetch, *, pages: int = PAGES, messages: int = MESSAGES) -> bool:
        """From a history whose pages go forward from the cursor (Discord's ``after``). Returns whether the gap is closed: if not,
        a bound was reached, and the rest is behind ``cursor``."""
        token: str | None = None
        for _ in range(pages):
            page = await fetch(token)
            token = page.next
            new = self._behind(page.items)
            await self._close(new[:messages])
            messages -= len(new)
            if token is None or messages <= 0:
                break
        return token is None and messages >= 0

    async def fill_backward(self, fetch: Fetch, *, pages: int = PAGES, messages: int = MESSAGES) -> bool:
        """From a history whose pages go back in time from now (Slack's conversations.history). Returns whether the gap is closed:
        if not, a bound was reached, and the older part of the gap is lost. Say so in the log."""
        found: dict[str, Fetched] = {}
        token: str | None = None
        for _ in range(pages):
            page = await fetch(token)
            new = self._behind(page.items)
            found.update((item.cursor, item) for item in new)
            reaches_cursor = any(self._order(item.cursor) <= self._order(self.cursor) for item in page.items)
            token = None if reaches_cursor else page.next
            if token is None or len(found) >= messages:
                break
        await self._close(self._behind(found.values())[-messages:])
        return token is None and len(found) <= messages

    def _behind(self, items: Iterable[Fetched]) -> list[Fetched]:
        """The items in the gap, oldest first, each once."""
        start = self._order(self.cursor)
        inside = {item.cursor: item for item in items if self._order(item.cursor) > start}
        return sorted(inside.values(), key=lambda item: self._order(item.cursor))

    async def _close(self, items: Sequence[Fetched]) -> None:
        for at in range(0, len(items), _IN_ONE_COMMIT):
            batch = items[at : at + _IN_ONE_COMMIT]
            envelopes = [replace(item.envelope, missed=True) for item in batch if item.envelope is not None]
            await self._deliver(envelopes, state=self._state(batch[-1].cursor))
            self.cursor = batch[-1].cursor
            self.delivered += len(envelopes)
