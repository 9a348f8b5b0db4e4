"""The bodies of a plug-in's requests and replies, as streams with limits."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack
from math import inf
from typing import Final

import anyio
import trio
from quart import Request
from werkzeug.exceptions import HTTPException

from gatewayd.actor.border import Bug, third_party
from gatewayd.ports.channel import HttpProblem, HttpReply, HttpRoute
from gatewayd.web.http.bodies import check_length
from gatewayd.web.http.errors import BODY_SECONDS, AnswerCut, HttpError, error_of_framework, error_of_status
from gatewayd.web.http.streams import EVENT_STREAM, StreamedBody
from gatewayd.web.http.waits import Waits

SILENT_SECONDS: Final = 120.0
"""How long a stream may be silent. A client that has gone without a word is noticed by a write only."""


def body_of(request: Request, route: HttpRoute) -> AsyncIterator[bytes]:
    """The body of a request, with the limits of its route. Its reading fails with an HttpError when it is too large or too late.

    :raises HttpError: it streams, and has another media type or may be too large: the reply may begin before the reading.
    """
    if not route.streams:
        return _whole(request, route)
    _check_length(request, route)
    _check_media(request, route)
    return _pieces_of(request)


async def _whole(request: Request, route: HttpRoute) -> AsyncIterator[bytes]:
    _check_length(request, route)
    try:
        raw = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    except HTTPException as error:
        raise error_of_framework(error) from None
    if raw:
        _check_media(request, route)
        yield raw


async def _pieces_of(request: Request) -> AsyncIterator[bytes]:
    size, pieces = 0, aiter(request.body)
    while True:
        try:
            with trio.move_on_after(BODY_SECONDS) as waiting:
                piece = await anext(pieces, b"")
        except HTTPException as error:
            raise error_of_framework(error) from None
        if waiting.cancelled_caught:
            raise error_of_status(408, f"the next piece of the body took longer than {BODY_SECONDS:g} s")
        if not piece:
            return
        size += len(piece)
        if request.max_content_length is not None and size > request.max_content_length:
            raise error_of_status(413, "the body is larger than gateway.max_body_bytes: send less")
        yield piece


def _check_length(request: Request, route: HttpRoute) -> None:
    if route.at_most_bytes is not None:
        check_length(request, route.at_most_bytes)


def _check_media(request: Request, route: HttpRoute) -> None:
    if route.accepts is not None and request.mimetype != route.accepts:
        what = "JSON" if route.accepts == "application/json" else route.accepts
        wanted = f"the body is not marked as {what}: send it with Content-Type: {route.accepts}"
        raise HttpError("unsupported_media_type", wanted)


class PluginStream(StreamedBody):
    """The body of a plug-in's reply, made by its iterator in a task of its own: a generator may hold scopes and task groups
    between two pieces.

    It ends with ``closed``, with ``waits``, and when it was silent for too long. ``note`` gets what the plug-in has raised.
    ``held`` is released at the end.
    """

    def __init__(
        self,
        reply: HttpReply,
        waits: Waits,
        closed: trio.Event | None,
        held: ExitStack,
        *,
        note: Callable[[Exception], None],
    ) -> None:
        self._pieces = reply.body
        self._waits = waits
        self._closed = closed
        self._note = note
        self._is_whole = reply.content_type.startswith(EVENT_STREAM)  # a reader of events reconnects by itself
        self._made, self._to_send = trio.open_memory_channel[bytes](0)
        self._making = trio.CancelScope()
        self._entered = False
        self._stack = AsyncExitStack()
        self._stack.callback(held.close)

    async def __aenter__(self) -> "PluginStream":
        self._entered = True
        tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._stack.callback(tasks.cancel_scope.cancel)
        tasks.start_soon(self._make)
        if self._closed is not None:
            tasks.start_soon(self._end_with, self._closed)
        return self

    async def __anext__(self) -> bytes:
        try:
            return await self._to_send.receive()
        except trio.EndOfChannel:
            if self._is_whole:
                raise StopAsyncIteration from None
            raise AnswerCut("the plug-in did not finish its answer") from None

    async def aclose(self) -> None:
        if not self._entered:
            self._entered = True
            await self._guarded(self._close_pieces)
        await self._stack.aclose()

    async def _make(self) -> None:
        with self._made, self._waits.until(), self._making:
            await self._guarded(self._pass_on)

    async def _guarded(self, call: Callable[[], Awaitable[None]]) -> None:
        try:
            with third_party():
                await call()
        except Exception as error:
            self._note(error)

    async def _pass_on(self) -> None:
        try:
            self._making.deadline = trio.current_time() + SILENT_SECONDS
            async for piece in self._pieces:  # type: ignore[union-attr]
                if not isinstance(piece, bytes):
                    raise Bug(f"a piece of a stream is a {type(piece).__name__}, not bytes")
                self._making.deadline = inf  # the limit on writes is the server's
                if piece:
                    await self._made.send(piece)
                self._making.deadline = trio.current_time() + SILENT_SECONDS
            self._is_whole = True
        except HttpProblem:
            pass  # the reply has begun, so that only its end can tell: perhaps the body of the request was too large
        finally:
            await self._close_pieces()

    async def _end_with(self, closed: trio.Event) -> None:
        await closed.wait()
        self._making.cancel()

    async def _close_pieces(self) -> None:
        if (close := getattr(self._pieces, "aclose", None)) is not None:
            await close()
