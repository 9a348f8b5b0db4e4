"""What Discord answers when it refuses (discord.com/developers/docs, "Opcodes and Status Codes", JSON error codes)."""

from typing import Any, TypeAlias

Json: TypeAlias = dict[str, Any]
"""A JSON object of Discord. The fake speaks JSON on purpose: it must be able to say what a client's structs cannot."""


class ApiError(Exception):
    """``{"message", "code", "errors"?}`` with an HTTP status."""

    def __init__(self, status: int, code: int, message: str, errors: Json | None = None) -> None:
        super().__init__(f"{status} {code}: {message}")
        self.status = status
        self.code = code
        self.message = message
        self.errors = errors

    def body(self) -> Json:
        answer: Json = {"message": self.message, "code": self.code}
        return answer if self.errors is None else {**answer, "errors": self.errors}


def unauthorized() -> ApiError:
    return ApiError(401, 0, "401: Unauthorized")


def not_found() -> ApiError:
    """No such route."""
    return ApiError(404, 0, "404: Not Found")


def unknown(what: str) -> ApiError:
    """404 for a thing that there is not: "Channel", "Message", "Guild", "User", "interaction", "Webhook"."""
    codes = {
        "Application": 10002,
        "Channel": 10003,
        "Guild": 10004,
        "Message": 10008,
        "User": 10013,
        "Emoji": 10014,
        "Webhook": 10015,
        "interaction": 10062,
        "application command": 10063,
    }
    return ApiError(404, codes[what], f"Unknown {what}")


def missing_access() -> ApiError:
    return ApiError(403, 50001, "Missing Access")


def missing_permissions() -> ApiError:
    return ApiError(403, 50013, "Missing Permissions")


def invalid_form(path: str, code: str, message: str) -> ApiError:
    """50035 with one error at a dotted path: ``components.0.components.1.label``."""
    errors: Json = {"_errors": [{"code": code, "message": message}]}
    for name in reversed(path.split(".") if path else []):
        errors = {name: errors}
    return ApiError(400, 50035, "Invalid Form Body", errors)


def required(path: str) -> ApiError:
    return invalid_form(path, "BASE_TYPE_REQUIRED", "This field is required")


def too_long(path: str, most: int) -> ApiError:
    return invalid_form(path, "BASE_TYPE_MAX_LENGTH", f"Must be {most} or fewer in length.")


def bad_length(path: str, least: int, most: int) -> ApiError:
    return invalid_form(path, "BASE_TYPE_BAD_LENGTH", f"Must be between {least} and {most} in length.")


def bad_choice(path: str, choices: str) -> ApiError:
    return invalid_form(path, "BASE_TYPE_CHOICES", f"Value must be one of {{{choices}}}.")
