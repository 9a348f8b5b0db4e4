"""One numbered event of the durable log."""

from msgspec import Raw, Struct

EventValue = str | int | float | bool | None
"""What a field of an event can be."""


class Event(Struct, frozen=True):
    """``seq`` grows by one and is never reused; ``at`` is Unix seconds; ``data`` is a JSON object without secrets."""

    seq: int
    at: float
    kind: str
    data: Raw
