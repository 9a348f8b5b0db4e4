"""Decodes JSON from other programs into typed structs, for channels and agent cores. Pure.

msgspec decodes first, which is all for proper JSON (RFC 8259). JSON that it refuses is repaired and decoded again: a faulty place
that nobody needs must not cost an answer or a batch of messages. The only error is ``Malformed``.
"""

import json
import re
from typing import Annotated, Final, TypeVar, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Raw, Struct

T = TypeVar("T")

# The escapes and control characters in a string. After \u, D800 to DBFF is the first half of a surrogate pair, DC00 to DFFF the
# second one (RFC 8259, section 7). A backslash takes the next byte with it, so that the text after an escaped backslash is text.
_PAIR: Final = rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_IN_STRING: Final = re.compile(rb"(" + _PAIR + rb")|\\u([dD][89a-fA-F][0-9a-fA-F]{2})|\\.|([\x00-\x1f])", re.DOTALL)
_STRING_OR_WORD: Final = re.compile(rb'("[^"\\]*+(?:\\.[^"\\]*+)*+"?)|-?\b(?:NaN|Infinity)\b', re.DOTALL)

_MARK: Final = "\ufdd0"
_CARRIER: Final = 0x100000
"""UTF-8 cannot hold half a surrogate pair. A kept half is written as a noncharacter, which is for a program's own use (Unicode,
section 23.7), and the private character that is so far above the half."""
_FIRST, _SECOND = f"{_MARK}([\U0010d800-\U0010dbff])", f"{_MARK}([\U0010dc00-\U0010dfff])"
_CARRIED: Final = re.compile(f"{_FIRST}{_SECOND}|{_FIRST}|{_SECOND}")
_CARRIED_FIRST: Final = re.compile(_FIRST)
_CARRIED_LENGTH: Final = 2


class Malformed(ValueError):
    """It is no JSON, or JSON of another shape. The text names the place, as msgspec does. ``is_json``: only the shape is
    wrong."""

    def __init__(self, where: str, *, is_json: bool = True) -> None:
        super().__init__(where)
        self.is_json = is_json


def decode(data: bytes | str | Raw, kind: type[T], *, lenient: bool = False, keep_halves: bool = False) -> T:
    """The JSON text as ``kind``. Unknown keys are ignored.

    A byte order mark is skipped. NaN and Infinity, which Python and JavaScript libraries write, become null. Half a surrogate
    pair, from a text that was cut in an emoji, becomes U+FFFD, and so do bytes that are no UTF-8.

    ``lenient``: an optional field with a value of another type counts as not given. Not for fields that decide who wrote
    something, or what is allowed.
    ``keep_halves``: half a surrogate pair is kept for ``Joiner``, which finds its other half in the next piece.

    :raises Malformed: the only error, for any text.
    """
    try:
        return msgspec.json.decode(data, type=kind)
    except (ValueError, RecursionError) as error:  # msgspec's errors are ValueErrors, and so is Python's of a very long number
        first = error
    try:
        return _decode_mended(mended(_bytes(data), keep_halves=keep_halves), kind, lenient=lenient)
    except msgspec.ValidationError as error:
        raise Malformed(str(error), is_json=True) from None
    except RecursionError:
        raise Malformed("it is nested too deeply", is_json=False) from None
    except ValueError:
        raise Malformed(str(first), is_json=False) from None


def _bytes(data: bytes | str | Raw) -> bytes:
    return data.encode("utf-8", "replace") if isinstance(data, str) else bytes(data)


def _decode_mended(data: bytes, kind: type[T], *, lenient: bool) -> T:
    try:
        return msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        if not lenient:
            raise
    return msgspec.json.decode(_without_odd_fields(data, kind), type=kind)


def mended(data: bytes, *, keep_halves: bool = False) -> bytes:
    """The same JSON text with its faulty places repaired (see ``decode``), and nothing else changed. Idempotent, and linear in
    the number of bytes, for any bytes."""

    def in_string(match: re.Match[bytes]) -> bytes:
        if match[2]:
            return (_MARK + chr(_CARRIER + int(match[2], 16))).encode() if keep_halves else rb"\ufffd"
        return b"\\u%04x" % match[3][0] if match[3] else match[0]

    text = data.decode(json.detect_encoding(data), "replace").encode()
    return _STRING_OR_WORD.sub(lambda match: _IN_STRING.sub(in_string, match[1]) if match[1] else b"null", text)


def _without_odd_fields(data: bytes | Raw, kind: object) -> bytes:
    """JSON text of ``kind`` without optional fields whose value is of another type, at any depth.

    :raises msgspec.ValidationError: it is not of that kind even so.
    """
    try:
        msgspec.json.decode(data, type=kind)
    except msgspec.ValidationError:
        data = bytes(data).strip()
        for part in _parts(kind):
            if data.startswith(b"{") and isinstance(part, type) and issubclass(part, Struct):
                return _object_without(data, part)
            if data.startswith(b"[") and get_origin(part) in (list, tuple):
                items = msgspec.json.decode(data, type=list[Raw])
                return msgspec.json.encode([Raw(_without_odd_fields(item, get_args(part)[0])) for item in items])
        raise
    return bytes(data)


def _object_without(data: bytes, kind: type[Struct]) -> bytes:
    fields = msgspec.json.decode(data, type=dict[str, Raw])
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        if field.encode_name in fields:
            try:
                fields[field.encode_name] = Raw(_without_odd_fields(fields[field.encode_name], hints[field.name]))
            except msgspec.ValidationError:
                if field.required:
                    raise
                del fields[field.encode_name]
    return msgspec.json.encode(fields)


def _parts(kind: object) -> tuple[object, ...]:
    """The possible types of a value: of ``A | B`` both, of ``Annotated[A, …]`` A."""
    if get_origin(kind) is Annotated:
        return _parts(get_args(kind)[0])
    if get_origin(kind) in (list, tuple):
        return (kind,)
    return tuple(part for inner in get_args(kind) for part in _parts(inner)) or (kind,)


class Joiner:
    """Joins the pieces of one text, which may cut an emoji in two, so that all characters are whole. A half without its other
    half becomes U+FFFD."""

    def __init__(self) -> None:
        self._held = ""

    def take(self, piece: str) -> str:
        """Add a piece from ``decode`` with ``keep_halves``. Returns the whole characters, perhaps ""."""
        text = self._held + piece
        self._held = text[-_CARRIED_LENGTH:] if _CARRIED_FIRST.fullmatch(text[-_CARRIED_LENGTH:]) else ""
        return whole(text.removesuffix(self._held))

    def rest(self) -> str:
        """The text has ended: returns the half that is left, if any."""
        held, self._held = self._held, ""
        return whole(held)


def whole(text: str) -> str:
    """The text with its kept halves joined: two that belong together become one character, any other becomes U+FFFD."""
    return _CARRIED.sub(_joined, text)


def _joined(match: re.Match[str]) -> str:
    if match[1] is None:
        return "\ufffd"
    first, second = ord(match[1]) - _CARRIER, ord(match[2]) - _CARRIER
    return chr(0x10000 + ((first - 0xD800) << 10) + (second - 0xDC00))
