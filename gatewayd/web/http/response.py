"""HTTP/1.1 responses as bytes, for requests that the framework does not see, and the headers of every response."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import Final

from gatewayd.web.http.errors import HttpError
from gatewayd.web.http.request_id import HEADER

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""The headers of every response, unless a page sets its own."""

_SECURITY: Final = "".join(f"{name.lower()}: {value}\r\n" for name, value in SECURITY_HEADERS.items())


def render_response(
    status: int,
    body: bytes,
    request_id: str,
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] = {},
    connection: str = "Connection: close\r\n",
) -> bytes:
    """The bytes of a response, as the framework would write them. ``connection`` is a whole header line, or empty."""
    head = f"HTTP/1.1 {status} \r\n"
    for name, value in headers.items():
        head += f"{name.lower()}: {value}\r\n"
    head += (
        f"content-type: {one_line(content_type)}\r\ncontent-length: {len(body)}\r\n{_SECURITY}"
        f"date: {date_now()}\r\n{HEADER}: {request_id}\r\n{connection}\r\n"
    )
    return head.encode("latin-1", "replace") + body


def render_error(error: HttpError, request_id: str) -> bytes:
    """The bytes of an error response. It announces the end of its connection."""
    return render_response(error.status, error.body, request_id, headers=error.headers)


def date_now() -> str:
    """The value of a Date header."""
    return _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def one_line(value: str) -> str:
    """A value without line ends: a text from outside must not add a header."""
    return " ".join(value.split())
