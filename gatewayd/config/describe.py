"""Texts about a setting, from the structs: the same ones in errors, in the starter file and in the reference."""

import ast
import inspect
from collections.abc import Iterable, Mapping
from functools import lru_cache
from textwrap import dedent
from types import NoneType, UnionType
from typing import Annotated, Final, Literal, Union, get_args, get_origin

import msgspec
from msgspec import NODEFAULT, Struct
from msgspec import inspect as types

from gatewayd.model.secret import MaybeSecret, Secret

SOURCES_OF_SECRETS: Final = '{ file = "…" }, { env = "…" } or { credential = "…" }'


def allowed(annotation: object) -> str:
    """The allowed values of an annotation, e.g. ``"poll" or "webhook"``, ``a whole number from 1 to 100``."""
    kind = bare(annotation)
    match get_origin(kind), get_args(kind):
        case origin, values if origin is Literal:  # here, because msgspec would sort them
            return either(toml(value) for value in values)
        case origin, parts if origin in (Union, UnionType):
            return either(allowed(part) for part in parts if part is not NoneType)
        case (origin, (item, *_)) if origin in (list, set, frozenset, tuple):
            return f"an array; each entry: {allowed(item)}"
        case (origin, (_, item)) if origin in (dict, Mapping):
            return f"a table; each value: {allowed(item)}"
        case _:
            return _say(types.type_info(annotation))


def bare(annotation: object) -> object:
    """The annotation without Annotated and without ``| None``. TOML has no null: an optional key is absent."""
    if get_origin(annotation) is Annotated:
        return bare(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        parts = [part for part in get_args(annotation) if part is not NoneType]
        return bare(parts[0]) if len(parts) == 1 else annotation
    return annotation


def field_texts(struct: type[Struct]) -> dict[str, str]:
    """The text under each field (the string literal after it), as one line. Empty where the source cannot be read."""
    texts: dict[str, str] = {}
    for base in reversed(struct.__mro__):
        if issubclass(base, Struct) and base is not Struct:
            texts.update(_texts_of(base))
    return texts


def default_text(field: msgspec.structs.FieldInfo) -> str | None:
    """The default of a field as TOML; ``""``: not set; None: the field is required."""
    default = field.default
    if default is NODEFAULT and field.default_factory is NODEFAULT:
        return None
    if default is NODEFAULT:
        default = field.default_factory()
    return "" if default is None else toml(default)


def toml(value: object) -> str:
    """A plain value as TOML."""
    if isinstance(value, str):
        # JSON escapes what TOML's basic strings escape, but for DEL.
        return msgspec.json.encode(value).decode().replace("\x7f", "\\u007f")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | set | frozenset):
        return f"[{', '.join(toml(item) for item in value)}]"
    if isinstance(value, dict):
        inner = ", ".join(f"{toml(key)} = {toml(item)}" for key, item in value.items())
        return f"{{ {inner} }}" if inner else "{}"
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def either(words: Iterable[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    *most, last = list(words) or ["nothing"]
    return f"{', '.join(most)} or {last}" if most else last


@lru_cache(maxsize=256)
def _texts_of(struct: type[Struct]) -> dict[str, str]:
    try:
        tree = ast.parse(dedent(inspect.getsource(struct)))
    except (OSError, TypeError, SyntaxError):
        return {}
    (definition,) = tree.body
    assert isinstance(definition, ast.ClassDef)
    texts: dict[str, str] = {}
    for statement, following in zip(definition.body, definition.body[1:], strict=False):
        match statement, following:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                texts[name] = " ".join(text.split())
            case _:
                pass
    return texts


def _say(kind: types.Type) -> str:
    match kind:
        case types.Metadata(type=inner, extra_json_schema=schema):
            return str((schema or {}).get("description") or _say(inner))
        case types.EnumType(cls=cls):
            return either(toml(member.value) for member in cls)
        case types.BoolType():
            return "true or false"
        case types.IntType() | types.FloatType():
            return _say_number(kind)
        case types.StrType():
            return _say_text(kind)
        case types.UnionType(types=parts):  # of one type and None
            return either(_say(part) for part in parts if not isinstance(part, types.NoneType))
        case types.StructType(fields=fields):
            return f"a table with the keys {', '.join(field.encode_name for field in fields)}"
        case types.CustomType(cls=cls) if cls is MaybeSecret:
            return f"a text, or {SOURCES_OF_SECRETS}"
        case types.CustomType(cls=cls) if cls is Secret:
            return SOURCES_OF_SECRETS
        case _:
            return type(kind).__name__.removesuffix("Type").lower()


def _say_number(kind: types.IntType | types.FloatType) -> str:
    name = "a whole number" if isinstance(kind, types.IntType) else "a number"
    low = f"from {kind.ge}" if kind.ge is not None else f"above {kind.gt}" if kind.gt is not None else ""
    high = f"to {kind.le}" if kind.le is not None else f"below {kind.lt}" if kind.lt is not None else ""
    if high.startswith("to") and not low.startswith("from"):
        high = f"up {high}"
    return " ".join(part for part in (name, low, high) if part)


def _say_text(kind: types.StrType) -> str:
    if kind.pattern is not None:
        return f"a text that matches {kind.pattern}"
    match kind.min_length, kind.max_length:
        case None | 0, None:
            return "a text"
        case least, None:
            return "a text, not empty" if least == 1 else f"a text of at least {least} characters"
        case None | 0, most:
            return f"a text of at most {most} characters"
        case least, most:
            return f"a text of {least} to {most} characters"
