"""Decoding of the servers' JSON: typed, bounded, and never trusted. An answer of another shape is ``Malformed``."""

import re
from typing import Annotated, Final, TypeVar

import msgspec
from msgspec import Meta, Raw

from gatewayd.kit import json
from gatewayd.model.errors import AgentFailed

KNOWN_MAX: Final = 10_000
"""So many tool calls and texts of one run are shown, and remembered for that; more are not shown."""
REASON_MAX = 300
"""Characters of a server's reason."""
TEXT_MAX: Final = 1_000_000
"""Characters of an answer, the hub's own limit."""
OUTPUT_MAX = 20_000
"""Characters of a tool's output in an event."""

VALUES_MAX: Final = 200_000
"""JSON values in one answer. Each becomes an object of 60 bytes and more, so that bytes alone bound nothing: ``[0,0,0,`` …"""

Id = Annotated[str, Meta(max_length=200)]
"""An id from a server. A longer one is malformed, and not kept."""

_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
"""Also a string without an end, so that the search is linear."""

T = TypeVar("T")


class Malformed(AgentFailed):
    """The answer is not of the server's protocol: another program has this address, or it is a proxy's page."""


class TooLarge(AgentFailed):
    """The answer is larger than the bound in memory."""


def check_values(data: bytes, *, what: str) -> None:
    """To be called before the answer is decoded. :raises TooLarge: it has more than ``VALUES_MAX`` values."""
    # Commas in strings do not count. Most answers are small enough even with them, and the count without strings is slow.
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
