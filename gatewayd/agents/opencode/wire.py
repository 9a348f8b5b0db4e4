"""Reading what servers say: typed, bounded, and never trusted. Anything else than what is expected is ``Malformed``."""

from typing import TypeVar

import msgspec
from msgspec import Raw

from gatewayd.model.errors import AgentFailed

REASON_MAX = 300
"""Characters of a reason that a server gave."""
OUTPUT_MAX = 20_000
"""Characters of a tool's output that are passed on as an event."""

T = TypeVar("T")


class Malformed(AgentFailed):
    """The server answered something that is not of its protocol: another program on this address, or a proxy's page."""


def decode(data: bytes | str | Raw, type: type[T], *, what: str) -> T:
    """:raises Malformed: it is no JSON, or of another shape."""
    try:
        return msgspec.json.decode(data, type=type)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise Malformed(f"{what}: the answer is not what the protocol says ({one_line(str(error), 100)})") from None


def canonical(data: Raw) -> str:
    """JSON text with sorted keys and without spaces, so that the same input is always the same text. :raises Malformed"""
    value = decode(data, object, what="tool input")
    try:
        return msgspec.json.encode(value, order="sorted").decode()
    except (TypeError, ValueError, RecursionError):
        raise Malformed("tool input: it cannot be written as JSON again") from None


def one_line(text: str, at_most: int = REASON_MAX) -> str:
    """The text as one bounded line."""
    line = " ".join(text[: 4 * at_most].split())
    return line if len(line) <= at_most else f"{line[: at_most - 1]}…"
