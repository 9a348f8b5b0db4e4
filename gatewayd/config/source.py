"""The configuration file: its bounded reading, its TOML, and the lines of its keys."""

import codecs
import os
import re
import stat
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from gatewayd.model.errors import ConfigError, ConfigProblem

Table = dict[str, object]
KeyPath = tuple[str | int, ...]

_ROOT: Final = 0
MAX_BYTES: Final = 1_048_576
MAX_DEPTH: Final = 32
MAX_ATTEMPTS: Final = 200
_BOTH_GROUPS: Final = re.compile(r"\s*(groups\s*[.=]|\[+\s*channels\s*\..*\bgroups\b)")
_CURE_GROUPS: Final = (
    '; "groups" of an account is either an array of ids or a table [channels.CHANNEL.accounts.NAME.groups."ID"] for each, '
    "and not both: give every group a table, and take the array out"
)

# tomllib needs quadratic time for a dotted key of many parts (minutes within MAX_BYTES), so such keys are refused before.
_KEY_PART: Final = r"""(?:[A-Za-z0-9_-]++|"(?:[^"\\\n]|\\.)*+"|'[^'\n]*+')"""
_DEEP_KEY: Final = re.compile(rf"(?<![A-Za-z0-9_-]){_KEY_PART}(?:[ \t]*+\.[ \t]*+{_KEY_PART}){{{MAX_DEPTH},}}")


class Source:
    """A configuration text and its table. ``path`` is None for the embedded default.

    ``writable_by`` says which other users can write the file, None: no other.

    :raises ConfigError: unreadable, too large, not UTF-8, not TOML, or nested too deeply.
    """

    def __init__(self, data: bytes, path: Path | None = None) -> None:
        self.path = path
        self.writable_by = None if path is None else _who_can_write(path)
        self._text = _decode(data, path).replace("\r\n", "\n")
        self.table: Table = _parse(self._text, path)
        self._lines: dict[KeyPath, int] | None = None
        self._headers: set[KeyPath] = set()

    @classmethod
    def read(cls, path: Path) -> "Source":
        return cls(_read(path), path)

    def line(self, key: KeyPath) -> int | None:
        """The line of the key, from 1, else that of the nearest table around it."""
        lines = self._index()
        while key and key not in lines:
            key = key[:-1]
        return lines.get(key)

    def header(self, key: KeyPath) -> KeyPath:
        """The longest beginning of the key that has a header, ``[a.b]``. It may be empty."""
        self._index()
        while key and key not in self._headers:
            key = key[:-1]
        return key

    def _index(self) -> dict[KeyPath, int]:
        # Only a problem needs it.
        if self._lines is None:
            self._lines = {}
            for path, line, is_header in _statements(self._text):
                self._lines.setdefault(path, line)
                if is_header:
                    self._headers.add(path)
        return self._lines


def _refuse(path: Path | None, what: str, line: int | None = None) -> ConfigError:
    return ConfigError([ConfigProblem(key="", what=what, file=None if path is None else str(path), line=line)])


def _read(path: Path) -> bytes:
    try:
        # A FIFO or a device could block, or never end.
        if not stat.S_ISREG(path.stat().st_mode):
            raise _refuse(path, "is not a regular file")
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as error:
        cure = "; gatewayd init FILE writes a first one" if isinstance(error, FileNotFoundError) else ""
        raise _refuse(path, f"cannot be read: {error.strerror or error}{cure}") from error


def _who_can_write(path: Path) -> str | None:
    """Which other users can write the file, or None: the configuration decides which programs run."""
    for each, what in ((path, "the file"), (path.absolute().parent, "its directory")):
        try:
            found = each.stat()
        except OSError:
            continue
        if found.st_uid not in (os.geteuid(), _ROOT):
            return f"{what} belongs to user {found.st_uid}, who can replace it: chown it to the user of gatewayd"
        kept = stat.S_ISDIR(found.st_mode) and found.st_mode & stat.S_ISVTX  # only the owner of a file can replace it
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not kept:
            return f"others can write {what} (mode {stat.S_IMODE(found.st_mode):04o}): chmod go-w"
    return None


def _decode(data: bytes, path: Path | None) -> str:
    if len(data) > MAX_BYTES:
        raise _refuse(path, f"is larger than {MAX_BYTES:,} bytes")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
            raise _refuse(path, "is UTF-16 text: save it as UTF-8") from None
        raise _refuse(path, "is not UTF-8 text", data.count(b"\n", 0, error.start) + 1) from None


def _parse(text: str, path: Path | None) -> Table:
    if deep := _DEEP_KEY.search(text):
        line = text.count("\n", 0, deep.start()) + 1
        raise _refuse(path, f"is nested more than {MAX_DEPTH} levels deep", line)
    try:
        table: Table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        what, at = _explain(str(error), text)
        raise _refuse(path, f"is not TOML: {what}", at) from None
    except RecursionError:
        raise _refuse(path, "is nested too deeply") from None
    except ValueError:
        # Python converts no number of more than 4300 digits (sys.set_int_max_str_digits).
        raise _refuse(path, "is not TOML: a number in it has too many digits") from None
    if _deeper_than(table, MAX_DEPTH):
        raise _refuse(path, f"is nested more than {MAX_DEPTH} levels deep")
    return table


def _explain(message: str, text: str) -> tuple[str, int | None]:
    """tomllib ends its messages with ``(at line 3, column 7)`` or ``(at end of document)``."""
    what, _, place = message.rpartition(" (at ")
    if not what:
        return message, None
    words = place.rstrip(")").replace(",", "").split()
    if words[0] == "line" and words[1].isdigit():
        line, where = int(words[1]), f"column {words[-1]}"
    else:
        line, where = text.count("\n") + 1, "at the end of the file"
    lines = text.rstrip().split("\n")
    is_groups = what.startswith("Cannot") and _BOTH_GROUPS.match(lines[min(line, len(lines)) - 1])
    return f"{what} ({where}){_CURE_GROUPS if is_groups else ''}", line


def _deeper_than(table: Table, depth: int) -> bool:
    level: list[object] = [table]
    for _ in range(depth + 1):
        inner: list[object] = []
        for value in level:
            if isinstance(value, Mapping):
                inner.extend(value.values())
            elif isinstance(value, list):
                inner.extend(value)
        if not inner:
            return False
        level = inner
    return True


def _statements(text: str) -> Iterator[tuple[KeyPath, int, bool]]:
    """Each key path, its line, and whether it is a header.

    The file is split into the shortest runs of lines that are valid TOML. Such a run is one statement: an open quote or bracket
    is never valid. The real parser decides, so a quoted key or a text that looks like a table cannot mislead.
    """
    header: KeyPath = ()
    counts: dict[KeyPath, int] = {}
    piece: list[str] = []
    attempts = 0
    for number, line in enumerate(text.split("\n"), 1):
        if not piece and line.lstrip()[:1] in ("", "#"):
            continue
        piece.append(line)
        # A statement of several lines ends with one of these. Most lines of a long array need no attempt.
        if len(piece) > 1 and not any(end in line for end in ("]", "}", '"""', "'''")):
            continue
        attempts += 1
        if attempts > MAX_ATTEMPTS:
            return
        try:
            table = tomllib.loads("\n".join(piece))
        except tomllib.TOMLDecodeError:
            continue
        start = number - len(piece) + 1
        if piece[0].lstrip().startswith("["):
            header = _header(table, counts)
            yield from ((header[:length], start, True) for length in range(1, len(header) + 1))
        else:
            yield from ((header + path, start, False) for path in _paths(table))
        piece, attempts = [], 0


def _header(table: Table, counts: dict[KeyPath, int]) -> KeyPath:
    """The path of a header. ``counts`` has the arrays of tables so far: a path through one means its last element."""
    path: KeyPath = ()
    value: object = table
    while isinstance(value, dict) and value:
        (key, value), *_ = value.items()
        path += (key,)
        if isinstance(value, list):
            counts[path] = counts.get(path, -1) + 1
            value = None
        if path in counts:
            path += (counts[path],)
    return path


def _paths(table: Table) -> Iterator[KeyPath]:
    for key, value in table.items():
        yield (key,)
        if isinstance(value, dict):
            yield from ((key, *path) for path in _paths(value))
