"""The arguments of a call: form or JSON alike (docs.slack.dev/apis/web-api/#methods)."""

import base64
import binascii
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl

import msgspec

from tests.fakes.bot_api.http_server import Request
from tests.fakes.slack_platform.errors import Json, SlackError, explained

Method = Callable[[Json], Json]
STRUCTURED = {"blocks", "attachments", "metadata", "files", "view", "chunks"}
"""Arguments that a form carries as JSON text."""
NO_BODY = {"GET", "HEAD"}


def read_arguments(request: Request) -> Json:
    """The values of the query, the form or the JSON object.

    :raises SlackError: invalid_json, json_not_object, invalid_form_data, invalid_post_type, invalid_blocks_format …
    """
    values: Json = dict(parse_qsl(request.query, keep_blank_values=True))
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if request.method in NO_BODY:
        pass
    elif kind == "application/json":
        try:
            body = msgspec.json.decode(request.body or b"{}")
        except msgspec.DecodeError:
            raise SlackError("invalid_json") from None
        if not isinstance(body, dict):
            raise SlackError("json_not_object")
        if "token" in body:
            del body["token"]  # in a JSON body it does not count: only the header does
        values.update(body)
    elif kind == "application/x-www-form-urlencoded" or not request.body:
        try:
            values.update(parse_qsl(request.body.decode(), keep_blank_values=True, errors="strict"))
        except UnicodeDecodeError:
            raise SlackError("invalid_form_data") from None
    else:
        raise SlackError("invalid_post_type")
    for name in STRUCTURED & values.keys():
        values[name] = _structured(name, values[name])
    return {name: value for name, value in values.items() if value is not None}


def _structured(name: str, value: object) -> object:
    if not isinstance(value, str):
        return value
    if not value:
        return None
    try:
        return msgspec.json.decode(value)
    except msgspec.DecodeError:
        raise SlackError(
            {"blocks": "invalid_blocks_format", "metadata": "invalid_metadata_format"}.get(name, "invalid_arguments")
        ) from None


def text(values: Json, name: str, default: str = "") -> str:
    """An argument as text."""
    value = values.get(name, default)
    return value if isinstance(value, str) else str(value)


def needed(values: Json, name: str, *, error: str = "invalid_arguments") -> str:
    """An argument that must be there.

    :raises SlackError: with the words of Slack.
    """
    if values.get(name) in (None, ""):
        raise explained(error, f"[ERROR] missing required field: {name}")
    return text(values, name)


def flag(values: Json, name: str, default: bool = False) -> bool:
    """``true``, ``1`` and their kin."""
    value = values.get(name, default)
    return value if isinstance(value, bool) else str(value).lower() in {"1", "true", "t", "yes"}


def number(values: Json, name: str, default: int) -> int:
    """:raises SlackError: invalid_arguments."""
    try:
        return int(values.get(name, default))
    except (TypeError, ValueError):
        raise explained("invalid_arguments", f"[ERROR] must be an integer [json-pointer:/{name}]") from None


def page(items: list[Any], values: Json, *, default: int, at_most: int) -> tuple[list[Any], str]:
    """The page that ``cursor`` and ``limit`` ask for, and the next cursor, "" at the end (…/apis/web-api/pagination).

    :raises SlackError: invalid_cursor, invalid_limit.
    """
    limit = number(values, "limit", default)
    if limit < 1:
        raise SlackError("invalid_limit")
    begin = from_cursor(text(values, "cursor"), "offset")
    start = int(begin) if begin else 0
    end = start + min(limit, at_most)
    return items[start:end], to_cursor("offset", str(end)) if end < len(items) else ""


def to_cursor(name: str, value: str) -> str:
    """An opaque cursor."""
    return base64.b64encode(f"{name}:{value}".encode()).decode()


def from_cursor(cursor: str, name: str) -> str:
    """What :func:`to_cursor` was given; "" without a cursor.

    :raises SlackError: invalid_cursor.
    """
    if not cursor:
        return ""
    try:
        found, _, value = base64.b64decode(cursor, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        raise SlackError("invalid_cursor") from None
    if found != name:
        raise SlackError("invalid_cursor")
    return value
