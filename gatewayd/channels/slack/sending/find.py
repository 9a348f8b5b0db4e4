"""Looks up what was sent: by the key in a message's metadata ("Message metadata"), which conversations.history returns with
``include_all_metadata``. A stream begins without metadata, so it is known by its thread, its author, its time and its words."""

import re
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any, Final

from msgspec import Struct

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.sending.places import MessageId, Places
from gatewayd.channels.slack.wire.answers import AuthTest, Metadata
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, SendFile, SendText
from gatewayd.ports.channel import ChannelServices

EVENT_TYPE: Final = "gatewayd_send"
PAGE: Final = 200
"""conversations.history gives 999 messages at most, and 15 to some apps ("Rate limits", "Rate limit changes for non-Marketplace
apps"): the pages are followed whatever their size."""
MOST_PAGES: Final = 10
CLOCK_SECONDS: Final = 300.0
"""So far may our clock be from Slack's: as far as Slack's own requests allow it ("Verifying requests from Slack")."""
SETTLE_SECONDS: Final = 2.0
"""A request that was cut may still be on its way."""
STREAM_WITHIN_SECONDS: Final = 60.0
"""The start of a stream is carried out within this time, or not at all."""

_MARKUP: Final = (
    re.compile(r"\\(?P<shown>[!-/:-@\[-`{-~])"),
    re.compile(r"^```+[A-Za-z0-9+#._-]*$(?P<shown>)", re.MULTILINE),  # the language of code
    re.compile(r"\[(?P<shown>[^\n]*?)\]\([^()\s]*\)"),
    re.compile(r"<(?:https?|mailto|tel):[^<>|\s]*\|(?P<shown>[^<>]*)>"),
    re.compile(r"&(?:amp;)*(?:lt;|gt;|amp;)(?P<shown>)"),
    re.compile(r":[a-z0-9_+-]+:(?P<shown>)"),  # Slack's name of an emoji
)
"""What of a text is markup, in markdown and in mrkdwn ("Formatting message text")."""


def metadata_of(key: str) -> dict[str, Any]:
    """The metadata of a message with this key."""
    return {"event_type": EVENT_TYPE, "event_payload": {"key": key}}


class Found(Struct, frozen=True):
    """One message of a history, as far as it is read here. What another app wrote may have anything in its fields."""

    ts: str
    user: Any = None
    bot_id: Any = None
    team: Any = None
    user_team: Any = None
    text: Any = None
    files: Any = None
    metadata: Any = None

    @property
    def key(self) -> str | None:
        """The key of a send of ours; None: it has none."""
        match self.metadata:
            case {"event_type": str(kind), "event_payload": {"key": str(key)}} if kind == EVENT_TYPE:
                return key
        return None

    @property
    def author(self) -> tuple[str, str | None] | None:
        """The user and the workspace of who wrote it; None: no user did."""
        team = next((team for team in (self.user_team, self.team) if isinstance(team, str) and team), None)
        return (self.user, team) if isinstance(self.user, str) and self.user else None


class _Page(Struct, frozen=True):
    messages: list[Found]
    has_more: bool = False
    response_metadata: Metadata | None = None


class Finder:
    """Reads conversations, within bounds."""

    def __init__(self, api: SlackApi, places: Places, me: Callable[[], AuthTest | None], services: ChannelServices) -> None:
        self._api = api
        self._places = places
        self._me = me
        self._services = services

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        """See ``ports.channel.Reconciles``. None is said only when all messages since then were read."""
        if isinstance(payload, EditText):
            return None  # the same edit twice is as good as once
        if isinstance(payload, SendFile):
            raise OutcomeUnknown("a file of unknown outcome has no key that could be looked up")
        if payload.only_for is not None:
            raise OutcomeUnknown("what only one person sees is in no history")
        if 0 <= self._services.now() - since < SETTLE_SECONDS:
            raise TryAgain("a send that was cut may be on its way", after_seconds=SETTLE_SECONDS, scope="conversation")
        try:
            found = await self._find(payload, key, since)
        except SendRejected as error:
            unreadable = OutcomeUnknown(f"the conversation cannot be read back: {error.reason}")
        else:
            if found is None and payload.answer_with is not None and not payload.grows:
                raise OutcomeUnknown("an answer by response_url is perhaps in a history without its key")
            return found
        raise unreadable

    async def author(self, channel: str, thread: str, ts: str) -> tuple[str, str | None] | None:
        """The user who wrote a message of a thread, and their workspace; None: no user did. Raises as SlackApi.ask."""
        params = {"channel": channel, "ts": thread, "oldest": ts, "latest": ts, "inclusive": True, "limit": 2}
        page = await self._api.ask("conversations.replies", params, _Page, purpose="fetch", resource=channel)
        return next((message.author for message in page.messages if message.ts == ts), None)

    async def _find(self, payload: SendText, key: str, since: float) -> Receipt | None:
        channel = await self._places.find(payload.peer)
        streams: list[str] = []
        oldest = since - CLOCK_SECONDS
        asked = MessageId.parse(payload.reply_to)
        if asked is not None:
            oldest = min(oldest, float(asked.ts))  # by Slack's own clock, it was before
        async with aclosing(self._messages(channel, payload.peer.thread, oldest)) as messages:
            async for message in messages:
                if message.key == key:
                    return Receipt(str(MessageId(channel, message.ts)))
                if payload.grows and self._is_stream(message, payload, since):
                    streams.append(message.ts)
        if len(streams) > 1:
            raise OutcomeUnknown("two streams in this thread may be this reply")
        return Receipt(str(MessageId(channel, streams[0]))) if streams else None

    def _is_stream(self, message: Found, payload: SendText, since: float) -> bool:
        """Whether this may be the stream that ``payload`` began: of ours, without a key, of that time, and in these words."""
        me = self._me()
        is_ours = me is not None and (message.user == me.user_id or message.bot_id == me.bot_id)
        if not is_ours or message.key is not None or message.files or not isinstance(message.text, str):
            return False
        in_time = since - CLOCK_SECONDS <= float(message.ts) <= since + CLOCK_SECONDS + STREAM_WITHIN_SECONDS
        return in_time and _letters(payload.body.text).startswith(_letters(message.text))

    async def _messages(self, channel: str, thread: str | None, oldest: float) -> AsyncGenerator[Found, None]:
        """All messages since ``oldest``. :raises OutcomeUnknown: they are too many."""
        method = "conversations.history" if thread is None else "conversations.replies"
        params: dict[str, Any] = {"channel": channel, "oldest": f"{oldest:.6f}", "limit": PAGE, "include_all_metadata": True}
        if thread is not None:
            params["ts"] = thread
        for _ in range(MOST_PAGES):
            page = await self._api.ask(method, params, _Page, purpose="fetch", resource=channel)
            for message in page.messages:
                if MessageId.parse(f"{channel}:{message.ts}") is not None:
                    yield message
            cursor = "" if page.response_metadata is None else page.response_metadata.next_cursor
            if not cursor and not page.has_more:
                return
            if not cursor:
                break
            params["cursor"] = cursor
        raise OutcomeUnknown(f"more than {MOST_PAGES} pages of messages have come since then")


def _letters(text: str) -> str:
    """The letters that are read in a text, whichever of its markup it has: that of markdown, that of mrkdwn, or none."""
    for markup in _MARKUP:
        text = markup.sub(r"\g<shown>", text)
    return "".join(letter for letter in text if letter.isalnum())
