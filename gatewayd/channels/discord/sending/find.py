"""Looks up what was sent. A history has no nonces ("Message Resource", "Message Object": it is there when a message is made), so
a message is known by its author, its words, what it replies to, and its time."""

from collections.abc import Callable
from typing import Any, Final

from msgspec import Raw, Struct

from gatewayd.channels.discord.api import DiscordApi, route
from gatewayd.channels.discord.errors import NO_HISTORY
from gatewayd.channels.discord.ids import MessageId, is_snowflake, seconds_of, snowflake_at
from gatewayd.channels.discord.sending.places import Places
from gatewayd.channels.discord.sending.render import markdown_of
from gatewayd.channels.discord.wire.answers import Channel
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, SendFile, SendText
from gatewayd.ports.channel import ChannelServices

PAGE: Final = 100
MOST_PAGES: Final = 10
MOST_KEYS: Final = 10_000
SETTLE_SECONDS: Final = 2.0
"""A request that was cut may still be on its way."""
CLOCK_SECONDS: Final = 10.0
"""So far may our clock be from Discord's, and it is still surely this message."""
FAR_CLOCK_SECONDS: Final = 300.0
"""So far may our clock be from Discord's at most."""


class _Author(Struct, frozen=True):
    id: str = ""


class _Reference(Struct, frozen=True):
    message_id: str | None = None


class _Attachment(Struct, frozen=True):
    size: int | None = None


class Found(Struct, frozen=True):
    """One message of a history, as far as it is read here."""

    id: str
    author: _Author = _Author()
    content: str = ""
    message_reference: _Reference | None = None
    attachments: tuple[_Attachment, ...] = ()


class Finder:
    """Reads histories, within bounds. ``own_id`` is our user, as far as it is known."""

    def __init__(self, api: DiscordApi, places: Places, own_id: Callable[[], str | None], services: ChannelServices) -> None:
        self._api = api
        self._places = places
        self._own_id = own_id
        self._services = services
        self._keys: dict[str, str] = {}

    def note(self, key: str, message: str) -> None:
        """This message is the one with this key, so it is none of another one with the same words."""
        if len(self._keys) >= MOST_KEYS:
            del self._keys[next(iter(self._keys))]
        self._keys[message] = key

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        """See ``ports.channel.Reconciles``. None is said only when all messages since then were read."""
        if isinstance(payload, EditText) or payload.answer_with is not None:
            return None  # the same edit twice is as good as once, and so is the answer to an interaction
        if 0 <= self._services.now() - since < SETTLE_SECONDS:
            raise TryAgain("a send that was cut may be on its way", after_seconds=SETTLE_SECONDS, scope="conversation")
        try:
            return await self._find(payload, key, since)
        except SendRejected as error:
            unreadable = OutcomeUnknown(f"the channel cannot be read back: {error.reason}")
        raise unreadable

    async def _find(self, payload: SendText | SendFile, key: str, since: float) -> Receipt | None:
        own_id = self._own_id()
        if own_id is None:
            raise TryAgain("Discord has not said yet who we are", scope="conversation")
        channel = await self._places.find(payload.peer)
        found = [
            it
            for it in await self._messages(channel, since)
            if self._keys.get(it.id, key) == key and _is_like(it, payload, own_id)
        ]
        sure = [it for it in found if seconds_of(it.id) >= since - CLOCK_SECONDS]
        if not found:
            return None
        if len(sure) == 1:
            self.note(key, sure[0].id)
            return Receipt(str(MessageId(channel, sure[0].id)))
        raise OutcomeUnknown("several messages with these words may be this one" if sure else "an older message has these words")

    async def _messages(self, channel: str, since: float) -> list[Found]:
        """All messages since then, a little before included. :raises OutcomeUnknown: they are too many."""
        to = route("GET /channels/{channel_id}/messages", channel_id=channel)
        after = snowflake_at(since - FAR_CLOCK_SECONDS)
        messages: list[Found] = []
        for _ in range(MOST_PAGES):
            query: dict[str, str | int] = {"after": str(after), "limit": PAGE}
            page = await self._api.ask(to, list[Raw], purpose="fetch", query=query)
            decoded = [it for it in map(_decoded, page) if it is not None]
            messages += decoded
            if not page and not messages and await self._is_hidden(channel):
                raise OutcomeUnknown(f"Discord shows no history: {NO_HISTORY}")
            if len(page) < PAGE or not decoded:
                return messages
            after = max(int(it.id) for it in decoded)
        raise OutcomeUnknown(f"more than {MOST_PAGES * PAGE} messages have come since then")

    async def _is_hidden(self, channel: str) -> bool:
        """Whether it looks empty to us, and is not: "Get Channel Messages" gives none where Read Message History is missing."""
        to = route("GET /channels/{channel_id}/messages", channel_id=channel)
        if await self._api.ask(to, list[Raw], purpose="fetch", query={"limit": 1}):
            return False
        found = await self._api.ask(route("GET /channels/{channel_id}", channel_id=channel), Channel, purpose="fetch")
        return found.last_message_id is not None


def _decoded(raw: Any) -> Found | None:
    try:
        found = decode(raw, Found, lenient=True)
    except Malformed:
        return None
    return found if is_snowflake(found.id) else None


def _is_like(message: Found, payload: SendText | SendFile, own_id: str) -> bool:
    """Whether this may be it. Discord takes white space off the ends of a text."""
    if message.author.id != own_id:
        return False
    if isinstance(payload, SendFile):
        if all(it.size != payload.size_bytes for it in message.attachments):
            return False
    elif message.attachments:
        return False
    asked = MessageId.parse(payload.reply_to)
    replied = None if message.message_reference is None else message.message_reference.message_id
    if replied is not None and (asked is None or asked.message != replied):
        return False
    if isinstance(payload, SendText) and payload.grows:
        return _letters(payload.body.text).startswith(_letters(message.content))
    return _letters(message.content) == _letters(markdown_of(payload.body))


def _letters(text: str) -> str:
    """The letters and digits of a text, whatever is between them."""
    return "".join(letter for letter in text if letter.isalnum())
