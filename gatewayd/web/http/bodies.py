"""The queries and JSON bodies of requests, decoded strictly, and JSON responses."""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from quart import Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.kit import json
from gatewayd.web.http.errors import HttpError

T = TypeVar("T", bound=Struct)

BODY_SECONDS: Final = 30.0
"""The limit from the end of the head to the end of the body."""
BODY_TOO_LATE: Final = f"the body took longer than {BODY_SECONDS:g} s"
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

    :raises HttpError: bad_request for an unknown, repeated or wrong parameter. The message names the allowed ones.
    """
    given: dict[str, str] = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise HttpError("bad_request", f"the query parameter {name!r} is given {len(values)} times: give it once")
        given[name] = values[0]
    allowed = [field.encode_name for field in msgspec.structs.fields(kind)]
    unknown = [name for name in given if name not in allowed]
    if unknown:
        known = ", ".join(allowed) or "none"
        raise HttpError("bad_request", f"the query parameter {unknown[0]!r} is unknown; allowed: {known}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise HttpError("bad_request", f"in the query: {error}") from None


async def read_body(kind: type[T], *, at_most_bytes: int | None = None) -> T:
    """The JSON body as ``kind``. ``at_most_bytes`` is for routes without a token: a larger body, or one without a Content-Length,
    is refused before it is read.

    :raises HttpError: unsupported_media_type, body_too_large, or bad_request. The message names the wrong field.
    """
    if at_most_bytes is not None and ("Transfer-Encoding" in request.headers or (request.content_length or 0) > at_most_bytes):
        raise HttpError("body_too_large", f"the body is too large: send at most {at_most_bytes} bytes, with a Content-Length")
    body = await read_optional_body(kind)
    if body is None:
        raise HttpError("bad_request", "the request has no body: send JSON, with Content-Type: application/json")
    return body


async def read_optional_body(kind: type[T]) -> T | None:
    """As :func:`read_body`, but None without a body."""
    raw = await read_json_bytes()
    if not raw:
        return None
    try:
        return json.decode(raw, kind)
    except json.Malformed as error:
        where = "in the body" if error.is_json else "the body is not valid JSON"
        raise HttpError("bad_request", f"{where}: {error}") from None


async def read_json_bytes() -> bytes:
    """The body, undecoded; empty without one. :raises HttpError: unsupported_media_type."""
    raw = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    # A page of another site may send a form or text/plain without a preflight (a CORS "simple request").
    if raw and request.mimetype != "application/json":
        raise HttpError("unsupported_media_type", "the body is not marked as JSON: send it with Content-Type: application/json")
    return raw


def require_ready(gateway: Gateway) -> None:
    """:raises HttpError: draining: the daemon is not ready for new work."""
    if gateway.state != "ready":
        raise HttpError("draining", f"the daemon is {gateway.state}: try again when it is ready")
