"""Request bodies: JSON, or multipart with ``payload_json`` and ``files[n]`` ("Reference", Uploading Files)."""

import re
from email.message import Message
from typing import Any

import msgspec
from msgspec import Struct, field

from tests.fakes.bot_api.http_server import Request
from tests.fakes.discord_platform.errors import ApiError, Json
from tests.fakes.discord_platform.model.cdn import Upload

_FILE = re.compile(r"files\[(\d+)\]")


class Body(Struct):
    """``value`` is the JSON value, {} for an empty body. Files have the descriptions of ``attachments``."""

    value: Any = field(default_factory=dict)
    uploads: list[Upload] = field(default_factory=list)

    @property
    def fields(self) -> Json:
        """The value as an object.

        :raises ApiError: 50035, it is none.
        """
        if not isinstance(self.value, dict):
            raise ApiError(
                400,
                50035,
                "Invalid Form Body",
                {"_errors": [{"code": "MODEL_TYPE_CONVERT", "message": "Only dictionaries may be used in a ModelType"}]},
            )
        return self.value


def read_body(request: Request) -> Body:
    """:raises ApiError: 50109 not JSON, 50035 another Content-Type."""
    header = request.headers.get("content-type", "")
    match header.partition(";")[0].strip().lower():
        case "application/json":
            return Body(_json(request.body)) if request.body else Body()
        case "multipart/form-data":
            return _multipart(header, request.body)
        case _ if request.body:
            message = 'Expected "Content-Type" header to be one of {application/json, multipart/form-data}.'
            raise ApiError(400, 50035, "Invalid Form Body", {"_errors": [{"code": "CONTENT_TYPE_INVALID", "message": message}]})
        case _:
            return Body()


def _json(raw: bytes) -> Any:
    try:
        return msgspec.json.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise ApiError(400, 50109, "The request body contains invalid JSON.") from None


def _multipart(header: str, raw: bytes) -> Body:
    message = Message()
    message["content-type"] = header
    boundary = message.get_param("boundary")
    parts = (b"\r\n" + raw).split(b"\r\n--" + str(boundary).encode())
    if not isinstance(boundary, str) or len(parts) < 2 or not parts[-1].startswith(b"--"):
        raise ApiError(400, 50035, "Invalid Form Body")
    body = Body()
    files: dict[str, Upload] = {}
    for part in parts[1:-1]:
        head, _, content = part.removeprefix(b"\r\n").partition(b"\r\n\r\n")
        headers = Message()
        for line in head.decode().split("\r\n"):
            name, _, value = line.partition(":")
            headers[name.strip()] = value.strip()
        name_ = str(headers.get_param("name", header="content-disposition"))
        number = _FILE.fullmatch(name_)
        if name_ == "payload_json":
            body.value = _json(content)
        elif number is not None:
            kind = headers.get_content_type() if "content-type" in headers else ""
            files[number[1]] = Upload(headers.get_filename() or "unknown", content, kind)
    described = {str(one.get("id")): one for one in body.fields.get("attachments") or () if isinstance(one, dict)}
    for number_, upload in files.items():
        upload.description = described.get(number_, {}).get("description")
        upload.filename = described.get(number_, {}).get("filename") or upload.filename
        body.uploads.append(upload)
    return body
