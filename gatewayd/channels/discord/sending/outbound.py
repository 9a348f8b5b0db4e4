"""Payloads to messages of Discord ("Create Message", "Edit Message")."""

from collections.abc import Callable, Mapping
from typing import Any, Final

from msgspec import Raw

from gatewayd.channels.discord.api import DiscordApi, Route, Upload, route
from gatewayd.channels.discord.errors import DiscordError, gateway_error
from gatewayd.channels.discord.ids import MessageId
from gatewayd.channels.discord.sending.answers import Answers
from gatewayd.channels.discord.sending.components import components_of
from gatewayd.channels.discord.sending.find import Finder
from gatewayd.channels.discord.sending.places import Places
from gatewayd.channels.discord.sending.render import LONGEST_TEXT, escape, markdown_of, units_in
from gatewayd.channels.discord.sending.signals import Signals
from gatewayd.channels.discord.wire.answers import Posted
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.errors import SendRejected
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.payload import EditText, OutboundPayload, Receipt, RichText, SendFile, SendText, Signal
from gatewayd.ports.channel import ChannelServices

GROW_EVERY_SECONDS: Final = 1.5
"""Edits of a channel share a bucket of about five in five seconds."""

NOBODY: Final[Mapping[str, Any]] = {"parse": [], "replied_user": False}
"""No text of ours notifies anybody ("Allowed Mentions Object")."""

_SUPPRESS_EMBEDS: Final = 1 << 2
_ABOUT_COMPONENTS: Final = "components"
_GONE: Final = 10008
_CANNOT_REPLY: Final = frozenset({50035, 160002})


class Sender:
    """Sends what one account says. ``own_id`` is its user, as far as Discord has told it."""

    def __init__(
        self, api: DiscordApi, services: ChannelServices, own_id: Callable[[], str | None], *, link_previews: bool
    ) -> None:
        self._api = api
        self._log = services.log
        self._flags = 0 if link_previews else _SUPPRESS_EMBEDS
        self.places = Places(api)
        self.answers = Answers(api, services.log)
        self._signals = Signals(api, self.places, self.answers)
        self._finder = Finder(api, self.places, own_id, services)

    async def send(self, payload: SendText, *, key: str) -> Receipt:
        """See ``ports.channel.Channel.send``."""
        if payload.answer_with is not None:
            return await self.answers.fill(payload.answer_with, self._shown(payload))
        channel = await self.places.find(payload.peer)
        body = {**self._shown(payload), "nonce": key, "enforce_nonce": True, **_reference(payload, channel)}
        receipt = await self._post(channel, payload, body, key)
        self._signals.forget(payload.peer)
        return receipt

    async def send_file(self, payload: SendFile, file: Upload, *, key: str) -> Receipt:
        """A message with a file. Raises as ``send``."""
        channel = await self.places.find(payload.peer)
        body = {
            "content": markdown_of(payload.caption),
            "allowed_mentions": NOBODY,
            "flags": self._flags,
            "nonce": key,
            "enforce_nonce": True,
            "attachments": [{"id": "0", "filename": payload.name}],
            **_reference(payload, channel),
        }
        return await self._post(channel, payload, body, key, file)

    async def edit(self, payload: EditText) -> Receipt:
        """Replace the text and the buttons of a message. The same edit twice is as good as once.

        :raises SendRejected: it cannot be changed (any more). :raises TryAgain, NeedsOperator: as DiscordApi.call.
        """
        await self._edit(_named(payload.message_id), payload)
        return Receipt(payload.message_id)

    async def find_sent(self, payload: OutboundPayload, *, key: str, since: float) -> Receipt | None:
        """See ``ports.channel.Reconciles``."""
        return await self._finder.find_sent(payload, key=key, since=since)

    async def grow(self, peer: Peer, message_id: str, text: RichText) -> None:
        """See ``ports.channel.ShowsGrowth``. What would have to wait is left out: the next call, or the end, shows it."""
        message = _named(message_id)
        if not self._api.seconds_until(_edit_route(message)):
            await self._edit(message, EditText(peer, text, of=0, message_id=message_id))

    async def signal(self, signal: Signal) -> None:
        """See ``ports.channel.ShowsSignals``."""
        await self._signals.show(signal)

    async def _post(
        self, channel: str, payload: SendText | SendFile, body: Mapping[str, Any], key: str, file: Upload | None = None
    ) -> Receipt:
        to = route("POST /channels/{channel_id}/messages", channel_id=channel)
        try:
            answer = await self._write(to, payload, body, file)
        except DiscordError as refused:
            if refused.code == _GONE:  # the message with this nonce was sent, and is deleted
                return Receipt()
            raise gateway_error(refused, "send") from None
        try:
            posted = decode(answer, Posted)
        except Malformed:
            return Receipt()
        found = MessageId.parse(f"{posted.channel_id or channel}:{posted.id}")
        self._finder.note(key, posted.id)
        return Receipt(None if found is None else str(found))

    async def _edit(self, message: MessageId, payload: EditText) -> None:
        try:
            await self._write(_edit_route(message), payload, self._shown(payload), None)
        except DiscordError as refused:
            raise gateway_error(refused, "send") from None

    async def _write(self, to: Route, payload: OutboundPayload, body: Mapping[str, Any], file: Upload | None) -> Raw:
        """If the buttons are refused, once more in words, which say what to write instead of a press; if the reply is, without
        being one."""
        is_edit = isinstance(payload, EditText)
        try:
            return await self._api.call(to, body=body, repeatable=is_edit, file=file)
        except DiscordError as refused:
            about = {field.partition(".")[0].partition(":")[0] for field in refused.fields}
            if "message_reference" in body and refused.code in _CANNOT_REPLY and (about <= {"message_reference"}):
                body = {name: value for name, value in body.items() if name != "message_reference"}
            elif payload.choices and not isinstance(payload, SendFile) and payload.instead and about == {_ABOUT_COMPONENTS}:
                body = {**body, "content": _in_words(payload), "components": []}
            else:
                raise
            self._log.warning("discord_message_plainer", reason=str(refused), details=refused.fields)
        return await self._api.call(to, body=body, repeatable=is_edit, file=file)

    def _shown(self, payload: SendText | EditText) -> dict[str, Any]:
        """What a message shows."""
        rows = components_of(payload.choices)
        buttons = {"components": rows} if rows or isinstance(payload, EditText) else {}
        return {"content": markdown_of(payload.body), "allowed_mentions": NOBODY, "flags": self._flags, **buttons}


def _in_words(payload: SendText | EditText) -> str:
    words, instead = markdown_of(payload.body), escape(payload.instead)
    room = LONGEST_TEXT - units_in(instead) - 2
    return f"{words}\n\n{instead}" if units_in(words) <= room else words


def _reference(payload: SendText | SendFile, channel: str) -> dict[str, Any]:
    """In a channel with many people, the first part is a reply to what was asked."""
    asked = MessageId.parse(payload.reply_to)
    is_first = isinstance(payload, SendFile) or payload.part == 1
    if asked is None or asked.channel != channel or payload.peer.kind == "dm" or not is_first:
        return {}
    return {"message_reference": {"message_id": asked.message, "channel_id": channel, "fail_if_not_exists": False}}


def _edit_route(message: MessageId) -> Route:
    return route("PATCH /channels/{channel_id}/messages/{message_id}", channel_id=message.channel, message_id=message.message)


def _named(message_id: str | None) -> MessageId:
    """:raises SendRejected: Discord gave no id for it."""
    message = MessageId.parse(message_id)
    if message is None:
        raise SendRejected("not known: Discord gave no id for the message that is to change")
    return message
