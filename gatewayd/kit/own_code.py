"""The user's own code, named as ``module:attribute``: it is imported, and imported again at each load."""

import importlib
import os
import sys
import sysconfig
from contextlib import suppress
from importlib.util import cache_from_source
from pathlib import Path
from types import ModuleType
from typing import Final

from gatewayd.actor.border import describe, third_party
from gatewayd.model.errors import NeedsOperator

_INSTALLED: Final = frozenset({"site-packages", "dist-packages"})
_PYTHONS_OWN: Final = tuple(Path(sysconfig.get_path(name)) for name in ("stdlib", "platstdlib"))
_NAMES_MAX: Final = 5

# By the topmost name of each module that was imported for a user first by us: what was imported before it.
_there_before: dict[str, frozenset[str]] = {}


def load(name: str) -> object:
    """The object, from code that is imported again if it was loaded before.

    Its module is imported again with the user's other modules that it uses: its package, and modules in the same folder.
    Installed modules and Python's own are not. A running function keeps its old code.

    :raises NeedsOperator: it is not found, with the searched folders; or the import has failed.
    """
    module_name, _, attribute = name.partition(":")
    try:
        with third_party():
            found, why_not = _look(module_name, attribute)
    except Exception as error:
        raise NeedsOperator(f"object = {name!r} cannot be loaded: {describe(error)}") from error
    if why_not:
        raise NeedsOperator(f"object = {name!r} cannot be loaded: {why_not}")
    return found


def _look(module_name: str, attribute: str) -> tuple[object, str]:
    """The object, or the reason why it is not there."""
    try:
        module = _import_anew(module_name)
    except ModuleNotFoundError as error:
        return None, _what_is_missing(module_name, str(error.name))
    found: object = module
    for part in attribute.split("."):
        if not hasattr(found, part):
            return None, f"{getattr(module, '__file__', module_name)} has no {attribute}{_what_is_there(module)}"
        found = getattr(found, part)
    return found, ""


def _import_anew(module_name: str) -> ModuleType:
    top = module_name.partition(".")[0]
    if top in _there_before:
        _forget(top)
    elif top not in sys.modules:
        _there_before[top] = frozenset(sys.modules)
    importlib.invalidate_caches()
    return importlib.import_module(module_name)


def _forget(top: str) -> None:
    """Make the next import read the user's files again."""
    beside = _folder_of(sys.modules.get(top))
    ours = [name for name in sys.modules if name not in _there_before[top] and _is_own(name, top, beside)]
    for name in ours:
        file = getattr(sys.modules.pop(name), "__file__", None)
        # Python's cache of compiled code cannot tell apart two versions of the same size, of the same second.
        with suppress(NotImplementedError, OSError):
            os.unlink(cache_from_source(str(file)))


def _is_own(name: str, top: str, beside: Path | None) -> bool:
    if name == top or name.startswith(f"{top}."):
        return True
    file = getattr(sys.modules[name], "__file__", None)
    if beside is None or not isinstance(file, str) or name.partition(".")[0] == "gatewayd":
        return False
    return Path(file).is_relative_to(beside) and not _is_installed(Path(file))


def _is_installed(path: Path) -> bool:
    return bool(_INSTALLED & {*path.parts}) or any(path.is_relative_to(folder) for folder in _PYTHONS_OWN)


def _folder_of(module: ModuleType | None) -> Path | None:
    """The folder in which the module, or its package, lies."""
    file = getattr(module, "__file__", None)
    if not isinstance(file, str):
        return None
    return Path(file).parent.parent if hasattr(module, "__path__") else Path(file).parent


def _what_is_missing(module_name: str, missing: str) -> str:
    if not f"{module_name}.".startswith(f"{missing}."):
        return f"{module_name} imports {missing}, which is not installed for {sys.executable}"
    parent = sys.modules.get(missing.rpartition(".")[0])
    places = [Path(place).absolute() for place in getattr(parent, "__path__", sys.path)]
    own = [place for place in places if place.is_dir() and not _is_installed(place)]
    folders = ", ".join(map(str, dict.fromkeys(own)))
    return f"there is no module {missing}, neither in {folders or 'any folder'} nor installed for {sys.executable}"


def _what_is_there(module: ModuleType) -> str:
    own = [name for name, value in vars(module).items() if getattr(value, "__module__", None) == module.__name__]
    return f"; it has {', '.join(own[:_NAMES_MAX])}" if own else ""
