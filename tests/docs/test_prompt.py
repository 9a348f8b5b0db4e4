"""docs/reference/prompt.md shows every part that the header of a message can have."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.hub.turns import prompt

ROOT = Path(__file__).parents[2]
PAGE = " ".join((ROOT / "docs/reference/prompt.md").read_text().split())
HEADER = {"_header", "_where", "_who", "_first", "_time", "_reference"}


def parts() -> list[str]:
    """The fixed words of all that these functions write, in one place of the code each."""
    tree = ast.parse(Path(prompt.__file__).read_text())
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name in HEADER]
    assert {function.name for function in functions} == HEADER
    found = {words for function in functions for words in _words_in(function)}
    return sorted(found | set(prompt._DONE.values()))


def _words_in(function: ast.FunctionDef) -> Iterator[str]:
    docstring = ast.get_docstring(function, clean=False)
    for node in ast.walk(function):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value != docstring:
            words = node.value.strip(" ,[]:")
            if re.search("[a-z]", words) and not words.startswith("%"):
                yield words


def test_there_are_parts_to_look_for() -> None:
    assert {"thread", "forwarded from", "written by the bot @", "edited"} <= set(parts())


@pytest.mark.parametrize("words", parts())
def test_every_part_is_described(words: str) -> None:
    assert re.search(rf"(?<![\w]){re.escape(words)}", PAGE)
