"""Words and numbers as a person reads them, and foreign text made safe to print.

Names, reasons and error messages may carry what somebody typed into a chat. A terminal obeys control characters (C0 and C1,
ECMA-48), and bidirectional ones reorder what is read (Unicode TR 36), so neither reaches it.
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
    """One line of words, at most so many characters long: blanks are one blank, colours are left out, and what else cannot be
    seen is written as an escape."""
    line = "".join(char if char.isspace() or is_visible(char) else _escape(char) for char in _CONTROL_SEQUENCE.sub("", text))
    line = " ".join(line.split())
    return line if len(line) <= at_most else line[: at_most - 1] + "…"


def one_line(text: str, *, at_most: int = 500) -> str:
    """A name or an input on one line: nothing is left out of it, and a line end is written as one, so that it begins no line."""
    return clean(visible(text).replace("\n", "\\n"), at_most=at_most)


def visible(text: str) -> str:
    """The whole text, with each invisible character but the line feed written as an escape: nothing is hidden or lost."""
    return "".join(char if char == "\n" or is_visible(char) else _escape(char) for char in text)


def safe_json(text: str) -> str:
    """JSON text with the same meaning, without characters that a terminal obeys. They can only stand inside strings."""
    return _UNSAFE_IN_JSON.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def pretty_json(body: bytes) -> str:
    """A JSON document that could be decoded, indented, made safe. The value is unchanged."""
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
    """``1 account``, ``2 accounts``; with a ``plural`` of its own: ``2 replies``."""
    return f"{number} {noun}" if number == 1 else f"{number} {plural or noun + 's'}"


def clock_time(at: float) -> str:
    """Unix seconds as local date and time, to the second. A time that no calendar has is shown as the number."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))
    except (OverflowError, ValueError, OSError):
        return f"{at:.0f}"


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")
