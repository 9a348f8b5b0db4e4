"""Answers webhooks without the framework, at a third of the cost. It stands in front of the app's route, which is the reference.

Its responses equal those of the route byte for byte, except the time in ``date``. It leaves unusual requests to the route, and
with ``gateway.webhook_accelerator = false`` all of them."""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from msgspec import Struct

from gatewayd.ports.channel import WebhookRequest
from gatewayd.web.http.bodies import headers_of
from gatewayd.web.http.errors import BODY_SECONDS, BODY_TOO_LATE, HttpError
from gatewayd.web.http.paths import is_one_spelling
from gatewayd.web.http.response import render_response
from gatewayd.web.server.head import RequestHead
from gatewayd.web.webhooks import PREFIX, Receipt, WebhookDesk, parse_target

# Exactly the targets that the route matches.
_TARGET: Final = re.compile(re.escape(PREFIX).encode() + rb"[^/?]+/[^/?]+(?:\?.*)?\Z")


class WebhookResponse(Struct, frozen=True):
    """A response. ``receipt`` is for the work after it. ``is_last``: it comes before the whole body, so the connection ends."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    receipt: Receipt | None = None
    is_last: bool = False


class Accelerator:
    """Stands between connections and the webhook desk. When it is not ``enabled``, it takes nothing."""

    def __init__(self, desk: WebhookDesk, *, max_body_bytes: int, enabled: bool) -> None:
        self._desk = desk
        self._max_body = max_body_bytes
        self._enabled = enabled

    def takes(self, head: RequestHead) -> bool:
        """Whether this is an ordinary webhook."""
        return (
            self._enabled
            and head.method == b"POST"
            and _TARGET.match(head.target) is not None
            and not head.chunked
            and head.content_length <= self._max_body
            and head.header(b"expect") is None
            and is_one_spelling(head.target.partition(b"?")[0])
        )

    async def answer(self, head: RequestHead, body: bytes | None, read_body: Callable[[], Awaitable[bytes]]) -> WebhookResponse:
        """Answer as the route does. ``body`` is None until it has arrived as a whole; then ``read_body`` reads it.

        :raises HttpError: from ``read_body``: the connection is over.
        """
        target = parse_target(head.target.decode("ascii"))
        assert target is not None, "takes() was not asked"
        channel, account, query = target
        headers = headers_of(head.headers)
        try:
            # A body that will be refused is not read.
            self._desk.check(channel, account, "POST", headers)
        except HttpError as error:
            return _error_answer(error, is_last=body is None)
        if body is None:
            with trio.move_on_after(BODY_SECONDS):
                body = await read_body()
            if body is None:
                return _error_answer(HttpError("request_timeout", BODY_TOO_LATE), is_last=True)
        try:
            receipt = await self._desk.answer(
                channel, account, WebhookRequest(method="POST", headers=headers, query=query, body=body)
            )
        except HttpError as error:
            return _error_answer(error)
        reply = receipt.reply
        return WebhookResponse(reply.status, reply.body, reply.content_type, receipt=receipt)


def render(answer: WebhookResponse, request_id: str, *, keeps_alive: bool, ends: bool) -> bytes:
    """The bytes. ``keeps_alive``: the client expects to send another request; ``ends``: the server closes all the same."""
    connection = ("connection: close\r\n" if ends else "") if keeps_alive else "Connection: close\r\n"
    return render_response(
        answer.status, answer.body, request_id, content_type=answer.content_type, headers=answer.headers, connection=connection
    )


def _error_answer(error: HttpError, *, is_last: bool = False) -> WebhookResponse:
    return WebhookResponse(error.status, error.body, headers=error.headers, is_last=is_last)
