"""docs/reliability.md names tests and commands that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/reliability.md").read_text()
TESTS = sorted(set(re.findall(r"`((?:tests|gatewayd/testing)/[\w/]+\.py)(?:::(\w+))?`", PAGE)))
PROMISES = [*range(1, 27), 28, 29, 30, 32, 33, 34]
"""Those that do not hold yet are named under "What is not promised"."""


@cache
def names_in(path: str) -> set[str]:
    tree = ast.parse((ROOT / path).read_text())
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)}


@pytest.mark.parametrize(("path", "name"), TESTS)
def test_every_test_that_is_named_exists(path: str, name: str) -> None:
    assert (ROOT / path).is_file()
    assert not name or name in names_in(path)


def test_every_promise_is_held_by_a_test() -> None:
    rows = dict(re.findall(r"^\| (\d+) \|.*\|(.*)\|$", PAGE, re.MULTILINE))
    assert [int(number) for number in rows] == PROMISES
    assert [number for number, held in rows.items() if "`tests/" not in held] == []


def test_every_file_that_is_linked_exists() -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", PAGE)
    assert links
    assert [link for link in links if not (ROOT / "docs" / link).exists()] == []


def test_every_script_that_is_named_exists() -> None:
    scripts = set(re.findall(r"(contrib/[\w/.-]*\w)", PAGE))
    assert scripts
    assert [script for script in scripts if not (ROOT / script).exists()] == []
