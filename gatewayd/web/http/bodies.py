"""The headers, queries and JSON bodies of requests, decoded strictly, and JSON responses."""

from collections.abc import Iterable
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from quart import Request as QuartRequest
from quart import Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.kit.serving.requests import decode_body, decode_query
from gatewayd.web.http.errors import HttpError

T = TypeVar("T", bound=Struct)

LOGIN_BYTES: Final = 4096
"""The limit on the body of a login, which needs no token."""


class LoginRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The one-time code of a login link."""

    code: Annotated[str, Meta(max_length=200)]


_encode = msgspec.json.Encoder().encode


def json_response(value: object, status: int = 200) -> Response:
    """``value`` (structs, lists, plain data) as a JSON response."""
    return Response(_encode(value), status=status, content_type="application/json")


def read_query(kind: type[T]) -> T:
    """The query parameters as ``kind``; their texts are converted to the types of its fields.

    :raises HttpProblem: bad_request for an unknown, repeated or wrong parameter. The message names the allowed ones.
    """
    return decode_query(request.query_string.decode("latin-1"), kind)


async def read_body(kind: type[T], *, at_most_bytes: int | None = None) -> T:
    """The JSON body as ``kind``. ``at_most_bytes`` is for routes without a token: a larger body, or one without a Content-Length,
    is refused before it is read.

    :raises HttpError: unsupported_media_type, body_too_large, or bad_request. The message names the wrong field.
    """
    if at_most_bytes is not None:
        check_length(request, at_most_bytes)
    body = await read_optional_body(kind)
    if body is None:
        raise HttpError("bad_request", "the request has no body: send JSON, with Content-Type: application/json")
    return body


def check_length(asked: QuartRequest, at_most_bytes: int) -> None:
    """Before the body is read. :raises HttpError: body_too_large: it is, or may be."""
    if "Transfer-Encoding" in asked.headers or (asked.content_length or 0) > at_most_bytes:
        raise HttpError("body_too_large", f"the body is too large: send at most {at_most_bytes} bytes, with a Content-Length")


async def read_optional_body(kind: type[T]) -> T | None:
    """As :func:`read_body`, but None without a body."""
    raw = await read_json_bytes()
    if not raw:
        return None
    return decode_body(raw, kind)


async def read_json_bytes() -> bytes:
    """The body, undecoded; empty without one. :raises HttpError: unsupported_media_type."""
    raw = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    # A page of another site may send a form or text/plain without a preflight (a CORS "simple request").
    if raw and request.mimetype != "application/json":
        raise HttpError("unsupported_media_type", "the body is not marked as JSON: send it with Content-Type: application/json")
    return raw


def headers_of(pairs: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """Header names in lower case, repeated headers joined (RFC 9110 section 5.3)."""
    joined: dict[str, str] = {}
    for raw_name, raw_value in pairs:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        joined[name] = f"{joined[name]}, {value}" if name in joined else value
    return joined


def require_ready(gateway: Gateway) -> None:
    """:raises HttpError: draining: the daemon is not ready for new work."""
    if gateway.state != "ready":
        raise HttpError("draining", f"the daemon is {gateway.state}: try again when it is ready")
