"""Webhooks answered without the framework, at a third of the cost: the part in front of the app's route, which is the reference.

What is answered here is answered byte for byte as the route does, but for the time in ``date``; whatever is out of the ordinary
is left to it. ``gateway.webhook_accelerator = false`` leaves everything to it.
"""

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio
from msgspec import Struct

from gatewayd.ports.channel import WebhookRequest
from gatewayd.web.http.bodies import BODY_SECONDS, BODY_TOO_LATE
from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.paths import is_one_spelling
from gatewayd.web.http.response import render_response
from gatewayd.web.server.head import RequestHead
from gatewayd.web.webhooks import PREFIX, Receipt, WebhookDesk, headers_of, parse_target

# What the route matches, and nothing else.
_TARGET: Final = re.compile(re.escape(PREFIX).encode() + rb"[^/?]+/[^/?]+(?:\?.*)?\Z")


class Answer(Struct, frozen=True):
    """``receipt`` is for afterwards. ``is_last``: it comes before the whole body, so the connection cannot go on."""

    status: int
    body: bytes
    content_type: str = "application/json"
    headers: Mapping[str, str] = {}
    receipt: Receipt | None = None
    is_last: bool = False


class Accelerator:
    """Stands between connections and the desk. ``enabled`` or not: then it takes nothing."""

    def __init__(self, desk: WebhookDesk, *, max_body_bytes: int, enabled: bool) -> None:
        self._desk = desk
        self._max_body = max_body_bytes
        self._enabled = enabled

    def takes(self, head: RequestHead) -> bool:
        """Whether this is a webhook as platforms send it."""
        return (
            self._enabled
            and head.method == b"POST"
            and _TARGET.match(head.target) is not None
            and not head.chunked
            and head.content_length <= self._max_body
            and head.header(b"expect") is None
            and is_one_spelling(head.target.partition(b"?")[0])
        )

    async def answer(self, head: RequestHead, body: bytes | None, read_body: Callable[[], Awaitable[bytes]]) -> Answer:
        """As the route answers. ``body`` is None when it is not all there yet, and ``read_body`` reads it then.

        :raises HttpError: of ``read_body``: the connection is over.
        """
        target = parse_target(head.target.decode("ascii"))
        assert target is not None, "only what it takes gets here"
        channel, account, query = target
        headers = headers_of(head.headers)
        try:
            # What nobody will take is not read.
            self._desk.check(channel, account, headers)
        except HttpError as error:
            return _error_answer(error, is_last=body is None)
        if body is None:
            with trio.move_on_after(BODY_SECONDS):
                body = await read_body()
            if body is None:
                return _error_answer(HttpError("request_timeout", BODY_TOO_LATE), is_last=True)
        try:
            receipt = await self._desk.answer_in_time(
                channel, account, WebhookRequest(method="POST", headers=headers, query=query, body=body)
            )
        except HttpError as error:
            return _error_answer(error)
        reply = receipt.reply
        return Answer(reply.status, reply.body, reply.content_type, receipt=receipt)


def render(answer: Answer, request_id: str, *, keeps_alive: bool, ends: bool) -> bytes:
    """The bytes. ``keeps_alive``: the client may send another request; ``ends``: and we take none, which only we know."""
    connection = ("connection: close\r\n" if ends else "") if keeps_alive else "Connection: close\r\n"
    return render_response(
        answer.status, answer.body, request_id, content_type=answer.content_type, headers=answer.headers, connection=connection
    )


def _error_answer(error: HttpError, *, is_last: bool = False) -> Answer:
    return Answer(error.status, error.body, headers=error.headers, is_last=is_last)
