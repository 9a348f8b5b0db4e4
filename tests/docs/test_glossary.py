"""One word for each thing: what the glossary bans is nowhere, neither in names nor in sentences."""

import re
from collections.abc import Collection, Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
GLOSSARY = ROOT / "docs/glossary.md"
SUFFIXES = {".py", ".md", ".js", ".html", ".css", ".toml", ".service", ""}
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")


def rows(heading: str) -> list[list[str]]:
    section = GLOSSARY.read_text().split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


class Ban(NamedTuple):
    """A word that is not used. After one of ``before`` it is another word. In files that begin with one of ``places`` it has its
    everyday meaning, or is somebody else's."""

    word: str
    before: frozenset[str]
    places: tuple[str, ...]


def bans() -> list[Ban]:
    found = []
    for cell, _, places in rows("Words that are not used"):
        word, _, more = cell.partition(" *(")
        found.append(Ban(word, frozenset(re.findall(r"\w+", more)), tuple(re.findall(r"`([^`]+)`", places))))
    return found


@cache
def files() -> tuple[Path, ...]:
    """What the project says today: not its history (decisions, migrations of the store), and not the glossary itself."""
    folders = [ROOT / name for name in ("gatewayd", "contrib", "docs", "systemd")]
    found = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file() and path.suffix in SUFFIXES]
    history = (ROOT / "docs/decisions", GLOSSARY)
    tools = {"__pycache__", ".ruff_cache"}
    ours = [path for path in found if not tools & set(path.parts) and not any(path.is_relative_to(each) for each in history)]
    return (*ours, ROOT / "README.md")


def words_of(line: str) -> list[str]:
    """The words of a line in lower case: `LetterCounts`, `letter_counts` and `letter counts` are the same."""
    return [word.lower() for word in _WORD.findall(line)]


def uses(line: str, word: str, before: Collection[str], *, ahead: str = "") -> bool:
    """Whether the word, of one or more, ends in this line. ``ahead`` is the line before it, where it may begin."""
    wanted = word.split()
    tail = words_of(ahead)[-2:]
    words = [*tail, *words_of(line)]
    for end in range(max(len(tail) + 1, len(wanted)), len(words) + 1):
        start = end - len(wanted)
        found = words[start:end]
        plain = [each.removesuffix("s") if each not in wanted else each for each in found]
        if plain == wanted and (start == 0 or words[start - 1] not in before):
            return True
    return False


class Line(NamedTuple):
    where: str
    text: str
    ahead: str


@cache
def lines() -> tuple[Line, ...]:
    return tuple(_lines())


def _lines() -> Iterator[Line]:
    for path in files():
        ahead = ""
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            yield Line(f"{path.relative_to(ROOT)}:{number}", line, ahead)
            ahead = line


def found(ban: Ban) -> list[Line]:
    last = ban.word.split()[-1]
    return [line for line in lines() if last in line.text.lower() and uses(line.text, ban.word, ban.before, ahead=line.ahead)]


@pytest.mark.parametrize("ban", bans(), ids=lambda ban: ban.word)
def test_a_banned_word_is_nowhere(ban: Ban) -> None:
    assert [f"{line.where}: {line.text.strip()}" for line in found(ban) if not line.where.startswith(ban.places)] == []


@pytest.mark.parametrize("ban", bans(), ids=lambda ban: ban.word)
def test_each_exception_is_needed(ban: Ban) -> None:
    assert [place for place in ban.places if not any(line.where.startswith(place) for line in found(ban))] == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("class LetterCounts:", True),
        ("letters = 3", True),
        ("LETTERS", True),
        ("a dead letter, DeadLetter, dead_letters", False),
        ("a dead letter and a letter", True),
        ("a newsletter", False),
    ],
)
def test_a_word_is_seen_in_names_and_sentences(line: str, found: bool) -> None:
    assert uses(line, "letter", {"dead"}) is found


def test_each_word_of_the_glossary_has_a_meaning_and_its_place() -> None:
    words = [word for word, *_ in rows("Words")]
    assert [word for word, meaning in rows("Words") if not meaning] == []
    assert words == sorted(words, key=str.casefold)
    assert not set(words) & {ban.word for ban in bans()}


def test_a_word_of_two_lines_is_seen() -> None:
    assert not uses("letters are counted", "letter", {"dead"}, ahead="so many dead")
    assert uses("room is full", "waiting room", set(), ahead="the waiting")
    assert not uses("is full", "waiting room", set(), ahead="the waiting room")
