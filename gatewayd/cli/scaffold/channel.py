"""Writes the package of a new channel: the files of ``linechat/`` with another name in them. Pure but for the file system."""

import os
import re
import shutil
import sys
from collections.abc import Collection, Iterator
from importlib.util import find_spec
from keyword import iskeyword
from pathlib import Path
from secrets import token_hex
from typing import Final

from gatewayd.ports.channel import RESERVED

TEMPLATE: Final = Path(__file__).parent / "linechat"
_NAME: Final = re.compile(r"[a-z](?:[a-z0-9_]{0,38}[a-z0-9])?")
"""Of a Python package, and of a project in the core metadata, which ends with none of the signs."""
_INSIDE: Final = ("__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache")
"""What tools leave in a package, and nobody has written."""


class NotWritten(Exception):
    """Nothing was written. ``str(error)`` says what is wrong, and what to do."""


class UnusableName(NotWritten):
    """The name cannot be that of a package and of a channel."""


def check_name(name: str, taken: Collection[str]) -> None:
    """The name is the id of the channel and the name of its package. ``taken`` are the ids of installed channels.

    :raises UnusableName: it is no name, or somebody else's.
    """
    if _NAME.fullmatch(name) is None:
        raise UnusableName(
            f"{name!r} is no name of a package: use a-z, 0-9 and _, at most 40; the first is one of a-z, and the last no _"
        )
    if name in taken:
        raise UnusableName(f"a channel {name!r} is installed already: choose another name, or uninstall its package")
    if name in RESERVED:
        raise UnusableName(f"{name!r} is a word of gatewayd's own addresses: choose another name, for example {name}_chat")
    if name == "tests" or iskeyword(name) or name in sys.stdlib_module_names or _is_module(name):
        raise UnusableName(f"{name!r} is a word or a module of Python here, which the package would hide: choose another name")


def write_channel(name: str, into: Path) -> Path:
    """Write the folder ``into/name``. It is there as a whole, or not at all. ``name`` has been checked. Returns the folder.

    :raises NotWritten: ``into`` is no folder, there is something already, or the disk refuses.
    """
    folder = into / name
    if not into.is_dir():
        raise NotWritten(f"{into} is no folder: make it first, or name another one with --into")
    if folder.is_symlink() or (folder.exists() and not (folder.is_dir() and not any(folder.iterdir()))):
        raise NotWritten(f"{folder} is there already, and was not changed: choose another name, or another folder with --into")
    unfinished = into / f".{name}.{token_hex(4)}"
    try:
        try:
            for path, text in files_of(name):
                (unfinished / path).parent.mkdir(parents=True, exist_ok=True)
                (unfinished / path).write_text(text, "utf-8")
            # rename(2): takes the place of an empty folder, and of nothing else.
            os.rename(unfinished, folder)
        finally:
            shutil.rmtree(unfinished, ignore_errors=True)
    except OSError as error:
        raise NotWritten(f"{folder} cannot be written: {error.strerror or error}") from error
    return folder


def files_of(name: str) -> Iterator[tuple[Path, str]]:
    """The files of the package, by their paths in its folder."""
    for file in sorted(TEMPLATE.rglob("*")):
        path = file.relative_to(TEMPLATE)
        if file.is_file() and not set(path.parts) & set(_INSIDE):
            yield Path(_named(str(path), name)), _named(file.read_text("utf-8"), name)


def _named(text: str, name: str) -> str:
    label = name.replace("_", " ").capitalize()
    return text.replace(TEMPLATE.name, name).replace(TEMPLATE.name.capitalize(), label)


def _is_module(name: str) -> bool:
    """Whether ``import name`` finds a module, but for a folder without one."""
    try:
        found = find_spec(name)
    except (ImportError, ValueError):
        return True
    return found is not None and found.origin is not None
