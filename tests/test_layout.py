"""The rules of docs/contributing.md that a look at the tree can check."""

import ast
import re
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

ROOT = Path(__file__).parents[1]
TEMPLATES = ROOT / "gatewayd/cli/scaffold/linechat"
"""A package of somebody else's, in our package as files."""
MODULES = sorted(path for path in ROOT.glob("gatewayd/**/*.py") if not path.is_relative_to(TEMPLATES))
TEXTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
NO_HOMES = {"utils", "util", "helpers", "helper", "common", "misc", "shared", "base", "lib"}
MAX_LINES = 400
MAX_FILES = 16
"""In one folder, besides what says what the folder is for."""


@cache
def imports(path: Path) -> tuple[str, ...]:
    """The modules that a file imports, wherever in it."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_the_tree_is_found() -> None:
    assert len(MODULES) > 20
    assert ROOT / "README.md" in TEXTS


def test_no_module_is_a_home_for_anything() -> None:
    folders = {path.parent for path in MODULES}
    assert [name(path) for path in [*MODULES, *folders] if path.stem.strip("_") in NO_HOMES] == []


def test_modules_are_short() -> None:
    long = {name(path): lines for path in MODULES if (lines := len(path.read_text().splitlines())) > MAX_LINES}
    assert long == {}


def test_folders_are_small() -> None:
    counted = Counter(path.parent for path in MODULES if path.name != "__init__.py")
    assert {name(folder): count for folder, count in counted.items() if count > MAX_FILES} == {}


def test_every_folder_of_the_package_says_what_it_is_for() -> None:
    folders = {path.parent for path in MODULES}
    heads = {folder: folder / "__init__.py" for folder in folders}
    silent = [
        name(folder) for folder, head in heads.items() if not head.exists() or not ast.get_docstring(ast.parse(head.read_text()))
    ]
    assert silent == []


def test_asyncio_is_imported_nowhere() -> None:
    assert [name(path) for path in MODULES if any(module.split(".")[0] == "asyncio" for module in imports(path))] == []


def test_only_plugin_authors_import_what_tests_need() -> None:
    ours = [path for path in MODULES if "testing" not in path.parts]
    wanting = [
        name(path) for path in ours if any(re.match(r"(pytest|hypothesis|gatewayd\.testing)\b", it) for it in imports(path))
    ]
    assert len(ours) < len(MODULES)
    assert wanting == []


def test_a_driver_knows_no_other_driver() -> None:
    strangers = []
    for kind in ("channels", "agents", "stores"):
        for path in ROOT.glob(f"gatewayd/{kind}/**/*.py"):
            home = ".".join(path.relative_to(ROOT).with_suffix("").parts[:3])
            for module in imports(path):
                other = ".".join(module.split(".")[:3])
                if other.startswith(f"gatewayd.{kind}.") and other != home:
                    strangers.append(f"{name(path)} imports {module}")
    assert strangers == []


def test_no_module_but_a_channels_own_names_it() -> None:
    """A channel is known by its manifest. The commands of gatewayctl for one are in cli/."""
    channels = {head.parent.name for head in ROOT.glob("gatewayd/channels/*/__init__.py")}
    ours = [path for path in MODULES if not {"channels", "cli", "testing", "agents"} & set(path.relative_to(ROOT).parts)]
    assert len(channels) > 2
    assert len(ours) > 100
    nodes = [(path, node) for path in ours for node in ast.walk(ast.parse(path.read_text()))]
    assert [name(path) for path, node in nodes if isinstance(node, ast.Constant) and node.value in channels] == []
    assert [name(path) for path in ours if re.search("web_?chat", path.read_text(), re.I)] == []


def anchors(path: Path) -> set[str]:
    """The ids of a page's headings, as GitHub makes them: lower case, punctuation dropped, blanks to hyphens."""
    found: dict[str, int] = {}
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", without_code(path.read_text()), re.M):
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        found[slug] = found.get(slug, -1) + 1
    return {slug if number == 0 else f"{slug}-{number}" for slug, last in found.items() for number in range(last + 1)}


def without_code(text: str) -> str:
    return re.sub(r"^(```|~~~).*?^\1", "", text, flags=re.M | re.S)


@pytest.mark.parametrize("page", TEXTS, ids=name)
def test_links_lead_somewhere(page: Path) -> None:
    broken = []
    for target in re.findall(r"\]\(<?([^)\s>]+)>?[^)]*\)", re.sub(r"`[^`\n]*`", "", without_code(page.read_text()))):
        url = urlsplit(target)
        if url.scheme or url.netloc:
            continue
        there = (page.parent / unquote(url.path)).resolve() if url.path else page
        found = there.exists() and there.is_relative_to(ROOT)
        if found and url.fragment and there.suffix == ".md":
            found = unquote(url.fragment) in anchors(there)
        if not found:
            broken.append(target)
    assert broken == []
