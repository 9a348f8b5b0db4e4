"""What was asked, decoded strictly, and what is answered, as JSON."""

from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Struct
from quart import Response, request

from gatewayd.hub.gateway import Gateway
from gatewayd.kit import json
from gatewayd.web.http.errors import RETRY_SECONDS, HttpError

T = TypeVar("T", bound=Struct)

BODY_SECONDS: Final = 30.0
"""The limit from the end of the head to the end of the body."""
BODY_TOO_LATE: Final = f"the body took longer than {BODY_SECONDS:g} s"
LOGIN_BYTES: Final = 4096
"""Of the body of a login, which anybody may send."""


class LoginRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The one-time code of a login link."""

    code: Annotated[str, Meta(max_length=200)]


_encode = msgspec.json.Encoder().encode


def json_response(value: object, status: int = 200) -> Response:
    """``value`` (structs, lists, plain data) as a JSON response."""
    return Response(_encode(value), status=status, content_type="application/json")


def read_query(kind: type[T]) -> T:
    """The query parameters as ``kind``; texts are converted to the fields' types.

    :raises HttpError: bad_request for an unknown, repeated or wrong parameter, with what is allowed.
    """
    given: dict[str, str] = {}
    for name, values in request.args.lists():
        if len(values) > 1:
            raise HttpError("bad_request", f"the query parameter {name!r} is given {len(values)} times")
        given[name] = values[0]
    allowed = [field.encode_name for field in msgspec.structs.fields(kind)]
    unknown = [name for name in given if name not in allowed]
    if unknown:
        known = ", ".join(allowed) or "none"
        raise HttpError("bad_request", f"unknown query parameter {unknown[0]!r}; allowed: {known}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise HttpError("bad_request", f"in the query: {error}") from None


async def read_body(kind: type[T], *, at_most_bytes: int | None = None) -> T:
    """The JSON body as ``kind``. ``at_most_bytes`` is for routes that anybody may ask: who sends more, or does not say how much,
    is refused before the body is there.

    :raises HttpError: unsupported_media_type, body_too_large, or bad_request with the place of what is wrong.
    """
    if at_most_bytes is not None and ("Transfer-Encoding" in request.headers or (request.content_length or 0) > at_most_bytes):
        raise HttpError("body_too_large", f"the body is to be sent with its Content-Length, of at most {at_most_bytes} bytes")
    body = await read_optional_body(kind)
    if body is None:
        raise HttpError("bad_request", "a JSON body is needed")
    return body


async def read_optional_body(kind: type[T]) -> T | None:
    """As :func:`read_body`, but None when there is no body at all."""
    raw = await request.get_data(cache=False, as_text=False, parse_form_data=False)
    if not raw:
        return None
    # A form or text/plain is what a foreign page may send without asking first (CORS "simple request").
    if request.mimetype != "application/json":
        raise HttpError("unsupported_media_type", "the body must be JSON, with Content-Type: application/json")
    try:
        return json.decode(raw, kind)
    except json.Malformed as error:
        where = "in the body" if error.is_json else "the body is not valid JSON"
        raise HttpError("bad_request", f"{where}: {error}") from None


def require_ready(gateway: Gateway) -> None:
    """Work is taken on only while the daemon is ready. :raises HttpError: draining."""
    if gateway.state != "ready":
        raise HttpError("draining", f"the daemon is {gateway.state}", retry_after=RETRY_SECONDS)
