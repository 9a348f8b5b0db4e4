"""Files in both directions.

Out ("Uploading files"): Slack gives an address and the id of a file, takes the bytes there, and shows the file once
files.completeUploadExternal says where. It does so in the background, and in rare cases never, although it has said ok
(slackapi/bolt-js, issue 2115; paradigmxyz/centaur, pull request 311). So a file counts as sent when a message shows it.

In ("File object", "Authentication"): the bytes are at ``url_private``, for the token of the bot. Without the scope files:read
Slack answers with the page of its login, and the status 200.
"""

from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any, Final

import anyio

from gatewayd.channels.slack.api import SlackApi
from gatewayd.channels.slack.errors import SlackError, gateway_error
from gatewayd.channels.slack.sending.places import MessageId, Places
from gatewayd.channels.slack.sending.render import blocks_of, text_of
from gatewayd.channels.slack.sending.uploads import Uploads
from gatewayd.channels.slack.wire.answers import Completed, File, FileInfo, UploadUrl
from gatewayd.kit.http import HttpReply
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.repeat import repeat
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, StoreRefused, TryAgain
from gatewayd.model.message.envelope import Attachment
from gatewayd.model.message.payload import Receipt, SendFile
from gatewayd.ports.channel import ChannelServices

SHOWN_AFTER_SECONDS: Final = (0.5, 1.0, 2.0)
"""The pauses before it is looked whether the file is shown."""
LATEST_SECONDS: Final = 120.0
"""A file that is not shown after this time never is, as far as this can be told; it is deleted before it is sent again."""
AGAIN_SECONDS: Final = 10.0

_RECEIVED: Final = "files received"
_READ_MISSING: Final = (
    'files:read is missing: Slack answered with its login page; add it under "OAuth & Permissions", install the app again, '
    "and copy the new token"
)


class Files:
    """The files of one account."""

    def __init__(self, api: SlackApi, services: ChannelServices, places: Places, *, at_most_bytes: int) -> None:
        self._api = api
        self._services = services
        self._places = places
        self._uploads = Uploads(services)
        self._at_most = at_most_bytes
        self._is_locked_out = False

    async def fetch(self, attachment: Attachment, *, at_most_bytes: int) -> bytes:
        """The bytes of a file; ``attachment.ref`` is its id. files.info comes first: it knows what became of the file, and what a
        message from another workspace does not have (``file_access`` check_file_info).

        :raises SendRejected: too large, gone, not at Slack, or not for this token. :raises TryAgain: an outage.
        """
        limit = min(at_most_bytes, self._at_most)
        file = (await self._api.ask("files.info", {"file": attachment.ref}, FileInfo, purpose="fetch")).file
        if file.mode == "tombstone":
            raise SendRejected("gone: the file was deleted")
        if file.mode == "hidden_by_limit":
            raise SendRejected("gone: Slack hides the file, because it is older than the workspace's plan allows")
        if file.is_external or file.mode == "external":
            raise SendRejected("the file is not at Slack, but somewhere else, where the bot has no access")
        if file.size is not None and file.size > limit:
            raise SendRejected(f"too large: {file.size} bytes, at most {limit}")
        if file.url_private is None:
            raise SendRejected("the bot may not see this file")
        url = file.url_private
        return await repeat(lambda: self._download(file, url, limit))

    async def send(self, payload: SendFile, *, key: str) -> Receipt:
        """Upload a file, and show it. Its id is stored before Slack is asked to show it, for ``find_sent``.

        :raises TryAgain, SendRejected, OutcomeUnknown, NeedsOperator: see ``ports.channel.Channel.send``.
        """
        if payload.size_bytes == 0:
            raise SendRejected("Slack takes no file without a byte in it")
        channel = await self._places.find(payload.peer)
        asked = {"filename": payload.name, "length": payload.size_bytes}
        upload = await self._api.ask("files.getUploadURLExternal", asked, UploadUrl, purpose="send")
        await self._api.upload(upload.upload_url, _Pieces(self._services, payload), payload.size_bytes)
        try:
            await self._uploads.note(key, upload.file_id)
        except StoreRefused as error:
            raise TryAgain(f"the id of the file cannot be stored: {error.reason}", scope="conversation") from error
        try:
            ts = await self._show(payload, channel, upload.file_id)
        except SendRejected:
            await self._forget(key)
            raise
        return Receipt(None if ts is None else str(MessageId(channel, ts)))

    async def find_sent(self, payload: SendFile, *, key: str, since: float) -> Receipt | None:
        """See ``ports.channel.Reconciles``. None is said when Slack was never asked to show the file, or it is deleted."""
        file_id = await self._uploads.find(key, since=since)
        if file_id is None:
            return None
        channel = await self._places.find(payload.peer)
        ts = await self._ts_of(file_id, channel)
        if ts is None and self._services.now() - since < LATEST_SECONDS:
            raise TryAgain("Slack has the file, and no message shows it yet", after_seconds=AGAIN_SECONDS, scope="conversation")
        if ts is not None:
            return Receipt(str(MessageId(channel, ts)))
        await self._delete(file_id)
        await self._forget(key)
        return None

    async def _download(self, file: File, url: str, limit: int) -> bytes:
        reply = await self._api.download(url, at_most_bytes=limit)
        if _is_login(reply, file):
            self._services.connection.lacks(_RECEIVED, _READ_MISSING)
            self._is_locked_out = True
            raise SendRejected(_READ_MISSING)
        if reply.status == 429 or reply.status >= 500:
            raise TryAgain(f"Slack file download: status {reply.status}", after_seconds=reply.retry_after_seconds)
        if reply.status != 200:
            raise SendRejected(f"gone: the download answered with the status {reply.status}")
        if self._is_locked_out:
            self._is_locked_out = False
            self._services.connection.lacks(_RECEIVED, None)
        return reply.body

    async def _show(self, payload: SendFile, channel: str, file_id: str) -> str | None:
        """The message that shows it; None: Slack does not let us look which one. :raises OutcomeUnknown: none does yet."""
        shown = await self._complete(payload, channel, file_id)
        if shown is not None and (ts := shown.ts_in(channel)) is not None:
            return ts
        for seconds in SHOWN_AFTER_SECONDS:
            await anyio.sleep(seconds)
            try:
                ts = await self._ts_of(file_id, channel)
            except OutcomeUnknown:
                return None
            except TryAgain:
                continue
            if ts is not None:
                return ts
        raise OutcomeUnknown("Slack has the file, and no message shows it yet")

    async def _complete(self, payload: SendFile, channel: str, file_id: str) -> File | None:
        """files.completeUploadExternal. None: it said ok, and nothing of the file."""
        params: dict[str, Any] = {"files": [{"id": file_id, "title": payload.name}], "channel_id": channel}
        if payload.peer.thread is not None:
            params["thread_ts"] = payload.peer.thread
        if blocks := blocks_of(payload.caption):
            params["blocks"] = blocks
        method = "files.completeUploadExternal"
        try:
            try:
                answer = await self._api.call(method, params, repeatable=False, resource=channel)
            except SlackError as refused:
                if not blocks or refused.name != "invalid_blocks":
                    raise
                del params["blocks"]
                params["initial_comment"] = text_of(payload.caption)
                answer = await self._api.call(method, params, repeatable=False, resource=channel)
        except SlackError as refused:
            raise gateway_error(refused, "send") from None
        try:
            return next(iter(decode(answer, Completed).files), None)
        except Malformed:
            return None

    async def _ts_of(self, file_id: str, channel: str) -> str | None:
        """The message of ``channel`` that shows the file.

        :raises OutcomeUnknown: Slack does not let us look. :raises TryAgain: an outage.
        """
        try:
            found = await self._api.call("files.info", {"file": file_id}, repeatable=True)
            return decode(found, FileInfo).file.ts_in(channel)
        except SlackError as refused:
            if refused.name in ("file_not_found", "file_deleted"):
                return None
            error: GatewayError = gateway_error(refused, "fetch")
        except Malformed as malformed:
            error = TryAgain(f"Slack files.info: the answer is not what the Web API promises: {malformed}", scope="conversation")
        if isinstance(error, SendRejected | NeedsOperator):
            error = OutcomeUnknown(f"whether the file is shown cannot be looked up: {error.reason}")
        raise error

    async def _delete(self, file_id: str) -> None:
        """files.delete, so that it is never shown. :raises OutcomeUnknown: it is not deleted."""
        try:
            await self._api.call("files.delete", {"file": file_id}, repeatable=True)
        except SlackError as refused:
            if refused.name not in ("file_not_found", "file_deleted"):
                raise OutcomeUnknown(f"whether the file is shown cannot be told: {refused}") from None

    async def _forget(self, key: str) -> None:
        """No message shows the file, nor ever will. Best effort: a look-up finds the same."""
        with suppress(StoreRefused):
            await self._uploads.forget(key)


class _Pieces:
    """The bytes of a file, from its beginning each time. Raises as ``ChannelServices.open_file``."""

    def __init__(self, services: ChannelServices, payload: SendFile) -> None:
        self._services = services
        self._payload = payload

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async with self._services.open_file(self._payload) as file:
            async for piece in file:
                yield piece


def _is_login(reply: HttpReply, file: File) -> bool:
    """Whether this is the way to Slack's login instead of the file. A page that was sent as a file has the size of the file."""
    if 300 <= reply.status < 400:
        return True
    is_page = reply.headers.get("content-type", "").lower().startswith("text/html")
    return reply.status == 200 and is_page and len(reply.body) != file.size
