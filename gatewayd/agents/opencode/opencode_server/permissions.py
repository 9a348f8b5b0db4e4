"""OpenCode's permission requests: read in the same way for rules, chats and attached clients, and compared later."""

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from functools import partial
from urllib.parse import quote

import anyio
from msgspec import Raw, Struct

from gatewayd.agents.opencode.opencode_server.messages import Part
from gatewayd.agents.opencode.opencode_server.requests import Entry, PermissionEntry, fingerprint, shown_input
from gatewayd.agents.opencode.server.client import MESSAGES_MAX, Client, NotFoundOnServer
from gatewayd.agents.opencode.server.dialect import ListedRequest, PermissionRequest, ServerSession
from gatewayd.agents.opencode.server.wire import Malformed, TooLarge, decode

_KNOWN_MAX = 1000
_CHARACTERS_MAX = 4 * 1024 * 1024
_LOOK_AGAIN_SECONDS = 0.25
"""The tool call may be stored a moment later than its request."""


class Called(Struct):
    """The message with the tool call of a request."""

    parts: list[Part]


async def read_permission(body: Raw, message_at: Callable[[str], Awaitable[Called | None]]) -> PermissionRequest:
    """One entry of the server's list as a request, for the rules, a chat, or an attached client.

    ``message_at`` gets the message at a path; None: there is none. Then only a part of the input is known.

    :raises Malformed: it is no permission.
    """
    entry = decode(body, PermissionEntry, what="permission")
    call = None
    if entry.tool is not None:
        path = f"/session/{quote(entry.sessionID, safe='')}/message/{quote(entry.tool.messageID, safe='')}"
        message = await message_at(path)
        call = None if message is None else _find_call(message, entry.tool.callID)
    given = shown_input(entry, call)
    return PermissionRequest(
        entry.id, entry.id, entry.sessionID, entry.permission, given, fingerprint(entry), whole=call is not None
    )


def _find_call(message: Called, call_id: str) -> tuple[str, dict[str, Raw]] | None:
    """The tool and the input of the call."""
    for part in message.parts:
        if part.callID == call_id and part.state is not None:
            try:
                given = decode(part.state.input, dict[str, Raw], what="tool input")
            except Malformed:
                return None
            return (part.tool, given) if given else None
    return None


class Permissions:
    """A cache of the requests that were read: every poll lists all of them again."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._known: OrderedDict[str, PermissionRequest] = OrderedDict()
        self._characters = 0

    async def show(self, pending: ListedRequest, session: ServerSession) -> PermissionRequest:
        """The request as people see it."""
        if (known := self._known.get(pending.id)) is not None:
            return known
        request = await self._read(pending.body, session)
        if not request.whole:
            await anyio.sleep(_LOOK_AGAIN_SECONDS)
            request = await self._read(pending.body, session)
        self._known[pending.id] = request
        self._characters += _size(request)
        while len(self._known) > _KNOWN_MAX or (self._characters > _CHARACTERS_MAX and len(self._known) > 1):
            self._characters -= _size(self._known.popitem(last=False)[1])
        return request

    async def is_as_shown(self, request: PermissionRequest, session: ServerSession) -> bool | None:
        """Whether the request is now the same as it was shown; the cache is not used. None: it is not pending any more.

        A request that was shown without its call, because that was stored later, is compared without it.
        """
        entries = await self._client.ask("/permission", list[Raw], what="permissions", directory=session.directory)
        for raw in entries:
            try:
                if decode(raw, Entry, what="permission").id != request.id:
                    continue
                now = await self._read(raw, session)
                alone = shown_input(decode(raw, PermissionEntry, what="permission"), None)
                return now.fingerprint == request.fingerprint and request.input in (now.input, alone)
            except Malformed:
                continue
        return None

    async def _read(self, body: Raw, session: ServerSession) -> PermissionRequest:
        return await read_permission(body, partial(self._message, session.directory))

    async def _message(self, directory: str | None, path: str) -> Called | None:
        try:
            return await self._client.ask(path, Called, what="message", directory=directory, at_most_bytes=MESSAGES_MAX)
        except (NotFoundOnServer, Malformed, TooLarge):
            return None


def _size(request: PermissionRequest) -> int:
    return len(request.input) + len(request.fingerprint)
