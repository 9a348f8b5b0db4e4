"""requirements.lock pins all that is installed, so that a new release of somebody else's breaks no build of ours."""

import importlib.metadata
import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
LINE = re.compile(r"([a-z0-9]+(?:-[a-z0-9]+)*)==([0-9][0-9a-z.+!]*)(?: ; .+)?")


def normal(name: str) -> str:
    """A project's name as the lock has it (PyPA: name normalization)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def pinned() -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in (ROOT / "requirements.lock").read_text().splitlines():
        if match := LINE.fullmatch(line):
            found.setdefault(match[1], set()).add(match[2])
    return found


def wanted() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project.get("optional-dependencies", {}).values()
    return [requirement for group in (project["dependencies"], *extras) for requirement in group]


def test_every_line_is_a_pin_without_address_or_option() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert [line for line in lines if not line.startswith("#") and not LINE.fullmatch(line)] == []
    assert [line for line in lines if "://" in line or "@" in line] == []


def test_every_dependency_of_pyproject_is_pinned() -> None:
    names = {normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in wanted()}
    assert len(names) > 15
    assert names - pinned().keys() == set()


def test_the_pins_are_not_older_than_pyproject_asks() -> None:
    def numbers(version: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", version)]

    old = []
    for requirement in wanted():
        if match := re.fullmatch(r"([\w.-]+)(?:\[.*\])?>=([\w.]+)", requirement):
            old += [requirement for version in pinned()[normal(match[1])] if numbers(version) < numbers(match[2])]
    assert old == []


def test_what_runs_here_needs_nothing_that_is_not_pinned() -> None:
    """Walks the installed packages from gatewayd's requirements on; markers for elsewhere are skipped by their being absent."""
    todo = [normal(re.split(r"[^\w.-]", requirement, maxsplit=1)[0]) for requirement in wanted()]
    seen: set[str] = set()
    while todo:
        name = todo.pop()
        if name in seen:
            continue
        seen.add(name)
        needs = importlib.metadata.requires(name) or []
        todo += [normal(re.split(r"[^\w.-]", need, maxsplit=1)[0]) for need in needs if ";" not in need]
    assert seen - pinned().keys() == set()
