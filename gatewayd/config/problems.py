"""Collects everything that is wrong, so that a person sees it all at once."""

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
    """Problems and warnings of one source. No text that leaves here contains a secret that ``redactor`` knows."""

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
        """Note a problem. ``found`` must not come from a key that holds a secret. Past ``MAX_PROBLEMS`` it is only counted.

        ``plain``: no word of ``what`` comes from the file, so nothing is taken out of it. A secret that is a word of it would
        be told by the gap.
        """
        if plain:
            self._plain.add(len(self._problems))
        line = self._source.line(key) if len(self._problems) < MAX_PROBLEMS else None
        self._problems.append(ConfigProblem(self._name(key), what, self._file, line, found, allowed, nearest))

    def warn(self, key: KeyPath, what: str) -> None:
        """Note what is allowed but probably not meant."""
        self._warnings.append(str(ConfigProblem(self._name(key), what, self._file, self._source.line(key))))

    def hint(self, key: KeyPath, what: str) -> None:
        """Note what is probably why this key, or its table, has a problem; where there is none, it is a warning."""
        names = (self._name(key), self._name(key[:-1]))
        if any(problem.key in names for problem in self._problems):
            self.add(key, what)
        else:
            self.warn(key, what)

    def park(self, key: KeyPath, reason: str) -> None:
        """Note a plugin that cannot be used: what it is for is parked, and all else goes on."""
        self._broken.append(str(ConfigProblem(self._name(key), reason, self._file, self._source.line(key))))

    @property
    def broken(self) -> tuple[str, ...]:
        return tuple(self.redactor(broken) for broken in self._broken)

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(self.redactor(warning) for warning in self._warnings)

    def raise_any(self) -> None:
        """:raises ConfigError: when there is any problem: all of them, in the order of the file."""
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
    """The known word that is this one but for one slip of the fingers for every three letters, or the one that it begins."""
    # Quadratic time, and nobody means a known key by a text of a hundred letters.
    if len(word) > _WORD_MAX:
        return None
    known = sorted(known)
    found = min(known, key=lambda each: distance(word, each), default=None)
    if found is not None and distance(word, found) <= len(word) // 3:
        return found
    return next((each for each in known if len(word) >= _BEGINS_WITH and each.startswith(f"{word}_")), None)


def distance(one: str, other: str) -> int:
    """How many letters are to be put in, left out, changed, or swapped with their neighbour (optimal string alignment)."""
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
    """What was found, for a person; long texts are cut, containers only named."""
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
    """Known words for ``allowed``."""
    return ", ".join(words) or "none"


def _dotted(key: KeyPath) -> str:
    return ".".join(_part(part) for part in key).replace(".[", "[")


def _part(part: str | int) -> str:
    if isinstance(part, int):
        return f"[{part}]"
    if _BARE_KEY.match(part):
        return part
    return repr(part if len(part) <= MAX_FOUND else part[:MAX_FOUND] + "…")
