"""OpenCode's permissions: the card of each, and whether it is still the one that was shown."""

from collections import OrderedDict

from msgspec import Raw

from gatewayd.agents.opencode.client import MESSAGES_MAX, Client, NoSuchThing
from gatewayd.agents.opencode.dialect import Pending, PermissionAsked, Session
from gatewayd.agents.opencode.opencode_messages import Message
from gatewayd.agents.opencode.opencode_requests import Entry, Permission, said, shown_input
from gatewayd.agents.opencode.wire import Malformed, TooMuch, decode

_CARDS_MAX = 1000
_CHARACTERS_MAX = 4 * 1024 * 1024


class Permissions:
    """Every poll lists all requests again, so what was found out about one is kept for a while."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._cards: OrderedDict[str, PermissionAsked] = OrderedDict()
        self._characters = 0

    async def show(self, pending: Pending, session: Session) -> PermissionAsked:
        """What a person is asked for."""
        if (known := self._cards.get(pending.id)) is not None:
            return known
        asked = await self._read(pending.body, session)
        self._cards[pending.id] = asked
        self._characters += _size(asked)
        while len(self._cards) > _CARDS_MAX or (self._characters > _CHARACTERS_MAX and len(self._cards) > 1):
            self._characters -= _size(self._cards.popitem(last=False)[1])
        return asked

    async def is_as_shown(self, asked: PermissionAsked, session: Session) -> bool | None:
        """Whether the server has the request now as it was shown, with nothing remembered; None: it does not wait any more.

        What was shown without its call, which may be stored a moment later than the request, is compared without it.
        """
        entries = await self._client.ask("/permission", list[Raw], what="permissions", directory=session.directory)
        for raw in entries:
            try:
                if decode(raw, Entry, what="permission").id != asked.id:
                    continue
                now = await self._read(raw, session)
                alone = shown_input(decode(raw, Permission, what="permission"), None)
                return now.said == asked.said and asked.input in (now.input, alone)
            except Malformed:
                continue
        return None

    async def _read(self, body: Raw, session: Session) -> PermissionAsked:
        entry = decode(body, Permission, what="permission")
        given = shown_input(entry, await self._call(entry, session))
        return PermissionAsked(entry.id, entry.id, entry.sessionID, entry.permission, given, said(entry))

    async def _call(self, entry: Permission, session: Session) -> tuple[str, dict[str, Raw]] | None:
        """The tool call that asks: its tool and its input."""
        if entry.tool is None:
            return None
        path = f"/session/{entry.sessionID}/message/{entry.tool.messageID}"
        try:
            message = await self._client.ask(
                path, Message, what="message", directory=session.directory, at_most_bytes=MESSAGES_MAX
            )
        except (NoSuchThing, Malformed, TooMuch):
            return None
        for part in message.parts:
            if part.callID == entry.tool.callID and part.state is not None:
                try:
                    given = decode(part.state.input, dict[str, Raw], what="tool input")
                except Malformed:
                    return None
                return (part.tool, given) if given else None
        return None


def _size(asked: PermissionAsked) -> int:
    return len(asked.input) + len(asked.said)
