"""Collects the problems of a configuration, so that a person sees all of them at once."""

import re
from collections.abc import Iterable, Sequence
from typing import Final

from gatewayd.config.source import KeyPath, Source
from gatewayd.model.errors import ConfigError, ConfigProblem
from gatewayd.model.secret import Redactor

MAX_PROBLEMS: Final = 200
MAX_FOUND: Final = 60
_WORD_MAX: Final = 100
_BEGINS_WITH: Final = 4
_BARE_KEY: Final = re.compile(r"[A-Za-z0-9_-]{1,100}\Z")


class Problems:
    """The problems and warnings of one source. Its texts contain no secret that ``redactor`` knows."""

    def __init__(self, source: Source) -> None:
        self._source = source
        self._file = None if source.path is None else str(source.path)
        self._problems: list[ConfigProblem] = []
        self._plain: set[int] = set()
        self._warnings: list[str] = []
        self._broken: list[str] = []
        self.redactor = Redactor()

    def __len__(self) -> int:
        return len(self._problems)

    def add(
        self,
        key: KeyPath,
        what: str,
        *,
        found: str | None = None,
        allowed: str | None = None,
        nearest: str | None = None,
        plain: bool = False,
    ) -> None:
        """Add a problem. ``found`` must not be the value of a secret's key. Above ``MAX_PROBLEMS`` it is only counted.

        ``plain``: no word of ``what`` is from the file, so it is not redacted. Otherwise a secret that is a word of it would
        show by the gap.
        """
        if plain:
            self._plain.add(len(self._problems))
        line = self._source.line(key) if len(self._problems) < MAX_PROBLEMS else None
        self._problems.append(ConfigProblem(self._name(key), what, self._file, line, found, allowed, nearest))

    def warn(self, key: KeyPath, what: str) -> None:
        """Add a warning: the value is valid, and probably a mistake."""
        self._warnings.append(str(ConfigProblem(self._name(key), what, self._file, self._source.line(key))))

    def hint(self, key: KeyPath, what: str) -> None:
        """Add the probable cause of a problem of this key or its table. Without such a problem it is a warning."""
        names = (self._name(key), self._name(key[:-1]))
        if any(problem.key in names for problem in self._problems):
            self.add(key, what)
        else:
            self.warn(key, what)

    def park(self, key: KeyPath, reason: str) -> None:
        """Add a plug-in that cannot be used. Its account or agent is parked; everything else runs."""
        self._broken.append(str(ConfigProblem(self._name(key), reason, self._file, self._source.line(key))))

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(self.redactor(broken) for broken in self._broken)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.redactor(warning) for warning in self._warnings)

    def raise_any(self) -> None:
        """:raises ConfigError: there is a problem. It has all of them, in the order of the file."""
        if not self._problems:
            return
        shown = [self._clean(problem, plain=index in self._plain) for index, problem in enumerate(self._problems[:MAX_PROBLEMS])]
        shown.sort(key=lambda problem: problem.line or 0)
        if more := len(self._problems) - len(shown):
            shown.append(ConfigProblem(key="", what=f"and {more} more problems", file=self._file))
        raise ConfigError(shown)

    def _clean(self, problem: ConfigProblem, *, plain: bool) -> ConfigProblem:
        def clean(text: str | None) -> str | None:
            return None if text is None else self.redactor(text)

        return ConfigProblem(
            key=self.redactor(problem.key),
            what=problem.what if plain else self.redactor(problem.what),
            file=problem.file,
            line=problem.line,
            found=clean(problem.found),
            allowed=clean(problem.allowed),
            nearest=clean(problem.nearest),
        )

    def _name(self, key: KeyPath) -> str:
        """``[gateway].bind``, ``[channels.telegram]`` for a table itself, ``bindings[0].match.channel`` in an array of tables."""
        header = self._source.header(key)
        rest = _dotted(key[len(header) :])
        if not header or any(isinstance(part, int) for part in header):
            return _dotted(key)
        return ".".join(part for part in (f"[{_dotted(header)}]", rest) if part)


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that differs by at most one typing error for each three letters, or that begins with ``word`` and ``_``."""
    # The time is quadratic, and a text of a hundred letters is no mistyped key.
    if len(word) > _WORD_MAX:
        return None
    known = sorted(known)
    found = min(known, key=lambda each: distance(word, each), default=None)
    if found is not None and distance(word, found) <= len(word) // 3:
        return found
    return next((each for each in known if len(word) >= _BEGINS_WITH and each.startswith(f"{word}_")), None)


def distance(one: str, other: str) -> int:
    """The number of letters to insert, delete, change, or swap with a neighbour (optimal string alignment)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and (letter, one[i - 2]) == (other[j - 2], wanted):
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]


def show(value: object) -> str:
    """A value for a message. Long texts are cut, containers are only named."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            text = value if len(value) <= MAX_FOUND else value[:MAX_FOUND] + "…"
            return f"the text {text!r}"
        case int() | float():
            return "a huge number" if isinstance(value, int) and abs(value) > 10**18 else f"the number {value}"
        case list() | tuple():
            return "an array"
        case dict():
            return "a table"
        case _:
            return f"a {type(value).__name__}"


def listed(words: Sequence[str]) -> str:
    """Words as one text, for ``allowed``."""
    return ", ".join(words) or "none"


def _dotted(key: KeyPath) -> str:
    return ".".join(_part(part) for part in key).replace(".[", "[")


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if _BARE_KEY.match(part):
        return part
    return repr(part if len(part) <= MAX_FOUND else part[:MAX_FOUND] + "…")
