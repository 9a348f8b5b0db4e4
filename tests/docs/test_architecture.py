"""The page of the architecture is true: its diagrams are those of the code, and what it names is there."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/architecture.md").read_text()
CODE = ROOT / "gatewayd"
PATH = re.compile(r"`((?:[\w./-]+/)?[\w-]+\.(?:py|md|toml)|[\w/]+/)`")


def paths(text: str) -> list[str]:
    """What the text names as a file or folder, but for templates such as channels/NAME/."""
    return [found for found in PATH.findall(text) if "NAME" not in found]


def exists(named: str, *folders: Path) -> bool:
    return any((folder / named).exists() for folder in (ROOT, CODE, ROOT / "docs/reference", *folders))


def paragraphs(heading: str) -> dict[str, str]:
    """The items of a section's list by the bold words that they begin with."""
    section = PAGE.split(f"\n{heading}\n")[1].split("\n## ")[0].split("\n### ")[0]
    items = re.split(r"^- ", section, flags=re.M)[1:]
    return {name: item for item in items for name in re.findall(r"\*\*([\w./]+)\*\*", item)}


def test_the_diagrams_are_those_of_the_code() -> None:
    done = subprocess.run([sys.executable, "contrib/diagrams", "--check"], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_no_line_of_a_diagram_ends_early() -> None:
    """A semicolon ends a statement of Mermaid, wherever it stands."""
    assert [line for block in re.findall(r"```mermaid\n(.*?)```", PAGE, re.S) for line in block.splitlines() if ";" in line] == []


@pytest.mark.parametrize("change", [line for line in PAGE.splitlines() if line.startswith("| ") and "`" in line])
def test_what_a_table_names_is_there(change: str) -> None:
    missing = [named for named in paths(change) if not exists(named, CODE / "cli", ROOT / "docs/reference")]
    assert missing == []


@pytest.mark.parametrize(
    ("heading", "folder"),
    [
        ("## The packages", "gatewayd"),
        ("### The wings of the hub", "gatewayd/hub"),
        ("### The wings of the HTTP front", "gatewayd/web"),
    ],
)
def test_each_folder_has_a_paragraph_that_names_files_of_it(heading: str, folder: str) -> None:
    found = paragraphs(heading)
    parts = {f"{each.name}/" for each in (ROOT / folder).iterdir() if (each / "__init__.py").exists()}
    assert parts <= found.keys()
    for part in parts:
        named = paths(found[part])
        missing = [each for each in named if not exists(each, ROOT / folder, *(ROOT / folder / own for own in parts))]
        assert missing == [], part


def test_the_page_names_rooms_for_what_people_look_for() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| ") and line.count("|") == 4]
    wanted = ("a new channel", "a new chat command", "pause an agent", "a new field of a message", "another store")
    assert [each for each in wanted if not any(row.startswith(f"| {each} |") for row in rows)] == []
