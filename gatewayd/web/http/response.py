"""HTTP/1.1 responses as bytes, for what is answered without the framework, and the headers that every answer carries."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import lru_cache
from http import HTTPStatus
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
"""On every answer, unless a page says otherwise for itself."""

_SECURITY: Final = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())


def render_error(error: HttpError, request_id: str) -> bytes:
    """The error answer as bytes. It announces that the connection ends after it."""
    body = error.body
    head = (
        f"HTTP/1.1 {error.status} {HTTPStatus(error.status).phrase}\r\nDate: {date_now()}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n{_SECURITY}"
    )
    for name, value in (error.headers | {HEADER: request_id}).items():
        head += f"{name}: {one_line(value)}\r\n"
    return f"{head}Connection: close\r\n\r\n".encode("latin-1", "replace") + body


def date_now() -> str:
    """The time, as a Date header has it."""
    return _date(int(time.time()))


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def one_line(value: str) -> str:
    """Whatever a driver passes on from outside, it cannot add a header."""
    return " ".join(value.split())
