"""HTTP errors: one exception, one body, and one table of stable codes.

The body is ``{"error": {"code": "…", "message": "…"}}``. Clients may rely on the codes; messages are for people, and say what
happened, where, and what to do.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Literal

import msgspec
from werkzeug.exceptions import HTTPException

from gatewayd.model.errors import Conflict, GatewayError, NotFound, Overloaded, StoreRefused, UnusableId
from gatewayd.model.operator_api import ErrorBody, ErrorDetail
from gatewayd.model.records.dead_letter import NotADeadLetter
from gatewayd.ports.channel import HttpProblem

Code = Literal[
    "bad_request",
    "unauthorized",
    "forbidden",
    "bad_origin",
    "not_found",
    "method_not_allowed",
    "request_timeout",
    "conflict",
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

BODY_SECONDS: Final = 30.0
"""The limit from the end of the head to the end of the body."""
BODY_TOO_LATE: Final = f"the body took longer than {BODY_SECONDS:g} s"

RETRY_SECONDS: Final = 5
"""``Retry-After`` of an error that may pass by itself, if its raiser gives no other."""
_MAY_PASS: Final = ("overloaded", "draining", "unavailable", "too_many_requests")

_MESSAGES: Final = {
    404: "there is nothing at this path",
    405: "this path does not take this method: see Allow",
    408: BODY_TOO_LATE,
    413: "the body is larger than gateway.max_body_bytes: send less",
}
"""What is said of an error of the framework."""
# The first code of each status, for a status that comes from a library.
_CODE_OF: Final[dict[int, Code]] = {status: code for code, status in reversed(tuple(STATUS.items()))}


class HttpError(HttpProblem):
    """The error response of a request. Any handler may raise it; it is not logged as a bug. As a problem it passes through the
    code of a plug-in.

    ``headers`` are added to the response; ``retry_after`` is in whole seconds; ``own_code`` is shown in place of ``code``.
    ``message`` is shown to the client.
    """

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        status: int | None = None,
        retry_after: int | None = None,
        headers: Mapping[str, str] | None = None,
        own_code: str | None = None,
    ) -> None:
        super().__init__(STATUS[code] if status is None else status, own_code or code, message)
        self.headers = dict(headers or {})
        if retry_after is None and code in _MAY_PASS:
            retry_after = RETRY_SECONDS
        if retry_after is not None:
            self.headers["Retry-After"] = str(retry_after)

    @staticmethod
    def of(problem: HttpProblem) -> "HttpError":
        """The response to a problem, whose code may be a plug-in's own."""
        if isinstance(problem, HttpError):
            return problem
        return error_of_status(problem.status, problem.message, own_code=problem.code)

    @property
    def body(self) -> bytes:
        """The JSON body."""
        return msgspec.json.encode(ErrorBody(ErrorDetail(self.code, self.message)))


class AnswerCut(Exception):
    """A response body ended in the middle: the server closes the connection, so that the client notices."""


def error_of_status(
    status: int, message: str | None = None, *, headers: Mapping[str, str] | None = None, own_code: str | None = None
) -> HttpError:
    """The error for a status of a library. An unknown 4xx is a bad_request, an unknown 5xx internal."""
    code = _CODE_OF.get(status) or ("bad_request" if status < 500 else "internal")
    return HttpError(code, message or HTTPStatus(status).phrase, status=status, headers=headers, own_code=own_code)


def error_of_framework(error: HTTPException) -> HttpError:
    """The response to an error of the framework."""
    headers = {name: value for name, value in error.get_headers() if name == "Allow"}
    return error_of_status(error.code or 500, _MESSAGES.get(error.code or 500), headers=headers)


def error_of(error: GatewayError) -> HttpError:
    """The response to an error of the core."""
    if isinstance(error, NotFound):
        return HttpError("not_found", error.reason)
    if isinstance(error, Conflict):
        return HttpError("conflict", error.reason)
    if isinstance(error, NotADeadLetter | UnusableId):
        return HttpError("bad_request", error.reason)
    if isinstance(error, Overloaded):
        return HttpError("overloaded", error.reason)
    if isinstance(error, StoreRefused):
        return HttpError(
            "unavailable", "the store does not work now, and nothing was stored: try again later; the log of gatewayd says why"
        )
    return HttpError("unavailable", error.reason)
