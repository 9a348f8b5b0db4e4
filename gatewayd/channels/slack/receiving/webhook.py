"""Receiving by HTTP (Slack, "Using the Events API", "Handling user interaction", "Slash commands").

Slack wants a 200 within three seconds. After anything else it sends an event again: at once, after a minute and after five
(X-Slack-Retry-Num). When fewer than 5 of 100 succeed within an hour, it switches the subscription off (Slack, "app_rate_limited
event"). So what nobody can read is taken and skipped. What Slack sends again is read as any other event: it may be the only one
that arrived, and the hub knows the others by their key.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final, NoReturn
from urllib.parse import parse_qsl

from gatewayd.channels.slack.receiving.gaps import Gaps
from gatewayd.channels.slack.receiving.inbound import Read, Receiver
from gatewayd.channels.slack.wire.frames import Callback, decode_callback
from gatewayd.kit.json import Malformed
from gatewayd.kit.network.signatures import is_signed_v0
from gatewayd.model.secret import Secret
from gatewayd.ports.channel import ChannelServices, WebhookReply, WebhookRequest

_FORM: Final = "application/x-www-form-urlencoded"
_FIELDS: Final = 100
_CHALLENGE: Final = 1_000
_APP: Final = re.compile(r"[A-Z0-9]{1,40}")
_RETRY: Final = re.compile(r"[a-z0-9_]{1,40}")
_LACK: Final = "requests"

_NOT_SIGNED: Final = WebhookReply(
    status=401, body=b"not signed with the signing secret of this app, or more than five minutes old or early"
)


class EventsWebhook:
    """Checks and translates the requests of one app. The requests for events, interactions and commands have one address."""

    def __init__(self, services: ChannelServices, receiver: Receiver, *, signing_secret: Secret) -> None:
        self._services = services
        self._receiver = receiver
        self._secret = signing_secret
        self._gaps = Gaps(services, receiver.note_gap)
        self._is_mixed = False

    def receive(self, request: WebhookRequest) -> WebhookReply:
        """401: it is not signed. 403: it is for another app."""
        headers = request.headers
        fields = _fields_of(request)
        if fields.get("ssl_check") == "1":  # not signed (slackapi/bolt-js issue 1397), and nothing is done
            return WebhookReply()
        given, timestamp = headers.get("x-slack-signature"), headers.get("x-slack-request-timestamp")
        if not is_signed_v0(self._secret, request.body, given, timestamp=timestamp, now=self._services.now()):
            return _NOT_SIGNED
        if (number := headers.get("x-slack-retry-num")) is not None:
            shown = [value if _RETRY.fullmatch(value) else "?" for value in (number, headers.get("x-slack-retry-reason", "?"))]
            self._services.log.info("slack_sends_again", attempt=shown[0], reason=shown[1])
        try:
            return self._read_form(fields) if _is_form(request) else self._read_event(request.body)
        except Malformed as malformed:
            self._services.log.warning("slack_event_skipped", reason=str(malformed))
            return WebhookReply()

    def received(self) -> None:
        """After the answer: the transport is alive."""
        self._services.connection.heard()

    async def watch(self, fetch: Callable[[], Awaitable[None]]) -> NoReturn:
        """``fetch`` is called now, and when Slack has left events out. It fetches what was missed.

        :raises GatewayError: as ``fetch``, but for an outage.
        """
        self._gaps.note()
        await self._gaps.run(fetch)

    def _read_form(self, fields: Mapping[str, str]) -> WebhookReply:
        """A form: an interaction ("Handling user interaction": its JSON is in ``payload``), or a command."""
        if (payload := fields.get("payload")) is not None:
            data = payload.encode("utf-8", "replace")
            return self._foreign(decode_callback(data).api_app_id) or self._reply_of(self._receiver.interaction(data))
        if "command" in fields:
            return self._foreign(fields.get("api_app_id")) or self._reply_of(self._receiver.command(fields))
        raise Malformed("a form without payload and command")

    def _read_event(self, body: bytes) -> WebhookReply:
        callback = decode_callback(body)
        if callback.type == "url_verification":
            return _challenged(callback)
        if (foreign := self._foreign(callback.api_app_id)) is not None:
            return foreign
        if callback.type == "app_rate_limited":
            self._gaps.note_rate_limit()
            return WebhookReply()
        return self._reply_of(self._receiver.event(body))

    def _reply_of(self, read: Read) -> WebhookReply:
        if read.ignored is not None:
            self._services.log.debug("slack_event_ignored", reason=read.ignored)
        return WebhookReply(envelopes=read.envelopes, state=read.state)

    def _foreign(self, app_id: str | None) -> WebhookReply | None:
        """A refusal, when the request is for another app. The signing secret is of that app, so that it is no accident."""
        ours = self._receiver.bot.app_id
        if app_id is None or ours is None or app_id == ours:
            if app_id is not None and self._is_mixed:
                self._is_mixed = False
                self._services.connection.lacks(_LACK, None)
            return None
        shown = app_id if _APP.fullmatch(app_id) else "?"
        reason = f"the signing secret is of the app {shown}, and the bot token of the app {ours}: both must be of one app"
        self._services.log.warning("slack_other_app", app=shown)
        self._services.connection.lacks(_LACK, reason)
        self._is_mixed = True
        return WebhookReply(status=403, body=b"this account is of another app")


def _is_form(request: WebhookRequest) -> bool:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == _FORM


def _fields_of(request: WebhookRequest) -> dict[str, str]:
    """The fields of a form, of each name the first; none when it is no form."""
    if not _is_form(request):
        return {}
    try:
        pairs = parse_qsl(request.body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=_FIELDS)
    except ValueError:
        return {}
    return dict(reversed(pairs))


def _challenged(callback: Callback) -> WebhookReply:
    """The answer that verifies our address (Slack, "url_verification event")."""
    if not callback.challenge or len(callback.challenge) > _CHALLENGE:
        raise Malformed("url_verification without a proper challenge")
    return WebhookReply(body=callback.challenge.encode("utf-8", "replace"))
