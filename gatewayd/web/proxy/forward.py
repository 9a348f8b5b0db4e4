"""Forwards a request to an agent's server, and the response to the client, block by block.

Nothing is buffered: while a client does not read, the server's connection is not read either. Redirects are not followed, only
headers that the proxy names are forwarded, and every wait has a limit.
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
from gatewayd.web.http.errors import AnswerCut, HttpError
from gatewayd.web.http.streams import EVENT_STREAM, NO_BUFFERING, StreamedBody
from gatewayd.web.http.waits import Waits

MOST_OPEN: Final = 64
"""The limit on running requests, streams included."""
_CLOSE_SECONDS: Final = 2.0

_OnClose = Callable[[], None]


class Forwarder:
    """Sends to the servers of agents, at most ``MOST_OPEN`` requests at a time."""

    def __init__(self, http: httpx2.AsyncClient, waits: Waits) -> None:
        self._http = http
        self._waits = waits
        self._open = 0

    async def forward(self, proxy: AgentProxy, method: str, forward: Forward, *, authorization: StreamAuthorization) -> Response:
        """Send the request and return the server's response; a stream ends when ``authorization`` has ended.

        :raises HttpError: bad_gateway, gateway_timeout, overloaded. :raises ProxyError: the response is not of the protocol.
        """
        if self._open >= MOST_OPEN:
            raise HttpError("overloaded", f"{MOST_OPEN} requests to agent servers are running: try again later")
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
            raise HttpError("gateway_timeout", f"{what} did not answer within {forward.timeouts.head:g} s: is it overloaded?")
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            failure = error
        # Raised here, without the context: the library's error holds the request, and that holds our credentials.
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
            raise StopAsyncIteration  # a reader of events reconnects by itself
        raise AnswerCut("the agent's server did not finish its answer")

    async def aclose(self) -> None:
        """Close the connection to the server. Closing twice is no error."""
        on_close, self._on_close = self._on_close, None
        if on_close is None:
            return
        on_close()
        # The library's generators are nested, and closing the outer one abandons the inner ones. A cancellation ends all of them,
        # from the inside out.
        with anyio.CancelScope() as scope, suppress(StopAsyncIteration, httpx2.RequestError):
            scope.cancel()
            while True:
                await anext(self._chunks)
        with anyio.move_on_after(_CLOSE_SECONDS, shield=True):
            await self._upstream.aclose()
