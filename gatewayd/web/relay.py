"""Passing a request on to an agent's server, and its answer back as it comes.

Nothing is collected: while a client does not read, its connection to the server is not read either. No redirect is followed,
no header is passed on that is not named here, and every wait has an end.
"""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import suppress
from types import TracebackType
from typing import Final

import anyio
import httpx2
from msgspec import Struct
from quart import Response
from quart.wrappers.response import ResponseBody

from gatewayd.kit.http import CONNECT_SECONDS, describe
from gatewayd.ports.agent import Surface
from gatewayd.web.auth import Admission
from gatewayd.web.refusal import RETRY_SECONDS, Refusal
from gatewayd.web.waits import Waits

MOST_OPEN: Final = 64
"""Requests under way, streams included."""
_CLOSE_SECONDS: Final = 2.0

# Not Set-Cookie and not Access-Control-*: the server is not to speak for our origin. Not Link: it holds the server's address.
_ANSWER_HEADERS: Final = ("content-type", "content-length", "content-encoding", "retry-after", "x-next-cursor")
_JSON: Final = "application/json"
_EVENTS: Final = "text/event-stream"


class Patience(Struct, frozen=True):
    """Seconds: until the head of the answer is there, until all of it is, and between two pieces of it."""

    head: float
    whole: float
    silence: float


ORDINARY: Final = Patience(head=30, whole=120, silence=30)
A_RUN: Final = Patience(head=3600, whole=3600, silence=3600)
"""A prompt is answered when the agent has done what was asked, tools and permissions included."""
A_STREAM: Final = Patience(head=30, whole=float("inf"), silence=90)
"""OpenCode says something every 10 s, OpenAgentic every 30."""


_OnClose = Callable[[], None]


class AnswerCut(Exception):
    """The server's answer ended in the middle: the connection is closed, so that the client can tell."""


class Relay:
    """Sends to agents' servers. At most ``MOST_OPEN`` at once, then clients are refused."""

    def __init__(self, http: httpx2.AsyncClient, waits: Waits) -> None:
        self._http = http
        self._waits = waits
        self._open = 0

    async def forward(
        self,
        surface: Surface,
        method: str,
        target: bytes,
        *,
        headers: Mapping[str, str],
        body: bytes,
        patience: Patience,
        admission: Admission,
    ) -> Response:
        """Send, and answer with what comes back, a stream for as long as ``admission`` holds. ``target`` is path and query, sent
        byte for byte.

        :raises Refusal: bad_gateway, gateway_timeout, overloaded; not_found where the server answers with its own page.
        """
        if self._open >= MOST_OPEN:
            raise Refusal("overloaded", f"{MOST_OPEN} requests to agents' servers are under way", retry_after=RETRY_SECONDS)
        self._open += 1
        try:
            upstream = await self._send(surface, method, target, headers, body, patience.head)
        except BaseException:
            self._open -= 1
            raise
        passed_on = PassedOn(upstream, self._waits, patience, admission, self._closed)
        try:
            _check(upstream)
        except Refusal:
            await passed_on.aclose()
            raise
        kept = {name: upstream.headers[name] for name in _ANSWER_HEADERS if name in upstream.headers}
        if kept.get("content-type", "").startswith(_EVENTS):
            kept["x-accel-buffering"] = "no"  # nginx would hold events back
        response = Response(passed_on, status=upstream.status_code, headers=kept)
        response.timeout = None
        return response

    async def _send(
        self, surface: Surface, method: str, target: bytes, headers: Mapping[str, str], body: bytes, seconds: float
    ) -> httpx2.Response:
        what = "the agent's server"
        failure: Exception
        try:
            request = self._http.build_request(
                method,
                surface.url.rstrip("/") + target.partition(b"?")[0].decode("ascii"),
                content=body or None,
                headers={"accept-encoding": "identity", **headers, **surface.headers},
                timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
                extensions={"target": target},
            )
            with self._waits.of_request(seconds):
                return await self._http.send(request, stream=True)
            raise Refusal("gateway_timeout", f"{what} has not answered within {seconds:g} s")
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            failure = error
        # Out here, without the context: the library's errors carry the request, and that our credentials.
        raise Refusal("bad_gateway", describe(failure, what, written=False, repeatable=True).reason)

    def _closed(self) -> None:
        self._open -= 1


def _check(upstream: httpx2.Response) -> None:
    """:raises Refusal: this is not an answer of the protocol."""
    status = upstream.status_code
    if not 200 <= status < 600:
        raise Refusal("bad_gateway", f"the agent's server answers with the status {status}, which is none of an answer")
    if status in (401, 403, 407):
        raise Refusal("bad_gateway", "the agent's server refuses gatewayd's credentials")
    if 300 <= status < 400:
        raise Refusal("bad_gateway", "the agent's server redirects, which is not followed")
    kind = upstream.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/html":
        # OpenCode's page for whatever it does not know, with the status 200.
        raise Refusal("not_found", "the agent's server has nothing at this path")
    if kind not in ("", _JSON, _EVENTS):
        raise Refusal("bad_gateway", "the agent's server answers with something that is not of its protocol")


class PassedOn(ResponseBody):
    """The body of a server's answer. Not a generator, because Quart abandons the body in the middle when a client leaves.

    Whoever made it closes it, sent or not (web/app.py does).
    """

    def __init__(
        self, upstream: httpx2.Response, waits: Waits, patience: Patience, admission: Admission, on_close: _OnClose
    ) -> None:
        self._admission = admission
        self._upstream = upstream
        self._chunks = upstream.aiter_raw()
        self._waits = waits
        self._silence = patience.silence
        self._deadline = anyio.current_time() + patience.whole
        self._is_stream = upstream.headers.get("content-type", "").startswith(_EVENTS)
        self._on_close: _OnClose | None = on_close

    async def __aenter__(self) -> "PassedOn":
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_value: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.aclose()

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        with self._waits.until(min(self._silence, self._deadline - anyio.current_time())), suppress(httpx2.RequestError):
            chunk = await anext(self._chunks)
            if not (self._is_stream and await self._admission.is_over()):
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
