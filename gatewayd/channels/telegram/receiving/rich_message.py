"""The text of a RichMessage (core.telegram.org/bots/api#richmessage). Pure.

Such a message, one that another bot wrote and a person forwards, say, has no ``text``: what it says is spread over blocks
(#richblock) and nested inline nodes (#richtext), where a string, a list of nodes and an object with ``text`` are all texts.
"""

from collections.abc import Mapping

from msgspec import Raw

from gatewayd.kit.json import Malformed, decode

_DEEPEST = 40
_INLINE = ("text", "alternative_text", "expression")
_LINES = ("label", "summary", *_INLINE, "blocks", "items", "cells", "caption", "credit")


def text_of(message: Raw) -> str:
    """Its blocks, one below the other; what is nested beyond reason, or of a kind that nobody knows, is left out."""
    try:
        return _block(decode(message, dict[str, object]), _DEEPEST)
    except Malformed:
        return ""


def _block(node: object, depth: int) -> str:
    if not isinstance(node, Mapping) or depth == 0:
        return _inline(node, depth)
    parts = (_value(key, node[key], depth - 1) for key in _LINES if key in node)
    return "\n".join(part for part in parts if part)


def _value(key: str, value: object, depth: int) -> str:
    if key in _INLINE:
        return _inline(value, depth)
    if isinstance(value, list):
        return "\n".join(part for item in value if (part := _row(item, depth) if key == "cells" else _block(item, depth)))
    return _block(value, depth)


def _row(cells: object, depth: int) -> str:
    return " │ ".join(_block(cell, depth) for cell in cells) if isinstance(cells, list) else ""


def _inline(node: object, depth: int) -> str:
    if isinstance(node, str):
        return node
    if depth == 0:
        return ""
    if isinstance(node, list):
        return "".join(_inline(part, depth - 1) for part in node)
    if isinstance(node, Mapping):
        return "".join(_inline(node[key], depth - 1) for key in _INLINE if key in node)
    return ""
