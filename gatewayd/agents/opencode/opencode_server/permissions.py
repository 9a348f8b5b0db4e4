"""OpenCode's permissions: what each is about, read in one way for whoever is asked, and whether it is still what was shown."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

import anyio
from msgspec import Raw, Struct

from gatewayd.agents.opencode.opencode_server.messages import Part
from gatewayd.agents.opencode.opencode_server.requests import Entry, Permission, said, shown_input
from gatewayd.agents.opencode.server.client import MESSAGES_MAX, Client, NoSuchThing
from gatewayd.agents.opencode.server.dialect import Pending, PermissionAsked, Session
from gatewayd.agents.opencode.server.wire import Malformed, TooMuch, decode

_CARDS_MAX = 1000
_CHARACTERS_MAX = 4 * 1024 * 1024
_LOOK_AGAIN_SECONDS = 0.25
"""A call may be stored a moment later than its request."""


class Called(Struct):
    """The message with the tool call that asks."""

    parts: list[Part]


async def read_permission(body: Raw, message_at: Callable[[str], Awaitable[Called | None]]) -> PermissionAsked:
    """One entry of the server's list, as it is judged and shown: to the rules, in a chat, and for an attached client.

    ``message_at`` gets the message at a path of the server's; None: it cannot be had. Then only a part of the input is known.

    :raises Malformed: it is no permission.
    """
    entry = decode(body, Permission, what="permission")
    call = None
    if entry.tool is not None:
        path = f"/session/{quote(entry.sessionID, safe='')}/message/{quote(entry.tool.messageID, safe='')}"
        message = await message_at(path)
        call = None if message is None else _find_call(message, entry.tool.callID)
    given = shown_input(entry, call)
    return PermissionAsked(entry.id, entry.id, entry.sessionID, entry.permission, given, said(entry), whole=call is not None)


def _find_call(message: Called, call_id: str) -> tuple[str, dict[str, Raw]] | None:
    """The call's tool and its input."""
    for part in message.parts:
        if part.callID == call_id and part.state is not None:
            try:
                given = decode(part.state.input, dict[str, Raw], what="tool input")
            except Malformed:
                return None
            return (part.tool, given) if given else None
    return None


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
        if not asked.whole:
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
            asked = await self._read(pending.body, session)
        self._cards[pending.id] = asked
        self._characters += _size(asked)
        while len(self._cards) > _CARDS_MAX or (self._characters > _CHARACTERS_MAX and len(self._cards) > 1):
            self._characters -= _size(self._cards.popitem(last=False)[1])
        return asked

    async def is_as_shown(self, asked: PermissionAsked, session: Session) -> bool | None:
        """Whether the server has the request now as it was shown, with nothing remembered; None: it does not wait any more.

        What was shown without its call, which may be stored later than the request, is compared without it.
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
        return await read_permission(body, partial(self._message, session.directory))

    async def _message(self, directory: str | None, path: str) -> Called | None:
        try:
            return await self._client.ask(path, Called, what="message", directory=directory, at_most_bytes=MESSAGES_MAX)
        except (NoSuchThing, Malformed, TooMuch):
            return None


def _size(asked: PermissionAsked) -> int:
    return len(asked.input) + len(asked.said)
