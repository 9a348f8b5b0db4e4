"""Strict decoding that reports every problem.

msgspec decodes single values, and decides what is valid. This module walks the tables and arrays: ``msgspec.convert`` of the
whole would report the first problem only.
"""

import math
from collections.abc import Mapping
from functools import lru_cache
from types import UnionType
from typing import Final, Literal, TypeVar, Union, cast, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct

from gatewayd.actor.border import describe, third_party
from gatewayd.config.describe import allowed, bare
from gatewayd.config.problems import Problems, listed, nearest, show
from gatewayd.config.renamed import RENAMED
from gatewayd.config.secret_sources import SecretReader
from gatewayd.config.source import KeyPath
from gatewayd.model.errors import PluginError
from gatewayd.model.secret import MaybeSecret, Secret

S = TypeVar("S", bound=Struct)

INVALID: Final = object()
"""The result for a value that has a problem."""


class Decoder:
    """Decodes tables into structs, and adds every problem to ``problems``. No content of the file raises.

    :raises PluginError: from ``struct`` and ``structs``, when ``__post_init__`` of a plug-in fails.
    """

    def __init__(self, problems: Problems, secrets: SecretReader) -> None:
        self._problems = problems
        self._secrets = secrets

    def struct(self, table: object, struct: type[S], key: KeyPath) -> S | None:
        """One struct from a table. None: the table has a problem."""
        built = self.structs(table, (struct,), key)
        return None if built is None else cast(S, built[0])

    def structs(self, table: object, kinds: tuple[type[Struct], ...], key: KeyPath) -> tuple[Struct, ...] | None:
        """Several structs from one table, which may have the keys of all of them. None: the table has a problem."""
        values = self.values(table, kinds, key)
        if values is None or INVALID in values.values():
            return None
        return self._build(values, kinds, key)

    def values(self, table: object, kinds: tuple[type[Struct], ...], key: KeyPath) -> dict[str, object] | None:
        """The decoded values of a table by key; INVALID where a key is wrong, missing or unknown. None: it is not a table."""
        fields = _fields(kinds)
        if not isinstance(table, dict):
            # Only the type of the value: a secret is likely to be pasted where a table is needed.
            self._problems.add(key, "must be a table", found=show_kind(table), allowed=f"the keys {listed(tuple(fields))}")
            return None
        values: dict[str, object] = {}
        for name, value in table.items():
            if name in fields:
                values[name] = self.value(value, fields[name].type, (*key, name))
            else:
                values[name] = INVALID
                self._unknown_key((*key, name), name, tuple(fields))
        for name, field in fields.items():
            if name not in table and field.default is NODEFAULT and field.default_factory is NODEFAULT:
                values[name] = INVALID
                self._problems.add(key, f'the key "{name}" is missing', allowed=allowed(field.type))
        return values

    def value(self, value: object, annotation: object, key: KeyPath) -> object:
        """One value of any annotation, or INVALID."""
        kind = bare(annotation)
        if kind is object:
            return value
        if kind is Secret:
            return _or_invalid(self._secrets.read(value, key))
        if kind is MaybeSecret:
            given = value if isinstance(value, str) else self._secrets.read(value, key)
            return INVALID if given is None else MaybeSecret(given)
        if isinstance(kind, type) and issubclass(kind, Struct) and kind.__struct_config__.tag is None:
            return _or_invalid(self.struct(value, kind, key))
        match get_origin(kind), get_args(kind):
            case (origin, (item,)) if origin in (list, set, frozenset):
                return self._items(value, origin, item, annotation, key)
            case (origin, (item, last)) if origin is tuple and last is Ellipsis:
                return self._items(value, tuple, item, annotation, key)
            case (origin, (name, item)) if origin in (dict, Mapping):
                return self._entries(value, name, item, annotation, key)
            case (origin, parts) if origin in (Union, UnionType) and (part := _part_for(value, parts)) is not None:
                return self.value(value, part, key)
            case _:
                return self._single(value, annotation, key)

    def fits_name(self, word: str, annotation: object, key: KeyPath) -> bool:
        """Whether a name that the user chooses fits the annotation."""
        return self._single(word, annotation, key, what="is not a name that is allowed here") is not INVALID

    def _unknown_key(self, key: KeyPath, name: str, known: tuple[str, ...]) -> None:
        if (new := RENAMED.get(name)) in known:
            self._problems.add(key, f'has another name now: write "{new}"')
        else:
            self._problems.add(key, "unknown key", allowed=listed(known), nearest=nearest(name, known))

    def _build(self, values: dict[str, object], kinds: tuple[type[Struct], ...], key: KeyPath) -> tuple[Struct, ...] | None:
        built = []
        for kind in kinds:
            own = {field.name: values[name] for name, field in _fields((kind,)).items() if name in values}
            try:
                with third_party():
                    made = _make(kind, own)
            except Exception as error:
                raise PluginError(f"{kind.__name__} cannot be made: {describe(error)}") from error
            if isinstance(made, str):
                self._problems.add(key, made)
                return None
            built.append(made)
        return tuple(built)

    def _items(self, value: object, kind: type, item: object, annotation: object, key: KeyPath) -> object:
        if not isinstance(value, list):
            return self._wrong(value, annotation, key)
        items = [self.value(part, item, (*key, index)) for index, part in enumerate(value)]
        if INVALID in items or not self._fits_length(len(items), annotation, key):
            return INVALID
        return kind(items)

    def _entries(self, value: object, name: object, item: object, annotation: object, key: KeyPath) -> object:
        if not isinstance(value, dict):
            return self._wrong(value, annotation, key)
        entries = {}
        for word, part in value.items():
            fits = self.fits_name(word, name, (*key, word))
            entries[word] = self.value(part, item, (*key, word)) if fits else INVALID
        if INVALID in entries.values() or not self._fits_length(len(entries), annotation, key):
            return INVALID
        return entries

    def _fits_length(self, length: int, annotation: object, key: KeyPath) -> bool:
        for meta in getattr(annotation, "__metadata__", ()):
            least, most = getattr(meta, "min_length", None), getattr(meta, "max_length", None)
            if (least is not None and length < least) or (most is not None and length > most):
                bounds = " ".join(f"{word} {n}" for word, n in (("at least", least), ("at most", most)) if n is not None)
                self._problems.add(key, "has the wrong number of entries", found=str(length), allowed=bounds)
                return False
        return True

    def _single(self, value: object, annotation: object, key: KeyPath, what: str = "wrong value") -> object:
        if isinstance(value, float) and not math.isfinite(value):
            return self._wrong(value, annotation, key)
        try:
            return cast(object, msgspec.convert(value, annotation))
        except msgspec.ValidationError:
            return self._wrong(value, annotation, key, what)

    def _wrong(self, value: object, annotation: object, key: KeyPath, what: str = "wrong value") -> object:
        close = None
        if isinstance(value, str) and get_origin(bare(annotation)) is Literal:
            close = nearest(value, [word for word in get_args(bare(annotation)) if isinstance(word, str)])
        self._problems.add(key, what, found=show(value), allowed=allowed(annotation), nearest=close)
        return INVALID


def show_kind(value: object) -> str:
    """The kind of a value, without its content."""
    return "a text" if isinstance(value, str) else "a single value" if not isinstance(value, list) else "an array"


def known_keys(*kinds: type[Struct]) -> tuple[str, ...]:
    """The keys of a table of these structs."""
    return tuple(_fields(kinds))


def _part_for(value: object, parts: tuple[object, ...]) -> object | None:
    """The part of a union, such as an array or a table, that fits the shape of the value."""
    kinds: tuple[object, ...] = (list, tuple, set, frozenset) if isinstance(value, list) else (dict, Mapping)
    found = [part for part in parts if get_origin(part) in kinds]
    return found[0] if found and isinstance(value, list | dict) else None


def _make(kind: type[Struct], own: dict[str, object]) -> Struct | str:
    """The struct, or the text of the ``ValueError`` by which ``__post_init__`` rejects its values."""
    try:
        return kind(**own)
    except ValueError as error:
        return str(error)


def _or_invalid(value: object | None) -> object:
    return INVALID if value is None else value


@lru_cache(maxsize=256)
def _fields(kinds: tuple[type[Struct], ...]) -> dict[str, msgspec.structs.FieldInfo]:
    """The fields of all the structs by their keys in the file."""
    return {field.encode_name: field for kind in kinds for field in msgspec.structs.fields(kind)}
