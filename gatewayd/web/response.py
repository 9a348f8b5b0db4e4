"""HTTP/1.1 responses as bytes, for what is answered without the framework, and the headers that every answer carries."""

import time
from collections.abc import Mapping
from email.utils import formatdate
from functools import cache, lru_cache
from http import HTTPStatus
from typing import Final

from gatewayd.web.refusal import Refusal
from gatewayd.web.request_id import HEADER

SECURITY_HEADERS: Final[Mapping[str, str]] = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
}
"""On every answer, unless a page says otherwise for itself."""

_SECURITY: Final = "".join(f"{name}: {value}\r\n" for name, value in SECURITY_HEADERS.items())

CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


def render(
    status: int,
    body: bytes,
    *,
    content_type: str = "application/json",
    headers: Mapping[str, str] | None = None,
    close: bool = False,
) -> bytes:
    """One whole response. ``close`` announces that the connection ends after it."""
    head = (
        f"HTTP/1.1 {status} {_phrase(status)}\r\nDate: {_date(int(time.time()))}\r\n"
        f"Content-Type: {_one_line(content_type)}\r\nContent-Length: {len(body)}\r\n{_SECURITY}"
    )
    for name, value in (headers or {}).items():
        head += f"{name}: {_one_line(value)}\r\n"
    if close:
        head += "Connection: close\r\n"
    return head.encode("latin-1", "replace") + b"\r\n" + body


def render_refusal(refusal: Refusal, request_id: str, *, close: bool = True) -> bytes:
    """The error answer as bytes."""
    return render(refusal.status, refusal.body, headers=refusal.headers | {HEADER: request_id}, close=close)


@lru_cache(maxsize=1)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


@cache
def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _one_line(value: str) -> str:
    """Whatever a driver passes on from outside, it cannot add a header."""
    return " ".join(value.split())
