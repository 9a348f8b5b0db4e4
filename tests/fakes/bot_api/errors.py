"""What the Bot API answers when it refuses."""

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object of the Bot API. The fake speaks JSON on purpose: it must be able to say what our structs cannot."""


class ApiError(Exception):
    """``{"ok": false, "error_code", "description", "parameters"}``; the HTTP status is ``error_code``, too.

    ``parameters`` is the Bot API's ResponseParameters: ``retry_after`` (seconds), ``migrate_to_chat_id``.
    """

    def __init__(self, error_code: int, description: str, parameters: Json | None = None) -> None:
        super().__init__(description)
        self.error_code = error_code
        self.description = description
        self.parameters = parameters


def bad_request(description: str, parameters: Json | None = None) -> ApiError:
    return ApiError(400, f"Bad Request: {description}", parameters)


def too_many_requests(retry_after: int) -> ApiError:
    """429 in the server's own words; it comes with a Retry-After header, too."""
    return ApiError(429, f"Too Many Requests: retry after {retry_after}", {"retry_after": retry_after})
