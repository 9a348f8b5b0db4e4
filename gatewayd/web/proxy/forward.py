"""Passing a request on to an agent's server, and its answer back as it comes.

Nothing is collected: while a client does not read, its connection to the server is not read either. No redirect is followed,
no header is passed on that its proxy does not name, and every wait has an end.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import anyio
import httpx2
from quart import Response

from gatewayd.kit.http import CONNECT_SECONDS, describe
from gatewayd.ports.proxy import AgentProxy, Forward, ProxyError, Timeouts
from gatewayd.web.access.auth import StreamAuthorization
from gatewayd.web.http.errors import RETRY_SECONDS, AnswerCut, HttpError
from gatewayd.web.http.streams import EVENT_STREAM, NO_BUFFERING, StreamedBody
from gatewayd.web.http.waits import Waits

MOST_OPEN: Final = 64
"""Requests under way, streams included."""
_CLOSE_SECONDS: Final = 2.0

_OnClose = Callable[[], None]


class Forwarder:
    """Sends to agents' servers. At most ``MOST_OPEN`` at once, then clients are refused."""

    def __init__(self, http: httpx2.AsyncClient, waits: Waits) -> None:
        self._http = http
        self._waits = waits
        self._open = 0

    async def forward(self, proxy: AgentProxy, method: str, forward: Forward, *, authorization: StreamAuthorization) -> Response:
        """Send, and answer with what comes back, a stream for as long as ``authorization`` holds.

        :raises HttpError: bad_gateway, gateway_timeout, overloaded. :raises ProxyError: what comes back is not of the protocol.
        """
        if self._open >= MOST_OPEN:
            raise HttpError("overloaded", f"{MOST_OPEN} requests to agents' servers are under way", retry_after=RETRY_SECONDS)
        self._open += 1
        try:
            upstream = await self._send(method, forward)
        except BaseException:
            self._open -= 1
            raise
        forwarded = Forwarded(upstream, self._waits, forward.timeouts, authorization, self._closed)
        try:
            proxy.check_reply(upstream.status_code, upstream.headers.get("content-type", ""))
        except ProxyError:
            await forwarded.aclose()
            raise
        kept = {name: upstream.headers[name] for name in proxy.reply_headers if name in upstream.headers}
        if kept.get("content-type", "").startswith(EVENT_STREAM):
            kept |= NO_BUFFERING
        response = Response(forwarded, status=upstream.status_code, headers=kept)
        response.timeout = None
        return response

    async def _send(self, method: str, forward: Forward) -> httpx2.Response:
        what = "the agent's server"
        failure: Exception
        try:
            request = self._http.build_request(
                method,
                forward.url.rstrip("/") + forward.target.partition(b"?")[0].decode("ascii"),
                content=forward.body or None,
                headers={"accept-encoding": "identity", **forward.headers},
                timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
                extensions={"target": forward.target},
            )
            with self._waits.of_request(forward.timeouts.head):
                return await self._http.send(request, stream=True)
            raise HttpError("gateway_timeout", f"{what} has not answered within {forward.timeouts.head:g} s")
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            failure = error
        # Out here, without the context: the library's errors carry the request, and that our credentials.
        raise HttpError("bad_gateway", describe(failure, what, written=False, repeatable=True).reason)

    def _closed(self) -> None:
        self._open -= 1


class Forwarded(StreamedBody):
    """The body of an agent server's response. web/app.py closes it, whether it was sent or not."""

    def __init__(
        self, upstream: httpx2.Response, waits: Waits, timeouts: Timeouts, authorization: StreamAuthorization, on_close: _OnClose
    ) -> None:
        self._authorization = authorization
        self._upstream = upstream
        self._chunks = upstream.aiter_raw()
        self._waits = waits
        self._silence = timeouts.silence
        self._deadline = anyio.current_time() + timeouts.whole
        self._is_stream = upstream.headers.get("content-type", "").startswith(EVENT_STREAM)
        self._on_close: _OnClose | None = on_close

    async def __anext__(self) -> bytes:
        with self._waits.until(min(self._silence, self._deadline - anyio.current_time())), suppress(httpx2.RequestError):
            chunk = await anext(self._chunks)
            if not (self._is_stream and await self._authorization.has_ended()):
                return chunk
        if self._is_stream:
            raise StopAsyncIteration  # whoever reads events comes back by itself
        raise AnswerCut("the agent's server did not finish its answer")

    async def aclose(self) -> None:
        """Close the connection to the server, unless the body was read to its end. Closing twice is no error."""
        on_close, self._on_close = self._on_close, None
        if on_close is None:
            return
        on_close()
        # The library's generators are nested, and closing the outer one abandons the inner ones: cancelling ends all of them
        # where they stand, from the inside out.
        with anyio.CancelScope() as scope, suppress(StopAsyncIteration, httpx2.RequestError):
            scope.cancel()
            while True:
                await anext(self._chunks)
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._upstream.aclose()
