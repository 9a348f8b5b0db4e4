"""Calls of Slack's Web API ("Web API"). The tokens are in headers, and in no text."""

from collections.abc import AsyncIterable, Mapping
from typing import Any, Literal, TypeVar

import httpx2
import msgspec
from msgspec import Raw

from gatewayd.channels.slack.errors import Purpose, SlackError, gateway_error
from gatewayd.channels.slack.settings import SlackSettings
from gatewayd.channels.slack.wire.answers import Answer
from gatewayd.kit.http import AnswerTooLarge, exchange
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.repeat import repeat
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.secret import Secret

MAX_ANSWER_BYTES = 64 * 1024 * 1024

T = TypeVar("T")
Token = Literal["bot", "app"]


class SlackApi:
    """Holds nothing open; the client belongs to the opener."""

    def __init__(self, http: httpx2.AsyncClient, settings: SlackSettings) -> None:
        self._http = http
        self._base = settings.api_base.rstrip("/")
        self._tokens = {"bot": settings.bot_token, "app": settings.app_token}
        self._timeout_seconds = settings.request_timeout_seconds

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
        the conversation, where Slack counts by it.

        :raises SlackError: Slack, or something before it, did not do it.
        :raises TryAgain: surely not done: not sent, or too many calls; or an outage of something repeatable.
        :raises OutcomeUnknown: perhaps carried out.
        """
        secret = self._tokens[token]
        if secret is None:
            raise NeedsOperator("app_token is not configured")
        try:
            reply = await exchange(
                self._http,
                "POST",
                f"{self._base}/{method}",
                what=f"Slack {method}",
                timeout_seconds=timeout_seconds or self._timeout_seconds,
                at_most_bytes=MAX_ANSWER_BYTES,
                repeatable=repeatable,
                content=msgspec.json.encode(params),
                headers=_headers(secret),
            )
        except AnswerTooLarge as error:
            raise (TryAgain if repeatable else OutcomeUnknown)(error.reason) from None
        if reply.status == 429:
            raise TryAgain(f"Slack {method}: rate limit", after_seconds=reply.retry_after_seconds or 1.0, scope="conversation")
        try:
            answer = decode(reply.body, Answer)
        except Malformed:
            answer = Answer(ok=False)
        if answer.ok and reply.status == 200:
            return Raw(reply.body)
        raise SlackError(
            method,
            answer.error,
            status=reply.status,
            needed=answer.needed,
            provided=answer.provided,
            messages=answer.response_metadata.messages,
        )

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
            to be had.
        """

        async def once() -> T:
            error: GatewayError
            try:
                found = await self.call(
                    method, params, repeatable=True, token=token, resource=resource, timeout_seconds=timeout_seconds
                )
                return decode(found, kind)
            except SlackError as refused:
                error = gateway_error(refused, purpose)
            except Malformed as malformed:
                error = TryAgain(f"Slack {method}: the answer is not what the Web API promises: {malformed}")
            raise error

        return await repeat(once)

    async def answer(self, response_url: str, body: Mapping[str, Any]) -> None:
        """POST to a response_url, without a token.

        :raises AnswerExpired: Slack does not take it any more. :raises TryAgain: surely not sent.
        :raises OutcomeUnknown: perhaps sent. :raises SendRejected: refused.
        """
        raise SendRejected("answers by response_url are not there yet")

    async def download(self, url: str, *, at_most_bytes: int) -> bytes:
        """A file of Slack, with the bot's token.

        :raises SendRejected: too large, gone, or not a file of Slack. :raises TryAgain: an outage.
        """
        raise SendRejected("downloads are not there yet")

    async def upload(self, url: str, pieces: AsyncIterable[bytes], size: int) -> None:
        """Send a file's bytes to the address that files.getUploadURLExternal gave; without a token. May be repeated.

        :raises SendRejected: refused. :raises TryAgain: an outage.
        """
        raise SendRejected("uploads are not there yet")


def _headers(token: Secret) -> dict[str, str]:
    return {"content-type": "application/json; charset=utf-8", "authorization": f"Bearer {token.reveal()}"}
