"""What a method gives back when it succeeds."""

from typing import Any

from msgspec import Struct


class Result(Struct):
    """``result``, and the ``description`` that the webhook methods add."""

    result: Any
    description: str | None = None
