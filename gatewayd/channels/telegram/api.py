"""Calls to one bot's Bot API (core.telegram.org/bots/api#making-requests). The token is in every URL and in no text."""

from typing import TypeVar
from urllib.parse import quote

import httpx2
import msgspec
from msgspec import Raw, Struct

from gatewayd.channels.telegram.errors import ApiError, Purpose, gateway_error
from gatewayd.channels.telegram.settings import TelegramSettings
from gatewayd.channels.telegram.wire import ApiResponse, ResponseParameters
from gatewayd.kit.http import AnswerTooLarge, HttpReply, exchange
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.repeat import repeat
from gatewayd.kit.text import sanitise
from gatewayd.model.errors import OutcomeUnknown, SendRejected, TryAgain
from gatewayd.model.secret import Redactor, Secret

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A hundred updates of the largest kind take a tenth of it."""

T = TypeVar("T")

_LOOKED_AT = 4000
_DESCRIPTION_MAX = 300
_JSON = {"content-type": "application/json"}


class BotApi:
    """Holds nothing open; the client belongs to the hub."""

    def __init__(self, http: httpx2.AsyncClient, settings: TelegramSettings) -> None:
        self._http = http
        self._base = settings.api_base.rstrip("/")
        self._token = settings.token
        self._timeout_seconds = settings.request_timeout_seconds
        self._redact = Redactor([settings.token])

    def hide(self, secret: Secret) -> None:
        """Keep a further secret out of the texts of errors: the server may repeat what it was sent."""
        self._redact.add(secret)

    async def call(
        self, method: str, params: Struct | None = None, *, timeout_seconds: float | None = None, repeatable: bool = True
    ) -> Raw:
        """The result of ``method``, undecoded. Without ``timeout_seconds`` the time limit of the settings holds. ``repeatable``:
        calling twice is as good as once.

        :raises ApiError: the server, or something before it, did not do it.
        :raises TryAgain: surely not sent, or an outage of something repeatable.
        :raises OutcomeUnknown: perhaps carried out.
        """
        what = f"Telegram {method}"
        try:
            reply = await exchange(
                self._http,
                "POST",
                f"{self._base}/bot{self._token.reveal()}/{method}",
                what=what,
                timeout_seconds=timeout_seconds or self._timeout_seconds,
                at_most_bytes=MAX_ANSWER_BYTES,
                repeatable=repeatable,
                content=b"{}" if params is None else msgspec.json.encode(params),
                headers=_JSON,
            )
        except AnswerTooLarge as error:
            raise (TryAgain if repeatable else OutcomeUnknown)(error.reason) from None
        answer = _answer_of(reply)
        if answer is not None and answer.ok and reply.status == 200:
            return answer.result
        raise self._error(method, reply, answer)

    async def ask(
        self, method: str, params: Struct | None, kind: type[T], *, purpose: Purpose, timeout_seconds: float | None = None
    ) -> T:
        """The result of a ``method`` that changes nothing, or nothing the second time, as ``kind``.

        :raises TryAgain: an outage. :raises NeedsOperator: the account cannot go on. :raises SendRejected: not to be had;
            only for the purpose fetch.
        """

        async def once() -> T:
            try:
                return decode(await self.call(method, params, timeout_seconds=timeout_seconds), kind)
            except ApiError as refused:
                error = gateway_error(refused, purpose)
            except Malformed as malformed:
                error = TryAgain(f"Telegram {method}: the answer is not what the Bot API promises: {malformed}")
            raise error

        return await repeat(once)

    async def download(self, file_path: str, *, at_most_bytes: int) -> bytes:
        """A file that getFile has named.

        :raises ApiError: it is not there (any more).
        :raises SendRejected: longer than ``at_most_bytes``.
        :raises TryAgain: an outage.
        """
        try:
            reply = await exchange(
                self._http,
                "GET",
                f"{self._base}/file/bot{self._token.reveal()}/{quote(file_path)}",
                what="Telegram file download",
                timeout_seconds=self._timeout_seconds,
                at_most_bytes=at_most_bytes,
                repeatable=True,
            )
        except AnswerTooLarge as error:
            raise SendRejected(f"too large: {error.reason}") from None
        if reply.status != 200:
            raise self._error("file download", reply, _answer_of(reply))
        return reply.body

    def _error(self, method: str, reply: HttpReply, answer: ApiResponse | None) -> ApiError:
        if answer is None or answer.ok:
            return ApiError(method, reply.status, retry_after_seconds=reply.retry_after_seconds, by_telegram=False)
        parameters = answer.parameters or ResponseParameters()
        code = answer.error_code if answer.error_code is not None and 0 <= answer.error_code < 1000 else reply.status
        return ApiError(
            method,
            code,
            # A server that tells us our own URL must not put the token into a reason.
            self._redact(sanitise((answer.description or "")[:_LOOKED_AT]))[:_DESCRIPTION_MAX],
            retry_after_seconds=reply.retry_after_seconds if parameters.retry_after is None else parameters.retry_after,
            migrate_to_chat_id=parameters.migrate_to_chat_id,
        )


def _answer_of(reply: HttpReply) -> ApiResponse | None:
    try:
        return decode(reply.body, ApiResponse)
    except Malformed:
        return None
