"""Calls of Slack's Web API ("Web API", "POST bodies"). The tokens are in headers, and in no text."""

import re
from collections.abc import AsyncIterable, Mapping
from typing import Any, Final, Literal, TypeVar
from urllib.parse import urlencode

import httpx2
import msgspec
from msgspec import Raw

from gatewayd.channels.slack.errors import Purpose, SlackError, gateway_error, kind_of
from gatewayd.channels.slack.limits import CallLimits
from gatewayd.channels.slack.settings import PUBLIC_API, SlackSettings
from gatewayd.channels.slack.wire.answers import Answer, AuthTest
from gatewayd.kit.http import AnswerTooLarge, HttpReply, exchange
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.repeat import repeat
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import AnswerExpired, GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.secret import Redactor, Secret

MAX_ANSWER_BYTES: Final = 64 * 1024 * 1024
"""A page of a thousand messages with blocks takes a tenth of it."""

PAUSE_SECONDS: Final = 1.0
"""After a 429 without a Retry-After, which Slack always sends ("Rate limits")."""

SLOWEST_BYTES_PER_SECOND: Final = 1024 * 1024
"""A file has the time for its bytes at this speed, besides that of any call."""

LONGEST_PAUSE_SECONDS: Final = 3600.0
"""After this time Slack is asked again, whatever its Retry-After was."""

T = TypeVar("T")
Token = Literal["bot", "app"]

_JSON: Final = "application/json; charset=utf-8"
_FORM: Final = "application/x-www-form-urlencoded"
_TAKES_JSON: Final = ("chat.", "assistant.")
"""All methods take forms, and those that write take JSON ("POST bodies"). Those that read take forms alone, and so did
files.getUploadURLExternal. JSON is for those with nested arguments: a form would have JSON within, escaped."""

_NAME: Final = re.compile(r"[a-z0-9_]{1,100}")
_SCOPES: Final = re.compile(r"[a-z0-9:._, -]{0,2000}")
_MESSAGE_MAX: Final = 300
_MESSAGES_MAX: Final = 3


class SlackApi:
    """Holds nothing open; the client belongs to the opener."""

    def __init__(self, http: httpx2.AsyncClient, settings: SlackSettings) -> None:
        self._http = http
        self._base = httpx2.URL(settings.api_base.rstrip("/"))
        self._tokens = {"bot": settings.bot_token, "app": settings.app_token}
        self._timeout_seconds = settings.request_timeout_seconds
        secrets = (settings.bot_token, settings.app_token, settings.signing_secret)
        self._redact = Redactor([secret for secret in secrets if secret is not None])
        self._is_public = settings.api_base.rstrip("/") == PUBLIC_API
        self.limits = CallLimits()

    async def call(
        self,
        method: str,
        params: Mapping[str, Any],
        *,
        repeatable: bool,
        token: Token = "bot",  # noqa: S107  # which of the tokens
        resource: str = "",
        timeout_seconds: float | None = None,
    ) -> Raw:
        """The whole answer of ``method``, undecoded. ``repeatable``: calling twice is as good as once. ``resource`` is the id of
        the conversation, where Slack counts by it. Waits for some seconds where calls would be too fast.

        :raises SlackError: Slack, or something before it, did not do it.
        :raises TryAgain: surely not done: not sent, or too many calls; or an outage of something repeatable.
        :raises OutcomeUnknown: perhaps carried out.
        """
        try:
            return Raw((await self._call(method, params, repeatable, token, resource, timeout_seconds)).body)
        except TryAgain as error:
            if not repeatable or error.scope != "account":
                raise
            # One call that was cut says little of the connections. To open them anew loses presses, and shows prompts again.
            raise TryAgain(error.reason, after_seconds=error.after_seconds, scope="conversation") from None

    async def ask(
        self,
        method: str,
        params: Mapping[str, Any],
        kind: type[T],
        *,
        purpose: Purpose,
        token: Token = "bot",  # noqa: S107  # which of the tokens
        resource: str = "",
        timeout_seconds: float | None = None,
    ) -> T:
        """The answer of a ``method`` that changes nothing, or nothing the second time, as ``kind``.

        :raises TryAgain: an outage, or too many calls. :raises NeedsOperator: the account cannot go on. :raises SendRejected: not
            to be had; only for the purposes fetch and send.
        """

        options = (token, resource, timeout_seconds)
        return (await repeat(lambda: self._ask(method, params, kind, purpose, *options)))[0]

    async def who_am_i(self) -> tuple[AuthTest, frozenset[str]]:
        """auth.test, and the scopes of the bot's token, which Slack names in a header of each answer (X-OAuth-Scopes); none where
        it does not.

        :raises TryAgain, NeedsOperator: as ``ask`` for the account's own life.
        """
        me, headers = await repeat(lambda: self._ask("auth.test", {}, AuthTest, "own", "bot", "", None))
        if not me.bot_id:
            raise NeedsOperator("bot_token is a token of Slack, but not that of a bot (xoxb-…)")
        return me, frozenset(re.findall(r"[a-z][a-z0-9:._-]*", headers.get("x-oauth-scopes", "")))

    async def answer(self, response_url: str, body: Mapping[str, Any]) -> None:
        """POST to a response_url, without a token ("Handling user interaction", "Message responses": five times within 30
        minutes).

        :raises AnswerExpired: Slack does not take it (any more), or the address is not one of Slack's.
        :raises TryAgain: surely not sent. :raises OutcomeUnknown: perhaps sent.
        """
        url = self._url_of(response_url, "hooks.slack.com")
        if url is None:
            raise AnswerExpired("the response_url is not an address of Slack")
        reply = await self._exchange(
            "response_url", "POST", url, content=msgspec.json.encode(body), headers={"content-type": _JSON}, repeatable=False
        )
        if reply.status == 429:
            raise TryAgain("Slack response_url: too many calls", after_seconds=_pause_of(reply), scope="conversation")
        if reply.status >= 500:
            raise OutcomeUnknown(f"Slack response_url: answered with the status {reply.status}")
        if reply.status != 200 or (reply.body.lstrip().startswith(b"{") and not _answer_of(reply).ok):
            raise AnswerExpired(f"Slack response_url: not taken (status {reply.status} {_answer_of(reply).error})".rstrip())

    async def download(self, url: str, *, at_most_bytes: int) -> HttpReply:
        """A file of Slack (``url_private``), with the bot's token ("File object", "Authentication"), whatever the status.

        :raises SendRejected: longer than ``at_most_bytes``, or not at Slack.
        :raises TryAgain: an outage.
        """
        address = self._url_of(url, "files.slack.com", "slack.com")
        if address is None:
            raise SendRejected("the file is on another host than Slack's, and the token is for Slack alone")
        try:
            return await exchange(
                self._http,
                "GET",
                str(address),
                what="Slack file download",
                timeout_seconds=self._seconds_for(at_most_bytes),
                at_most_bytes=at_most_bytes,
                repeatable=True,
                headers=_authorization(self._tokens["bot"]),
            )
        except AnswerTooLarge as error:
            raise SendRejected(f"too large: {error.reason}") from None

    async def upload(self, url: str, pieces: AsyncIterable[bytes], size: int) -> None:
        """Send a file's ``size`` bytes to the address that files.getUploadURLExternal gave, without a token: "a non-200 response
        indicates a failure". Nobody sees the file before it is completed, so it may be repeated. ``pieces`` can be read anew.

        :raises SendRejected: refused. :raises TryAgain: an outage.
        """
        address = self._url_of(url, "files.slack.com")
        if address is None:
            raise SendRejected("Slack named an address for the upload that is on another host than Slack's")
        headers = {"content-type": "application/octet-stream", "content-length": str(size)}
        reply = await self._exchange(
            "file upload",
            "POST",
            address,
            content=pieces,
            headers=headers,
            repeatable=True,
            timeout_seconds=self._seconds_for(size),
        )
        if reply.status == 429 or reply.status >= 500:
            raise TryAgain(
                f"Slack file upload: status {reply.status}", after_seconds=reply.retry_after_seconds, scope="conversation"
            )
        if reply.status != 200:
            raise SendRejected(f"Slack file upload: refused with the status {reply.status}")

    async def _ask(
        self,
        method: str,
        params: Mapping[str, Any],
        kind: type[T],
        purpose: Purpose,
        token: Token,
        resource: str,
        timeout_seconds: float | None,
    ) -> tuple[T, Mapping[str, str]]:
        """One attempt of ``ask``, with the headers of the answer."""
        error: GatewayError
        try:
            reply = await self._call(method, params, True, token, resource, timeout_seconds)
            return decode(reply.body, kind), reply.headers
        except SlackError as refused:
            error = gateway_error(refused, purpose)
        except Malformed as malformed:
            error = TryAgain(f"Slack {method}: the answer is not what the Web API promises: {malformed}", scope="conversation")
        raise error

    async def _call(
        self,
        method: str,
        params: Mapping[str, Any],
        repeatable: bool,
        token: Token,
        resource: str,
        timeout_seconds: float | None,
    ) -> HttpReply:
        secret = self._tokens[token]
        if secret is None:
            raise NeedsOperator(f"Slack {method} needs app_token")
        await self.limits.wait(method, resource)
        is_json = method.startswith(_TAKES_JSON)
        reply = await self._exchange(
            method,
            "POST",
            self._base.copy_with(raw_path=self._base.raw_path.rstrip(b"/") + b"/" + method.encode()),
            content=msgspec.json.encode(params) if is_json else _form(params),
            headers={"content-type": _JSON if is_json else _FORM, **_authorization(secret)},
            repeatable=repeatable,
            timeout_seconds=timeout_seconds,
        )
        answer = _answer_of(reply)
        if answer.ok and reply.status == 200:
            return reply
        if reply.status == 429 or answer.error in ("ratelimited", "rate_limited"):
            seconds = _pause_of(reply)
            scope = self.limits.refused(method, resource, seconds)
            raise TryAgain(f"Slack {method}: too many calls, says Slack", after_seconds=seconds, scope=scope)
        error = self._error(method, reply, answer)
        if kind_of(error) == "perhaps":
            raise gateway_error(error, "fetch" if repeatable else "send")
        raise error

    async def _exchange(
        self,
        what: str,
        method: str,
        url: httpx2.URL,
        *,
        content: bytes | AsyncIterable[bytes],
        headers: Mapping[str, str],
        repeatable: bool,
        timeout_seconds: float | None = None,
    ) -> HttpReply:
        try:
            return await exchange(
                self._http,
                method,
                str(url),
                what=f"Slack {what}",
                timeout_seconds=timeout_seconds or self._timeout_seconds,
                at_most_bytes=MAX_ANSWER_BYTES,
                repeatable=repeatable,
                content=content,
                headers=headers,
            )
        except AnswerTooLarge as error:
            raise (TryAgain if repeatable else OutcomeUnknown)(error.reason) from None

    def _seconds_for(self, size: int) -> float:
        return self._timeout_seconds + size / SLOWEST_BYTES_PER_SECOND

    def _error(self, method: str, reply: HttpReply, answer: Answer) -> SlackError:
        """What the answer says, as far as it has the form of it."""
        messages = (self._redact(sanitise(it[:_MESSAGE_MAX])) for it in answer.response_metadata.messages[:_MESSAGES_MAX])
        return SlackError(
            method,
            answer.error if not answer.ok and _NAME.fullmatch(answer.error) else "",
            status=reply.status,
            retry_after_seconds=reply.retry_after_seconds,
            needed=_scopes(answer.needed),
            provided=_scopes(answer.provided),
            messages=tuple(messages),
        )

    def _url_of(self, url: str, *hosts: str) -> httpx2.URL | None:
        """The address, when it is at one of these hosts of Slack; with another ``api_base``, at the host of that one."""
        try:
            found = httpx2.URL(url)
        except (httpx2.InvalidURL, ValueError):
            return None
        if not self._is_public:
            same = (found.scheme, found.host, found.port) == (self._base.scheme, self._base.host, self._base.port)
            return found if same and not found.userinfo else None
        return found if (found.scheme, found.port) == ("https", None) and found.host in hosts and not found.userinfo else None


def _answer_of(reply: HttpReply) -> Answer:
    """What all answers have; no success where it is not an answer of the Web API."""
    try:
        return decode(reply.body, Answer, lenient=True)
    except Malformed:
        return Answer(ok=False)


def _pause_of(reply: HttpReply) -> float:
    return PAUSE_SECONDS if reply.retry_after_seconds is None else min(reply.retry_after_seconds, LONGEST_PAUSE_SECONDS)


def _scopes(text: str) -> str:
    return text if _SCOPES.fullmatch(text) else ""


def _form(params: Mapping[str, Any]) -> bytes:
    """The arguments as a form: what is nested is JSON within ("Web API", "URL-encoded bodies")."""
    return urlencode(
        {key: it if isinstance(it, str) else msgspec.json.encode(it).decode() for key, it in params.items()}
    ).encode()


def _authorization(token: Secret | None) -> dict[str, str]:
    return {} if token is None else {"authorization": f"Bearer {token.reveal()}"}
