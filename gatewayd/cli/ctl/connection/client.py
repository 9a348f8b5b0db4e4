"""An HTTP client of one gatewayd.

It never follows a redirect: the token is only for its own URL. For a daemon on this machine it uses no proxy of the environment.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.utils import parsedate_to_datetime
from pathlib import Path
from ssl import PROTOCOL_TLS_CLIENT, SSLContext
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import quote, urlsplit

import msgspec

from gatewayd import __version__
from gatewayd.cli.ctl.connection.errors import content_type_error, decode_error, response_error, transport_error
from gatewayd.cli.ctl.connection.locate import Target, is_loopback
from gatewayd.cli.ctl.connection.sync_http import httpx2
from gatewayd.cli.ctl.exit_codes import Unreachable
from gatewayd.kit.json import Malformed, decode
from gatewayd.model.config import Scope

T = TypeVar("T")

MAX_ANSWER_BYTES = 64 * 1024 * 1024
"""A larger response is not from gatewayd. The status of 10,000 accounts has about 4 MiB."""
PATIENCE = 6
"""A slow response fails after so many times the allowed silence."""
SILENCE_SECONDS = 45.0
"""The event stream has a heartbeat every 15 s. After three missed ones it is dead."""


def segment(text: str) -> str:
    """``text`` as one segment of a path."""
    return quote(text, safe="")


def segments(text: str) -> str:
    """``text`` as several segments of a path, split at its slashes. An escaped slash makes another path (web/http/paths.py)."""
    return quote(text, safe="/")


def _over(path: Path) -> httpx2.HTTPTransport:
    return httpx2.HTTPTransport(uds=str(path), verify=SSLContext(PROTOCOL_TLS_CLIENT), trust_env=False)


class Client:
    """Sends requests to one daemon. Every method raises CtlError with a sentence for the operator. Use it as a context
    manager."""

    def __init__(self, target: Target, *, timeout: float) -> None:
        url = urlsplit(target.url)
        local = target.socket is not None or is_loopback(url.hostname or "")
        self.target = target
        self._timeout = timeout
        self._clock_ahead = 0.0
        try:
            self._http = httpx2.Client(
                base_url=target.url,
                headers={"Authorization": f"Bearer {target.token.reveal()}", "User-Agent": f"gatewayctl/{__version__}"},
                timeout=timeout,
                trust_env=not local,
                transport=None if target.socket is None else _over(target.socket),
                # To load the certificates of the system takes longer than a request, so only for https.
                verify=httpx2.create_ssl_context() if url.scheme == "https" else SSLContext(PROTOCOL_TLS_CLIENT),
            )
        except (OSError, ValueError, ImportError) as error:
            # $SSL_CERT_FILE is no file of certificates, or $HTTPS_PROXY no proxy that httpx2 can use.
            raise Unreachable(f"The environment's proxy or certificate settings cannot be used: {error}.") from None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._http.close()

    def now(self) -> float:
        """The daemon's Unix time by its last response, to the second. Ages do not depend on the clock of this machine."""
        return time.time() + self._clock_ahead

    def get(self, path: str, answer: type[T], *, scope: Scope, params: Mapping[str, str] | None = None) -> T:
        """GET, decoded. Unknown keys of a newer daemon are ignored."""
        return self.decode(self.fetch("GET", path, scope=scope, params=params), answer)

    def post(self, path: str, body: object, answer: type[T], *, scope: Scope) -> T:
        """POST of a JSON body, decoded."""
        return self.decode(self.fetch("POST", path, scope=scope, body=body), answer)

    def fetch(
        self, method: str, path: str, *, scope: Scope, params: Mapping[str, str] | None = None, body: object = None
    ) -> bytes:
        """The body of a 2xx response. ``scope`` is the scope that the token needs; an error names it."""
        content = None if body is None else msgspec.json.encode(body)
        headers = {"Accept": "application/json"} | ({"Content-Type": "application/json"} if content is not None else {})
        try:
            with self._http.stream(method, path, params=params, content=content, headers=headers) as response:
                self._note_clock(response)
                answer = self._read(response)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise transport_error(self.target, error, self._timeout) from None
        if not response.is_success:
            raise response_error(self.target, response.status_code, answer, scope=scope, path=path, headers=response.headers)
        return answer

    @contextmanager
    def events(self, params: Mapping[str, str], *, last_id: str | None = None) -> Iterator[Iterator[httpx2.ServerSentEvent]]:
        """The stream of events. It ends when the daemon ends it.

        :raises Unreachable: the connection broke, or was silent for too long.
        """
        headers = {"Last-Event-ID": last_id} if last_id else {}
        timeout = httpx2.Timeout(self._timeout, read=SILENCE_SECONDS)
        try:
            with self._http.sse("/v1/events", params=params, headers=headers, timeout=timeout) as source:
                response = source.response
                if not response.is_success:
                    answer = self._read(response)
                    raise response_error(
                        self.target, response.status_code, answer, scope="read", path="/v1/events", headers=response.headers
                    )
                if response.headers.get("content-type", "").partition(";")[0] != "text/event-stream":
                    raise content_type_error(self.target)
                yield iter(source)
        except (httpx2.RequestError, httpx2.InvalidURL) as error:
            raise transport_error(self.target, error, SILENCE_SECONDS) from None

    def decode(self, body: bytes, answer: type[T]) -> T:
        """:raises Unreachable: the response is of another release, or not of gatewayd."""
        try:
            return decode(body, answer)
        except Malformed as error:
            raise decode_error(self.target, error, body) from None

    def _read(self, response: httpx2.Response) -> bytes:
        body, until = bytearray(), time.monotonic() + PATIENCE * self._timeout
        for chunk in response.iter_bytes():
            body += chunk
            if time.monotonic() > until:
                raise Unreachable(
                    f"{self.target.url} was still answering after {PATIENCE * self._timeout:g} s. Is it overloaded?"
                )
            if len(body) > MAX_ANSWER_BYTES:
                raise Unreachable(f"The answer of {self.target.url} is larger than any answer of gatewayd: not gatewayd.")
        return bytes(body)

    def _note_clock(self, response: httpx2.Response) -> None:
        try:
            said = parsedate_to_datetime(response.headers.get("date", "")).timestamp()
        except (ValueError, OverflowError):
            return
        self._clock_ahead = said - time.time()
