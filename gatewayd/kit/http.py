"""The shared HTTP client, and the requests over it: every failure becomes an error that says what helps, without the URL.

URLs can hold secrets (the Bot API's hold the token). So no text of this module contains a URL, or anything that the server sent.
"""

import logging
import os
import re
import socket
import ssl
from collections.abc import AsyncIterable, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from typing import Any
from zlib import crc32

import anyio
import httpx2
from msgspec import Struct

from gatewayd import __version__
from gatewayd.actor.life import STALL_SECONDS
from gatewayd.kit.body import Body, CannotUnpack
from gatewayd.model.errors import GatewayError, NeedsOperator, OutcomeUnknown, TryAgain

CONNECT_SECONDS = 10.0
"""For a connection from the pool, and again for connecting (TCP and TLS)."""

POOLS = 64
"""A pool scans all of its connections at each request: with 1,000 long polls in one pool, each call took 5 ms."""
CONNECTIONS_PER_POOL = 256
"""A long poll holds one connection for its whole life, a send holds one for a moment."""

_STATUS = re.compile(r"[1-5][0-9]{2}\b")
_IDLE_PER_POOL = 32
_IDLE_SECONDS = 30.0  # shorter than the usual server's keep-alive: the client should close first

_WORDS: tuple[tuple[type[Exception], str], ...] = (
    (TimeoutError, "no answer in time"),
    (httpx2.PoolTimeout, "no free connection in time"),
    (httpx2.ConnectTimeout, "no connection in time"),
    (httpx2.ConnectError, "cannot connect"),
    (httpx2.ReadTimeout, "no answer in time"),
    (httpx2.WriteTimeout, "the request could not be written in time"),
    (httpx2.ProxyError, "the proxy does not let us through"),
    (httpx2.RemoteProtocolError, "closed without a proper answer"),
    (httpx2.NetworkError, "the connection broke"),
)


class HttpReply(Struct, frozen=True):
    """A whole response. ``retry_after_seconds`` is the header of that name, when it is a number (RFC 9110, section 10.2.3). The
    names in ``headers`` are in lower case."""

    status: int
    body: bytes
    retry_after_seconds: float | None = None
    headers: Mapping[str, str] = {}


class AnswerTooLarge(GatewayError):
    """The response is longer than the caller's bound. The request itself was carried out."""


class SharedClient(httpx2.AsyncClient):
    """A client with our settings. ``tls`` is its SSL context."""

    def __init__(self, transport: httpx2.AsyncBaseTransport, tls: ssl.SSLContext) -> None:
        super().__init__(
            transport=transport,
            trust_env=False,
            follow_redirects=False,
            cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
            headers={"user-agent": f"gatewayd/{__version__}"},
        )
        self.tls = tls


def create_client() -> SharedClient:
    """The client that all channels and agent cores share; the caller closes it (``async with``).

    There is one SSL context for all (it takes megabytes), from the system's store or $SSL_CERT_FILE. No other variable is read: a
    proxy variable of some shell must not redirect tokens, nor break calls to loopback. No redirects are followed, because a token
    must not follow one. There are no cookies, because accounts would share them. HTTP/1.1 only: in one shared HTTP/2 connection a
    stall of one account would be a stall of all.
    """
    _keep_quiet()
    tls = httpx2.create_ssl_context()
    return SharedClient(_Pools(tls), tls)


def client_through(proxy: str, like: httpx2.AsyncClient) -> SharedClient:
    """A client whose requests all go through this proxy (see ``kit.proxy``), with the SSL context of another; the caller closes
    it. It has one pool of connections."""
    tls = like.tls if isinstance(like, SharedClient) else httpx2.create_ssl_context()
    return SharedClient(_pool(tls, httpx2.Proxy(proxy, ssl_context=tls if proxy.startswith("https:") else None)), tls)


def _pool(tls: ssl.SSLContext, proxy: httpx2.Proxy | None = None) -> httpx2.AsyncHTTPTransport:
    limits = httpx2.Limits(
        max_connections=CONNECTIONS_PER_POOL, max_keepalive_connections=_IDLE_PER_POOL, keepalive_expiry=_IDLE_SECONDS
    )
    return httpx2.AsyncHTTPTransport(verify=tls, trust_env=False, limits=limits, proxy=proxy)


class _Pools(httpx2.AsyncBaseTransport):
    """Connection pools side by side. The URL's host and first path segment choose one. So the calls of one bot share connections,
    and an account that takes all connections of its pool blocks few others."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._pools = [_pool(context) for _ in range(POOLS)]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        key = request.url.raw_host + b"/".join(request.url.raw_path.split(b"/", 2)[:2])
        return await self._pools[crc32(key) % POOLS].handle_async_request(request)

    async def aclose(self) -> None:
        for pool in self._pools:
            await pool.aclose()


async def exchange(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    what: str,
    timeout_seconds: float,
    at_most_bytes: int,
    repeatable: bool,
    content: bytes | AsyncIterable[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> HttpReply:
    """One request and its whole response, whatever its status.

    ``what`` stands for the URL in errors, e.g. "Telegram sendMessage". ``timeout_seconds`` bounds the whole, also for a server
    that answers byte by byte. ``repeatable``: to send it twice does no harm. It is sent again if the time-out has passed while
    this process stood still. ``content`` in pieces can be read from its beginning again, and its length is in ``headers``; its
    errors pass.

    :raises TryAgain: surely not sent (not one byte was written), or ``repeatable``.
    :raises OutcomeUnknown: it failed after the first byte was written.
    :raises NeedsOperator: the URL cannot be used.
    :raises AnswerTooLarge: more than ``at_most_bytes`` of body.
    """
    progress = _Progress()
    failure: Exception
    for is_last in (not repeatable, True):
        patience = anyio.CancelScope(deadline=anyio.current_time() + timeout_seconds)
        try:
            with patience:
                request = _build(client, method, url, content, headers, progress)
                return await _read(client, request, what, at_most_bytes)
            failure = TimeoutError()
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            failure = error
            break
        if is_last or anyio.current_time() - patience.deadline < STALL_SECONDS:
            break
    # Raised outside of the except block, so that the error has no context: the library's exceptions hold the URL.
    raise describe(failure, what, written=progress.written, repeatable=repeatable)


@asynccontextmanager
async def open_stream(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    *,
    what: str,
    repeatable: bool,
    content: bytes | None = None,
    headers: Mapping[str, str] | None = None,
) -> AsyncIterator[httpx2.Response]:
    """One request, whose response is read piece by piece inside the block, e.g. with ``kit.sse.EventStream``; leaving closes it.

    Connecting has a time limit (``CONNECT_SECONDS``). Silence has none: the caller knows how much of it is normal.

    :raises TryAgain, OutcomeUnknown, NeedsOperator: as ``exchange``, also for what breaks while the block reads.
    """
    progress = _Progress()
    failure: Exception
    try:
        request = _build(client, method, url, content, headers, progress)
        response = await client.send(request, stream=True)
        try:
            yield response
        finally:
            await response.aclose()
        return
    except (httpx2.RequestError, httpx2.InvalidURL) as error:
        failure = error
    raise describe(failure, what, written=progress.written, repeatable=repeatable) from None


def _build(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    content: bytes | AsyncIterable[bytes] | None,
    headers: Mapping[str, str] | None,
    progress: "_Progress",
) -> httpx2.Request:
    return client.build_request(
        method,
        url,
        content=content,
        # A server that packs the body anyway is unpacked within bounds, see Body.
        headers={"accept-encoding": "identity", **(headers or {})},
        timeout=httpx2.Timeout(None, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
        extensions={"trace": progress},
    )


def describe(failure: Exception, what: str, *, written: bool, repeatable: bool) -> GatewayError:
    """The error for ``failure``: its class says what helps, its text has no secret."""
    if isinstance(failure, httpx2.InvalidURL | httpx2.UnsupportedProtocol):
        return NeedsOperator(f"{what}: the address in the configuration is not a usable http or https URL")
    if written and not repeatable:
        return OutcomeUnknown(f"{what}: {words_for(failure)}; it may or may not have been carried out")
    return TryAgain(f"{what}: {words_for(failure)}")


def words_for(failure: Exception) -> str:
    """What went wrong, as the end of a sentence, without a secret."""
    if isinstance(failure, CannotUnpack):
        return str(failure)
    words = next((words for kind, words in _WORDS if isinstance(failure, kind)), type(failure).__name__)
    if isinstance(failure, httpx2.ConnectError) and (why := _why_not_connected(failure)):
        return f"{words}: {why}"
    if isinstance(failure, httpx2.ProxyError) and (status := _STATUS.match(str(failure))):
        return f"{words}: it answered {status[0]}"
    return words


def _why_not_connected(failure: BaseException | None) -> str | None:
    """The system error among the causes, in the words of the system, the resolver or OpenSSL: they hold no URL."""
    found: OSError | None = None
    for _ in range(10):
        if isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]  # one attempt for each address
        if failure is None:
            break
        if isinstance(failure, OSError):
            found = failure
        failure = failure.__cause__ or failure.__context__
    match found:
        case ssl.SSLCertVerificationError():
            return f"its certificate is not valid: {found.verify_message}"
        case ssl.SSLError():
            return f"TLS failed: {found.reason}"
        case socket.gaierror():
            return "its name cannot be resolved"
        case OSError(errno=int(number)):
            return os.strerror(number)
    return None


async def _read(client: httpx2.AsyncClient, request: httpx2.Request, what: str, at_most_bytes: int) -> HttpReply:
    response = await client.send(request, stream=True)
    try:
        body = await read_body(response, what=what, at_most_bytes=at_most_bytes)
    finally:
        await response.aclose()
    return HttpReply(response.status_code, body, retry_after_seconds(response), dict(response.headers))


async def read_body(response: httpx2.Response, *, what: str, at_most_bytes: int) -> bytes:
    """The whole body of a streamed response, which the caller closes. :raises AnswerTooLarge: it is longer."""
    body = bytearray()
    async with aclosing(Body(response)) as pieces:
        async for piece in pieces:
            if len(body) + len(piece) > at_most_bytes:
                raise AnswerTooLarge(f"{what}: the answer is longer than {at_most_bytes} bytes")
            body += piece
    return bytes(body)


def retry_after_seconds(response: httpx2.Response) -> float | None:
    """The header Retry-After, when it is a number (RFC 9110, section 10.2.3)."""
    value = response.headers.get("retry-after")
    return float(value) if value is not None and value.isascii() and value.isdigit() and len(value) < 8 else None


class _Progress:
    """Notes when the request begins to be written: before that it was surely not sent."""

    def __init__(self) -> None:
        self.written = False

    async def __call__(self, event: str, info: Mapping[str, Any]) -> None:
        # A CONNECT is for the proxy: the request itself follows through the tunnel.
        if event.endswith("send_request_headers.started") and info["request"].method != b"CONNECT":
            self.written = True


def _keep_quiet() -> None:
    """httpx2 logs every URL at level INFO: such records are dropped here, whatever the log level is. Warnings hold no URL."""
    logging.getLogger("httpx2").addFilter(_is_warning)
    logging.getLogger("httpcore2").setLevel(logging.WARNING)


def _is_warning(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.WARNING
