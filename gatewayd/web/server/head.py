"""Reads request heads: bytes in, :class:`RequestHead` out. Pure.

llhttp parses the first request of every connection in its strict mode. What it refuses (bare LF, folded or malformed header
lines, two framings at once) reaches no second parser, which might read it differently."""

from collections.abc import Iterable
from typing import Final

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser
from msgspec import Struct

from gatewayd.web.http.errors import HttpError

MAX_HEAD_BYTES: Final = 16 * 1024
"""The limit on the request line and the header lines together, with their line ends."""

_END: Final = b"\r\n\r\n"
_VERSIONS: Final = ("1.0", "1.1")


class RequestHead(Struct, frozen=True):
    """One request head. Header names are lower case, values as they were sent; ``raw`` ends with the empty line.

    ``content_length`` is 0 without that header, and means nothing when the body is ``chunked``.
    """

    method: bytes
    target: bytes
    headers: list[tuple[bytes, bytes]]
    keep_alive: bool
    chunked: bool
    content_length: int
    raw: bytes

    def header(self, name: bytes) -> bytes | None:
        """The first value of a header; ``name`` in lower case."""
        return next((value for known, value in self.headers if known == name), None)


def require_http11(method: bytes, target: bytes, headers: Iterable[tuple[bytes, bytes]]) -> None:
    """Refuse all but HTTP/1.1; TLS and HTTP/2 end at a reverse proxy.

    An offer to upgrade is ignored (RFC 9110 section 7.8): clients that know HTTP/2 make it in their first request, and go on with
    HTTP/1.1. WebSocket is refused, because its frames would be read as a second request. A target in absolute form is refused,
    because it would name a host beside the Host header.

    :raises HttpError: bad_request or method_not_allowed.
    """
    if method == b"CONNECT":
        raise HttpError("method_not_allowed", "the method CONNECT is not served: this is no proxy")
    for name, value in headers:
        if name == b"upgrade" and b"websocket" in value.lower():
            raise HttpError("bad_request", "Upgrade asks for WebSocket, which is not served: send plain HTTP/1.1")
    if not target.startswith(b"/") and not (target == b"*" and method == b"OPTIONS"):
        raise HttpError("bad_request", "the request target is not a path: send it as /PATH?QUERY, without scheme and host")
    if not target.isascii():
        raise HttpError("bad_request", "the request target is not ASCII: percent-encode it")


class HeadReader:
    """Collects one request head from bytes in any pieces. Afterwards ``rest`` holds the bytes behind it."""

    def __init__(self) -> None:
        self.rest = b""
        self._seen = bytearray()
        self._fed = 0
        self._target = b""
        self._headers: list[tuple[bytes, bytes]] = []
        self._content_length = 0
        self._chunked = False
        self._parsed = False
        self._keep_alive = False
        self._parser = HttpRequestParser(self)

    @property
    def begun(self) -> bool:
        """Whether a part of the head has arrived."""
        return bool(self._seen)

    def feed(self, data: bytes) -> RequestHead | None:
        """Take bytes. Returns the head when it is complete, else None. Do not call it again after that.

        :raises HttpError: bad_request, head_too_large, http_version_not_supported, method_not_allowed.
        """
        if not self._seen:
            # RFC 9112 section 2.2: empty lines before a request line are skipped.
            data = data.lstrip(b"\r\n")
        self._seen += data
        end = self._seen.find(_END, max(0, self._fed - len(_END) + 1))
        end = len(self._seen) if end < 0 else end + len(_END)
        self._parse(bytes(self._seen[self._fed : min(end, MAX_HEAD_BYTES)]))
        self._fed = min(end, MAX_HEAD_BYTES)
        if not self._seen.endswith(_END, 0, self._fed):
            if len(self._seen) >= MAX_HEAD_BYTES:
                raise HttpError(
                    "head_too_large", f"the request head is larger than {MAX_HEAD_BYTES} bytes: send fewer or shorter headers"
                )
            return None
        self.rest = bytes(self._seen[self._fed :])
        return self._complete(bytes(self._seen[: self._fed]))

    def on_url(self, part: bytes) -> None:
        self._target += part

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        self._headers.append((name, value))
        if name == b"content-length":
            self._content_length = int(value)  # llhttp has refused everything but digits, and a second one
        elif name == b"transfer-encoding":
            self._chunked = True

    def on_headers_complete(self) -> None:
        self._parsed = True
        # Read here: after a request without a body the parser has forgotten it.
        self._keep_alive = self._parser.should_keep_alive()

    def _parse(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            pass  # CONNECT or an upgrade: the head is complete, and require_http11 looks at it
        except HttpParserError:
            raise self._bad_head() from None

    def _complete(self, raw: bytes) -> RequestHead:
        if not self._parsed:
            raise self._bad_head()
        version = self._parser.get_http_version()
        if version not in _VERSIONS:
            raise _bad_version()
        method = self._parser.get_method()
        require_http11(method, self._target, self._headers)
        return RequestHead(
            method=method,
            target=self._target,
            headers=self._headers,
            keep_alive=self._keep_alive and version == "1.1",
            chunked=self._chunked,
            content_length=self._content_length,
            raw=raw,
        )

    def _bad_head(self) -> HttpError:
        if self._seen.startswith(b"PRI * "):
            return _bad_version()  # the connection preface of HTTP/2 (RFC 9113 section 3.4)
        return HttpError("bad_request", "the request head is not valid HTTP/1.1: this port speaks plain HTTP")


def _bad_version() -> HttpError:
    return HttpError("http_version_not_supported", "this HTTP version is not served: send HTTP/1.1")
