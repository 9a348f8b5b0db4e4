"""The Events API, interactivity and commands over HTTP (docs.slack.dev/apis/events-api/using-http-request-urls).

Each request is signed: ``v0=`` and the HMAC-SHA256, by the signing secret, of ``v0:<timestamp>:<raw body>``
(docs.slack.dev/authentication/verifying-requests-from-slack).
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from urllib.parse import urlencode

import httpx2
import msgspec
import trio
from msgspec import Struct

from tests.fakes.slack_platform.delivery.deliveries import ACK_SECONDS, Delivery
from tests.fakes.slack_platform.delivery.events import VERIFICATION_TOKEN
from tests.fakes.slack_platform.errors import Json


class RequestUrls(Struct):
    """Where the app is told; "" is nowhere."""

    events: str = ""
    interactivity: str = ""
    commands: str = ""


class WebhookSender:
    """Posts to the app's request URLs."""

    def __init__(self, client: httpx2.AsyncClient, signing_secret: str, now: Callable[[], float]) -> None:
        self._client = client
        self._signing_secret = signing_secret
        self._now = now
        self.urls = RequestUrls()
        self._skew_seconds = 0.0
        self.answers: list[tuple[int, bytes]] = []

    async def attempt(self, delivery: Delivery) -> str | None:
        """One POST; None: answered with 2xx within 3 seconds."""
        match delivery.kind:
            case "events_api":
                url, body, kind = self.urls.events, msgspec.json.encode(delivery.payload), "application/json"
            case "interactive":
                fields = {"payload": msgspec.json.encode(delivery.payload).decode()}
                url, body, kind = self.urls.interactivity, urlencode(fields).encode(), "application/x-www-form-urlencoded"
            case "slash_commands":
                url, kind = self.urls.commands, "application/x-www-form-urlencoded"
                body = urlencode(delivery.payload).encode()
        if not url:
            return "no_retry"
        headers = self.signed(body, kind)
        if delivery.tried:
            headers |= {"X-Slack-Retry-Num": str(len(delivery.tried)), "X-Slack-Retry-Reason": delivery.tried[-1]}
        delivery.new_envelope_id()
        return await self._post(url, body, headers, delivery)

    async def _post(self, url: str, body: bytes, headers: dict[str, str], delivery: Delivery) -> str | None:
        try:
            with trio.fail_after(ACK_SECONDS):
                answer = await self._client.post(url, content=body, headers=headers)
        except trio.TooSlowError:
            return "http_timeout"
        except (httpx2.TransportError, OSError):
            return "connection_failed"
        self.answers.append((answer.status_code, answer.content))
        if 200 <= answer.status_code <= 299:
            if answer.headers.get("content-type", "").startswith("application/json") and answer.content:
                delivery.answer = msgspec.json.decode(answer.content)
            return None
        if answer.headers.get("x-slack-no-retry") == "1":
            return "no_retry"
        return "too_many_redirects" if 300 <= answer.status_code <= 399 else "http_error"

    def signed(self, body: bytes, content_type: str) -> dict[str, str]:
        """The headers of one request."""
        stamp = str(int(self._now() + self._skew_seconds))
        base = b"v0:" + stamp.encode() + b":" + body
        signature = "v0=" + hmac.new(self._signing_secret.encode(), base, hashlib.sha256).hexdigest()
        return {
            "Content-Type": content_type,
            "User-Agent": "Slackbot 1.0 (+https://api.slack.com/robots)",
            "X-Slack-Request-Timestamp": stamp,
            "X-Slack-Signature": signature,
        }

    def sign_with(self, *, signing_secret: str | None = None, skew_seconds: float = 0.0) -> None:
        """From now on with another secret, or with a time stamp that is off."""
        self._signing_secret = signing_secret or self._signing_secret
        self._skew_seconds = skew_seconds

    async def verify(self, url: str) -> bool:
        """``url_verification``: the answer must be the challenge, plain or as JSON, with status 200."""
        challenge = secrets.token_hex(16)
        fields: Json = {"token": VERIFICATION_TOKEN, "challenge": challenge, "type": "url_verification"}
        body = msgspec.json.encode(fields)
        answer = await self._client.post(url, content=body, headers=self.signed(body, "application/json"))
        if answer.status_code != 200:
            return False
        text = answer.text.strip()
        if text.startswith("{"):
            return bool(msgspec.json.decode(text).get("challenge") == challenge)
        return text.removeprefix("challenge=") == challenge
