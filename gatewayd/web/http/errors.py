"""Requests that are answered with an error: one exception, one body, one table of stable codes.

The body is ``{"error": {"code": "…", "message": "…"}}``. Clients may rely on the codes; messages are for people.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec

from gatewayd.model.errors import Conflict, GatewayError, NotFound, Overloaded, StoreRefused, UnusableId
from gatewayd.model.operator_api import ErrorBody, ErrorDetail
from gatewayd.model.records.dead_letter import NotADeadLetter

Code = Literal[
    "bad_request",
    "unauthorized",
    "forbidden",
    "bad_origin",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "conflict",
    "other_login",
    "body_too_large",
    "unsupported_media_type",
    "misdirected",
    "invalid_config",
    "too_many_requests",
    "overloaded",
    "head_too_large",
    "internal",
    "bad_gateway",
    "draining",
    "unavailable",
    "gateway_timeout",
    "http_version_not_supported",
]

STATUS: Final[Mapping[Code, int]] = {
    "bad_request": 400,
    "unauthorized": 401,
    "forbidden": 403,
    "bad_origin": 403,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "conflict": 409,
    "other_login": 409,
    "body_too_large": 413,
    "unsupported_media_type": 415,
    "misdirected": 421,
    "invalid_config": 422,
    "too_many_requests": 429,
    "overloaded": 503,
    "head_too_large": 431,
    "internal": 500,
    "bad_gateway": 502,
    "draining": 503,
    "unavailable": 503,
    "gateway_timeout": 504,
    "http_version_not_supported": 505,
}

RETRY_SECONDS: Final = 5
"""What ``Retry-After`` says when nothing better is known."""

# The first code of each status: what a status that comes from a library is called.
_CODE_OF: Final[dict[int, Code]] = {status: code for code, status in reversed(tuple(STATUS.items()))}


class HttpError(Exception):
    """Raised anywhere while a request is handled: answered with its status and JSON body, and not logged as a bug.

    ``headers`` are added to the answer; ``retry_after`` is in whole seconds. ``message`` is shown to the client.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.code: Code = code
        self.message = message
        self.status = STATUS[code] if status is None else status
        self.headers = dict(headers or {})
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    @property
    def body(self) -> bytes:
        """The JSON body."""
        return msgspec.json.encode(ErrorBody(ErrorDetail(self.code, self.message)))


class AnswerCut(Exception):
    """A response body ended in the middle: the server closes the connection, so that the client notices."""


def error_of_status(status: int, message: str | None = None, *, headers: Mapping[str, str] | None = None) -> HttpError:
    """The HttpError for a status that a library chose. An unknown 4xx is a bad request, an unknown 5xx internal."""
    code = _CODE_OF.get(status) or ("bad_request" if status < 500 else "internal")
    return HttpError(code, message or HTTPStatus(status).phrase, status=status, headers=headers)


def error_of(error: GatewayError) -> HttpError:
    """What a client is told of an error that was raised on purpose."""
    if isinstance(error, NotFound):
        return HttpError("not_found", error.reason)
    if isinstance(error, Conflict):
        return HttpError("conflict", error.reason)
    if isinstance(error, NotADeadLetter | UnusableId):
        return HttpError("bad_request", error.reason)
    if isinstance(error, Overloaded):
        return HttpError("overloaded", error.reason, retry_after=RETRY_SECONDS)
    if isinstance(error, StoreRefused):
        return HttpError("unavailable", "the store cannot be written now; nothing was stored", retry_after=RETRY_SECONDS)
    return HttpError("unavailable", error.reason, retry_after=RETRY_SECONDS)
