"""One connection of a client: reads the request head, then answers the webhook here or hands the connection over to hypercorn.

The accelerator answers its webhooks at a fraction of the cost, any number of them on one connection. The first other request is
handed over to hypercorn with all that follows on the connection. There the app's own route answers webhooks.
"""

from contextlib import suppress
from functools import partial
from math import inf
from typing import Final

import structlog
import trio

from gatewayd.web.http.errors import HttpError, error_of_status
from gatewayd.web.http.request_id import FIELD, new_request_id, request_id_of
from gatewayd.web.http.response import render_error
from gatewayd.web.server.accelerator import Accelerator, render
from gatewayd.web.server.head import HeadReader, RequestHead
from gatewayd.web.server.http1 import KEEP_ALIVE_SECONDS, Http1Connection, Http1Site
from gatewayd.web.server.stream import WRITE_SECONDS, ClientStream
from gatewayd.web.webhooks import WebhookDesk

HEAD_SECONDS: Final = 10.0
"""The limit from the accept (for a later request: from its first byte) to the end of the request head."""
FIRST_HEAD_SECONDS: Final = 1.0
"""The same for a new connection while the server closes."""
LAST_HEAD_SECONDS: Final = 0.2
"""The same for a connection that was answered before: a client that sends without a pause still gets a response, which announces
the close."""

log = structlog.get_logger("gatewayd.web")


class Connection:
    """Serves one accepted stream until either side closes it."""

    def __init__(self, stream: ClientStream, site: Http1Site, webhooks: WebhookDesk, accelerator: Accelerator) -> None:
        self._stream = stream
        self._site = site
        self._webhooks = webhooks
        self._accelerator = accelerator
        self._unread = b""
        self._http1: Http1Connection | None = None
        # One scope for all waits on the client. Its deadline moves from phase to phase, which costs less than a scope for each.
        self._waits = trio.CancelScope()
        self._if_late: HttpError | None = None
        self._awaits_head = False
        self._served_one = False
        self._request_id = ""
        self._closing = False
        self._stopping = False

    async def serve(self) -> None:
        """Returns when the connection is closed. Never raises an Exception: an error of one connection is logged, and ends
        nothing else."""
        try:
            await self._serve()
        except* Exception:
            log.exception("connection_failed", client=self._stream.client)
        finally:
            self._stream.close()

    def close_soon(self) -> None:
        """Close it after one more request: the running one, or one that comes within ``LAST_HEAD_SECONDS``
        (``FIRST_HEAD_SECONDS`` for the first request of the connection). A client that sends later has to repeat its request
        (RFC 9112, section 9.3.1)."""
        self._closing = True
        if self._http1 is not None:
            self._http1.end_idle_within(LAST_HEAD_SECONDS)
        elif self._awaits_head and self._if_late is None:
            moment = LAST_HEAD_SECONDS if self._served_one else FIRST_HEAD_SECONDS
            self._waits.deadline = min(self._waits.deadline, trio.current_time() + moment)

    def stop(self) -> None:
        """Close it now, or after the running request. After :meth:`close_soon` this does nothing."""
        self._stopping = True
        if self._closing:
            return
        if self._awaits_head:
            self._if_late = None
            self._waits.cancel()
        if self._http1 is not None:
            self._http1.stop()

    def abort(self) -> None:
        """Close it now, even in the middle of a request."""
        self._stream.abort()

    async def _serve(self) -> None:
        error: HttpError | None = None
        handed_over: RequestHead | None = None
        with self._waits:
            try:
                handed_over = await self._answer_webhooks()
            except HttpError as raised:
                error = raised
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return None
        if handed_over is not None:
            return await self._hand_over(handed_over)
        if self._waits.cancelled_caught:
            error = self._if_late
        if error is not None:
            self._site.answered(error.status)
            self._unread = b""
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                await self._stream.send(render_error(error, self._request_id or new_request_id()))
            await self._stream.finish()
        return None

    def _allow(self, seconds: float, if_late: HttpError | None = None) -> None:
        """Limit the next wait on the client to ``seconds``. After that ``if_late`` is the last response (None: no response)."""
        self._waits.deadline = trio.current_time() + seconds
        self._if_late = if_late

    async def _answer_webhooks(self) -> RequestHead | None:
        """Returns the first head that the accelerator does not take, or None when the connection is over. :raises HttpError:"""
        self._allow(FIRST_HEAD_SECONDS if self._closing else HEAD_SECONDS)
        while head := await self._next_head():
            if not self._accelerator.takes(head):
                return head
            try:
                release = self._site.connection_slots.request(self._stream.client and self._stream.client[0], head.headers)
            except HttpError:
                return head  # the app refuses it, too
            self._served_one = True
            self._request_id = request_id_of(head.headers)
            try:
                with structlog.contextvars.bound_contextvars(**{FIELD: self._request_id}):
                    goes_on = await self._answer_webhook(head)
            finally:
                release()
            if not goes_on:
                return None
            self._allow(KEEP_ALIVE_SECONDS)
        return None

    async def _next_head(self) -> RequestHead | None:
        """The head of the next request; None: there is none. :raises HttpError:"""
        reader = HeadReader()
        self._request_id = ""
        self._awaits_head = True
        head = self._feed(reader)
        while head is None and not (self._stopping and not self._closing):
            if reader.begun and self._if_late is None:
                self._if_late = HttpError("request_timeout", f"the request head took longer than {HEAD_SECONDS:g} s")
                self._waits.deadline = min(self._waits.deadline, trio.current_time() + HEAD_SECONDS)
            self._unread = await self._stream.receive()
            if not self._unread:
                if reader.begun:
                    raise HttpError(
                        "bad_request", "the connection was closed in the middle of the request head: send the whole request"
                    )
                return None
            head = self._feed(reader)
        self._awaits_head = False
        # Stopped at the moment when the head arrived: it is not answered, as if it had come after the close.
        return None if self._waits.cancel_called else head

    def _feed(self, reader: HeadReader) -> RequestHead | None:
        data, self._unread = self._unread, b""
        head = reader.feed(data)
        self._unread = reader.rest
        return head

    async def _hand_over(self, head: RequestHead) -> None:
        # No variable keeps these bytes: they may be many, and the connection may live for days.
        self._http1 = Http1Connection(self._site, self._stream, head.raw + self._unread)
        self._unread = b""
        await self._http1.run()
        if self._http1.unread:
            await self._stream.finish()

    async def _answer_webhook(self, head: RequestHead) -> bool:
        """Answer one webhook. Returns whether the connection stays open. :raises HttpError: the connection must be closed."""
        body = self._take(head.content_length)
        self._allow(inf)  # the accelerator has limits of its own
        answer = await self._accelerator.answer(head, body, partial(self._read_body, head.content_length))
        ends = answer.is_last or self._closing or self._stopping
        self._site.answered(answer.status)
        self._allow(WRITE_SECONDS)
        await self._stream.send_within(render(answer, self._request_id, keeps_alive=head.keep_alive, ends=ends))
        self._stream.memory.clear()
        if answer.receipt is not None:
            self._webhooks.afterwards(answer.receipt)
        if answer.is_last:
            self._unread = b""
            await self._stream.finish()
        return head.keep_alive and not ends

    def _take(self, length: int) -> bytes | None:
        """The body, if it has arrived as a whole. The bytes behind it stay unread."""
        if len(self._unread) < length:
            return None
        body, self._unread = self._unread[:length], self._unread[length:]
        return body

    async def _read_body(self, length: int) -> bytes:
        """:raises HttpError: the body was cut, or takes too much memory."""
        parts = bytearray(self._unread)
        while len(parts) < length:
            data = await self._stream.receive()
            if not data:
                raise error_of_status(400)
            parts += data
        self._unread = bytes(parts[length:])
        return bytes(parts[:length])
