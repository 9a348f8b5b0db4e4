"""Files in both directions.

Out: a file goes with its message ("Reference", "Uploading Files"), so what is true of a message is true of it.

In: the address of an attachment is signed, and good for a day ("Reference", "Signed Attachment CDN URLs"). The one that came with
the message is tried first; when it is over, the message is read again for a new one.
"""

from collections.abc import AsyncIterator, Mapping
from typing import Final

from gatewayd.channels.discord.api import DiscordApi, Upload, route
from gatewayd.channels.discord.receiving.inbound import addresses_in
from gatewayd.channels.discord.sending.outbound import Sender
from gatewayd.channels.discord.wire.events import Message
from gatewayd.kit.http import HttpReply
from gatewayd.kit.repeat import repeat
from gatewayd.model.errors import SendRejected, TryAgain
from gatewayd.model.message.envelope import Attachment
from gatewayd.model.message.payload import Receipt, SendFile
from gatewayd.ports.channel import ChannelServices

_OVER: Final = frozenset({403, 404, 410})


class Files:
    """The files of one account. ``addresses`` are the newest ones, by ``Attachment.ref``."""

    def __init__(self, api: DiscordApi, services: ChannelServices, sender: Sender, *, at_most_bytes: int) -> None:
        self._api = api
        self._services = services
        self._sender = sender
        self._at_most = at_most_bytes

    async def fetch(self, attachment: Attachment, addresses: Mapping[str, str], *, at_most_bytes: int) -> bytes:
        """The bytes of a file; ``attachment.ref`` is ``{channel}:{message}:{file}``.

        :raises SendRejected: too large, gone, or not at Discord. :raises TryAgain: an outage.
        """
        limit = min(at_most_bytes, self._at_most)
        if attachment.size_bytes is not None and attachment.size_bytes > limit:
            raise SendRejected(f"too large: {attachment.size_bytes} bytes, at most {limit}")
        known = addresses.get(attachment.ref)
        if known is not None:
            reply = await self._download(known, limit)
            if reply.status not in _OVER:
                return _bytes_of(reply)
        return _bytes_of(await self._download(await self._address_of(attachment.ref), limit))

    async def send(self, payload: SendFile, *, key: str) -> Receipt:
        """See ``ports.channel.Channel.send``."""
        if payload.size_bytes == 0:
            raise SendRejected("Discord takes no file without a byte in it")
        file = Upload(payload.name, payload.mime, _Pieces(self._services, payload), payload.size_bytes)
        return await self._sender.send_file(payload, file, key=key)

    async def _address_of(self, ref: str) -> str:
        channel, _, rest = ref.partition(":")
        message, _, file = rest.partition(":")
        to = route("GET /channels/{channel_id}/messages/{message_id}", channel_id=channel, message_id=message)
        found = addresses_in([await self._api.ask(to, Message, purpose="fetch")]).get(file)
        if found is None:
            raise SendRejected("gone: the message does not have this file any more")
        return found

    async def _download(self, url: str, limit: int) -> HttpReply:
        async def once() -> HttpReply:
            reply = await self._api.download(url, at_most_bytes=limit)
            if reply.status == 429 or reply.status >= 500:
                raise TryAgain(f"Discord file download: status {reply.status}", after_seconds=reply.retry_after_seconds)
            return reply

        return await repeat(once)


class _Pieces:
    """The bytes of a file, from its beginning each time. Raises as ``ChannelServices.open_file``."""

    def __init__(self, services: ChannelServices, payload: SendFile) -> None:
        self._services = services
        self._payload = payload

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with self._services.open_file(self._payload) as file:
            async for piece in file:
                yield piece


def _bytes_of(reply: HttpReply) -> bytes:
    if reply.status != 200:
        raise SendRejected(f"gone: the download answered with the status {reply.status}")
    return reply.body
