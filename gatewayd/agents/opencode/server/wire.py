"""Reading what servers say: typed, bounded, and never trusted. Anything else than what is expected is ``Malformed``."""

import re
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Raw

from gatewayd.kit import json
from gatewayd.model.errors import AgentFailed

KNOWN_MAX: Final = 10_000
"""Things of one run that are remembered because they were shown; more are not shown."""
REASON_MAX = 300
"""Characters of a reason that a server gave."""
TEXT_MAX: Final = 1_000_000
"""Characters of an answer, the hub's own limit."""
OUTPUT_MAX = 20_000
"""Characters of a tool's output that are passed on as an event."""

VALUES_MAX: Final = 200_000
"""JSON values in one answer. Each becomes an object of 60 bytes and more, so that bytes alone bound nothing: ``[0,0,0,`` …"""

Id = Annotated[str, Meta(max_length=200)]
"""A server's name of anything. What is longer is none, and is not kept."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Also one without an end, so that it is looked for only once."""

T = TypeVar("T")


class Malformed(AgentFailed):
    """The server answered something that is not of its protocol: another program on this address, or a proxy's page."""


class TooLarge(AgentFailed):
    """The answer is larger than what is taken into memory at once."""


def check_values(data: bytes, *, what: str) -> None:
    """Before it is decoded. :raises TooLarge: it has more than ``VALUES_MAX`` values."""
    # The commas in strings do not count, but most answers are small enough to count them all, which is faster.
    if _values(data) > VALUES_MAX and _values(_STRING.sub(b"", data)) > VALUES_MAX:
        raise TooLarge(f"{what}: the answer has more than {VALUES_MAX:,} values")


def _values(data: bytes) -> int:
    return data.count(b",") + data.count(b"[") + data.count(b"{")


def decode(data: bytes | str | Raw, type: type[T], *, what: str, lenient: bool = False, keep_halves: bool = False) -> T:
    """``lenient``, ``keep_halves``: see kit.json. :raises Malformed: it is no JSON, or of another shape."""
    try:
        return json.decode(data, type, lenient=lenient, keep_halves=keep_halves)
    except json.Malformed as error:
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
