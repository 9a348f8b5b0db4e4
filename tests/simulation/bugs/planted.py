"""Bugs that are put into the daemon's source while it is imported, to see that the simulation finds them, or a test."""

import importlib.abc
import importlib.machinery
import importlib.util
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import ModuleType

import msgspec
from msgspec import Struct

FILE = Path(__file__).with_name("planted.toml")
ROOT = Path(__file__).parents[3]


class Change(Struct, frozen=True, forbid_unknown_fields=True):
    """``old`` occurs exactly once in the source of ``module``, or in ``file``, which is no Python: a path below the root."""

    old: str
    new: str
    module: str = ""
    file: str = ""

    def __post_init__(self) -> None:
        if bool(self.module) == bool(self.file):
            raise ValueError("a change is one of a module or of a file")


class Bug(Struct, frozen=True, forbid_unknown_fields=True):
    """``why`` it matters. The simulation finds it within so many ``seeds``; or ``test`` fails, and fails at the line
    ``assertion`` of its file. Of both the test decides, and the seeds are how far a hunt by seeds looks."""

    name: str
    why: str
    change: tuple[Change, ...]
    seeds: int = 0
    test: str = ""
    assertion: str = ""

    def __post_init__(self) -> None:
        if not (self.seeds or self.test) or bool(self.test) != bool(self.assertion):
            raise ValueError(f"{self.name} is found by seeds, by a test and its assertion, or by both")


class DoesNotApply(Exception):
    """The source is not what the bug was written for."""


class _Bugs(Struct, frozen=True, forbid_unknown_fields=True):
    bug: tuple[Bug, ...]


def bugs() -> dict[str, Bug]:
    """All of them, by name, in the order of the file."""
    found = msgspec.toml.decode(FILE.read_bytes(), type=_Bugs).bug
    return {bug.name: bug for bug in found}


def changed_source(where: str, source: str, changes: Sequence[Change]) -> str:
    """:raises DoesNotApply: a text is not there, or more than once."""
    for change in changes:
        times = source.count(change.old)
        if times != 1:
            raise DoesNotApply(f"{where} has this {times} times, not once:\n{change.old}")
        source = source.replace(change.old, change.new)
    return source


def plant(bug: Bug) -> None:
    """From now on the modules of ``bug`` are imported with it. They must not have been imported yet. Its files are those of
    ``planted_tree``.

    :raises DoesNotApply: one was, or the source is another by now.
    """
    by_module: dict[str, list[Change]] = {}
    for change in bug.change:
        if change.module:
            by_module.setdefault(change.module, []).append(change)
    for module in by_module:
        if module in sys.modules:
            raise DoesNotApply(f"{module} was imported already")
    sys.meta_path.insert(0, _Finder(by_module))


@contextmanager
def planted_tree(bug: Bug) -> Iterator[Path]:
    """Where to look for ``bug``: here; or, where it is in files, in a copy that has it in them. :raises DoesNotApply:"""
    of_files = [change for change in bug.change if change.file]
    if not of_files:
        yield ROOT
        return
    with TemporaryDirectory() as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*"))
        for change in of_files:
            file = tree / change.file
            file.write_text(changed_source(change.file, file.read_text(), [change]))
        yield tree


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, changes: Mapping[str, Sequence[Change]]) -> None:
        self._changes = changes

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if fullname not in self._changes:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        if spec is None or spec.origin is None:
            return None
        loader = _Loader(self._changes[fullname], spec.origin)
        return importlib.util.spec_from_file_location(
            fullname, spec.origin, loader=loader, submodule_search_locations=spec.submodule_search_locations
        )


class _Loader(importlib.abc.Loader):
    def __init__(self, changes: Sequence[Change], origin: str) -> None:
        self._changes = changes
        self._origin = origin

    def exec_module(self, module: ModuleType) -> None:
        source = changed_source(module.__name__, Path(self._origin).read_text(), self._changes)
        exec(compile(source, self._origin, "exec"), vars(module))  # noqa: S102
