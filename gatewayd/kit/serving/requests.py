"""Queries, JSON bodies and cookies of requests, decoded strictly, and JSON replies."""

from collections import Counter
from typing import Final, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from gatewayd.kit import json
from gatewayd.ports.channel import HttpProblem, HttpReply, HttpRequest

T = TypeVar("T", bound=Struct)

_encode: Final = msgspec.json.Encoder().encode


def json_reply(value: object, status: int = 200, *, headers: tuple[tuple[str, str], ...] = ()) -> HttpReply:
    """``value`` (structs, lists, plain data) as JSON."""
    return HttpReply(_encode(value), status, "application/json", headers)


def decode_query(query: str, kind: type[T]) -> T:
    """The query parameters as ``kind``; their texts are converted to the types of its fields.

    :raises HttpProblem: bad_request for an unknown, repeated or wrong parameter. The message names the allowed ones.
    """
    pairs = parse_qsl(query, keep_blank_values=True)
    given = dict(pairs)
    for name, times in Counter(name for name, _ in pairs).items():
        if times > 1:
            raise HttpProblem(400, "bad_request", f"the query parameter {name!r} is given {times} times: give it once")
    allowed = [field.encode_name for field in msgspec.structs.fields(kind)]
    unknown = [name for name in given if name not in allowed]
    if unknown:
        known = ", ".join(allowed) or "none"
        raise HttpProblem(400, "bad_request", f"the query parameter {unknown[0]!r} is unknown; allowed: {known}")
    try:
        return msgspec.convert(given, kind, strict=False)
    except msgspec.ValidationError as error:
        raise HttpProblem(400, "bad_request", f"in the query: {error}") from None


async def read_body(request: HttpRequest, kind: type[T]) -> T:
    """The JSON body as ``kind``. :raises HttpProblem: bad_request, and those of ``HttpRequest.body``."""
    raw = b"".join([piece async for piece in request.body])
    if not raw:
        raise HttpProblem(400, "bad_request", "the request has no body: send JSON, with Content-Type: application/json")
    return decode_body(raw, kind)


def decode_body(raw: bytes, kind: type[T]) -> T:
    """A JSON body as ``kind``. :raises HttpProblem: bad_request. The message names the wrong field."""
    try:
        return json.decode(raw, kind)
    except json.Malformed as error:
        where = "in the body" if error.is_json else "the body is not valid JSON"
        raise HttpProblem(400, "bad_request", f"{where}: {error}") from None


def cookies_of(request: HttpRequest, name: str) -> list[str]:
    """The values of all cookies of this name: another program on this host can set one for a longer path, which a browser sends
    first (RFC 6265bis, section 5.8.3)."""
    pairs = (cookie.strip().partition("=") for cookie in request.headers.get("cookie", "").split(";"))
    return [value for key, _, value in pairs if key == name]
