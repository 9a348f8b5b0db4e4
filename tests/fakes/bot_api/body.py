"""The four ways to send parameters: query string, form, multipart and JSON (core.telegram.org/bots/api#making-requests)."""

from email.message import Message
from urllib.parse import parse_qsl

import msgspec
from msgspec import Struct

from tests.fakes.bot_api.errors import Json, bad_request
from tests.fakes.bot_api.http_server import Request


class Upload(Struct):
    """One file of a multipart body."""

    filename: str
    content_type: str
    content: bytes


class Arguments(Struct):
    """What a request carries. Without ``typed`` every value is text; a JSON body has typed values."""

    values: Json
    uploads: dict[str, Upload]
    typed: bool = False


def read_arguments(request: Request) -> Arguments:
    """Decode the query string and the body.

    :raises ApiError: 400, the body is not what its Content-Type says.
    """
    arguments = Arguments(values=dict(_pairs(request.query)), uploads={})
    header = request.headers.get("content-type", "")
    match header.partition(";")[0].strip().lower():
        case "application/json":
            if request.body:
                arguments.values.update(_json_object(request.body))
            arguments.typed = True
        case "multipart/form-data":
            _read_multipart(request.body, _parameter(header, "boundary"), arguments)
        case "application/x-www-form-urlencoded":
            arguments.values.update(_pairs(_text(request.body)))
        case other if request.body:
            raise bad_request(f'Content-Type "{other}" is not one the Bot API reads')
        case _:
            pass
    return arguments


def _pairs(query: str) -> list[tuple[str, str]]:
    try:
        return parse_qsl(query, keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        raise bad_request("strings must be encoded in UTF-8") from None


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise bad_request("strings must be encoded in UTF-8") from None


def _json_object(body: bytes) -> Json:
    try:
        return msgspec.json.decode(body, type=Json)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise bad_request("can't parse JSON object") from None


def _parameter(header: str, name: str) -> str:
    message = Message()
    message["content-type"] = header
    value = message.get_param(name)
    if not isinstance(value, str) or not value:
        raise bad_request(f"Content-Type has no {name}")
    return value


def _read_multipart(body: bytes, boundary: str, arguments: Arguments) -> None:
    """RFC 7578: a part with a file name is a file, any other part is a text."""
    parts = (b"\r\n" + body).split(b"\r\n--" + boundary.encode())
    if len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise bad_request("can't parse multipart/form-data")
    for part in parts[1:-1]:
        head, separator, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        if not separator:
            raise bad_request("can't parse multipart/form-data")
        headers = Message()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.strip()] = value.strip()
        name_ = headers.get_param("name", header="content-disposition")
        filename = headers.get_filename()
        if not isinstance(name_, str):
            raise bad_request("a part has no name")
        if filename is None:
            arguments.values[name_] = _text(content)
        else:
            arguments.uploads[name_] = Upload(filename, headers.get_content_type(), content)
