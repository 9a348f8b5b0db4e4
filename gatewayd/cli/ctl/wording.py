"""Words and numbers for a person, and foreign text made safe to print.

Names, reasons and error messages may hold text from a chat. A terminal obeys control characters (C0 and C1, ECMA-48), and
bidirectional characters change the order of the text (Unicode TR 36), so neither is printed.
"""

import itertools
import re
import time

import msgspec

from gatewayd.kit.text.visible import is_visible

_UNSAFE_IN_JSON = re.compile("[\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ud800-\udfff]")
_CONTROL_SEQUENCE = re.compile("(?:\x1b\\[|\x9b)[0-?]*[ -/]*[@-~]")
"""ECMA-48 section 5.4: CSI, parameter bytes, intermediate bytes, a final byte."""
_UNITS = ((86_400, "d"), (3_600, "h"), (60, "min"), (1, "s"))


def clean(text: str, *, at_most: int = 500) -> str:
    """One line of at most ``at_most`` characters. White space becomes one blank, control sequences are removed, and each other
    invisible character becomes an escape."""
    line = "".join(char if char.isspace() or is_visible(char) else _escape(char) for char in _CONTROL_SEQUENCE.sub("", text))
    line = " ".join(line.split())
    return line if len(line) <= at_most else line[: at_most - 1] + "…"


def one_line(text: str, *, at_most: int = 500) -> str:
    """A name or an input on one line. Nothing is removed; a line end becomes ``\\n``."""
    return clean(visible(text).replace("\n", "\\n"), at_most=at_most)


def visible(text: str) -> str:
    """The whole text. Each invisible character except the line feed becomes an escape, so nothing is hidden or lost."""
    return "".join(char if char == "\n" or is_visible(char) else _escape(char) for char in text)


def safe_json(text: str) -> str:
    """The same JSON, without characters that a terminal obeys. Such characters can only be in strings."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty_json(body: bytes) -> str:
    """A valid JSON document, indented and safe to print. Its value is the same."""
    return safe_json(msgspec.json.format(body, indent=2).decode("utf-8", "replace"))


def duration(seconds: float) -> str:
    """The largest unit that fits, rounded down: ``45 s``, ``3 min``, ``2 h``, ``12 d``."""
    whole = max(0, int(seconds))
    for size, unit in _UNITS:
        if whole >= size:
            return f"{whole // size} {unit}"
    return "0 s"


def uptime(seconds: float) -> str:
    """The two largest units: ``3 d 4 h``, ``5 min 12 s``."""
    whole = max(0, int(seconds))
    for (size, unit), (lesser, lesser_unit) in itertools.pairwise(_UNITS):
        if whole >= size:
            return f"{whole // size} {unit} {whole % size // lesser} {lesser_unit}"
    return f"{whole} s"


def count(number: int, noun: str, plural: str | None = None) -> str:
    """``1 account``, ``2 accounts``; with ``plural``: ``2 replies``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def clock_time(at: float) -> str:
    """Unix seconds as local date and time, to the second. A time outside the calendar is shown as a number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
