"""Formatted text as the Bot API reads it: HTML with its few tags, lengths in UTF-16 code units.

Facts: core.telegram.org/bots/api#html-style and #messageentity; the words of the errors are those of the Bot API server
(tdlib, ``MessageEntity.cpp``), whose offsets count UTF-8 bytes.
"""

import re
from urllib.parse import urlsplit

from msgspec import Struct

from tests.fakes.bot_api.errors import Json, bad_request

TEXT_LIMIT_UTF16 = 4096
CAPTION_LIMIT_UTF16 = 1024
RAW_LIMIT_BYTES = 1 << 15

_TYPES = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "tg-spoiler": "spoiler",
    "span": "spoiler",
    "a": "text_link",
    "code": "code",
    "pre": "pre",
    "blockquote": "blockquote",
    "tg-emoji": "custom_emoji",
    "tg-time": "date_time",
}
_REFERENCES = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]{1,6})|#([0-9]{1,7})|(lt|gt|amp|quot)(?![a-zA-Z]));?")
_SPECIAL = re.compile(r"[<&]")
_ATTRIBUTE = re.compile(r"""\s+([^\s=>/"']+)(?:\s*=\s*(?:"([^"]*)"|'([^']*)'|([A-Za-z0-9.-]*)(?=[\s>])))?""")
_COMMAND = re.compile(r"(?<![\w/@])/[A-Za-z0-9_]{1,64}(?:@\w{3,32})?")
_MENTION = re.compile(r"(?<!\w)@[A-Za-z]\w{3,31}")
_URL = re.compile(r"https?://[^\s<>]+")


def utf16_length(text: str) -> int:
    """Code units, as Telegram counts text and entity offsets."""
    return len(text) + sum(char > "\uffff" for char in text)


class _Open(Struct):
    tag: str
    argument: str
    offset: int
    chars: int


def parse_html(source: str) -> tuple[str, list[Json]]:
    """Plain text and its MessageEntity objects.

    :raises ApiError: 400 "Bad Request: can't parse entities: …" for an unknown, unclosed or wrongly nested tag.
    """
    out: list[str] = []
    units = 0
    chars = 0
    opened: list[_Open] = []
    entities: list[Json] = []
    position = 0
    while position < len(source):
        found = _SPECIAL.search(source, position)
        end = found.start() if found else len(source)
        piece = source[position:end]
        if found and source[end] == "&":
            reference = _REFERENCE.match(source, end)
            character = _character(reference) if reference else None
            piece += character if character is not None else "&"
            end = reference.end() if reference and character is not None else end + 1
        if piece:
            out.append(piece)
            units += utf16_length(piece)
            chars += len(piece)
        if end < len(source) and found and source[found.start()] == "<":
            if source.startswith("</", end):
                end, entity = _close_tag(source, end, opened, units, out)
                entities += [entity] if entity else []
            else:
                end, tag, argument = _open_tag(source, end)
                opened.append(_Open(tag, argument, units, chars))
        position = end
    if opened:
        raise _cannot_parse(f'Can\'t find end tag corresponding to start tag "{opened[-1].tag}"')
    return "".join(out), sorted(_merge_pre(entities), key=lambda entity: (entity["offset"], -entity["length"]))


def _character(reference: re.Match[str]) -> str | None:
    hexadecimal, decimal, name = reference.groups()
    if name:
        return _REFERENCES[name]
    code = int(hexadecimal, 16) if hexadecimal else int(decimal)
    if code == 0 or code >= 0x10FFFF or 0xD800 <= code <= 0xDFFF:
        return None
    return chr(code)


def _open_tag(source: str, start: int) -> tuple[int, str, str]:
    """Read ``<tag attribute="value">``: the position after it, the tag, and the one argument that matters for it."""
    name = re.compile(r"[^\s>]*").match(source, start + 1)
    assert name is not None
    if name.end() == len(source):
        raise _cannot_parse(f"Unclosed start tag at byte offset {_byte_offset(source, start)}")
    tag = name.group().lower()
    if tag not in _TYPES:
        raise _cannot_parse(f'Unsupported start tag "{tag}" at byte offset {_byte_offset(source, start)}')
    position = name.end()
    attributes: dict[str, str] = {}
    while attribute := _ATTRIBUTE.match(source, position):
        key, *values = attribute.groups()
        attributes[key] = _decode(next((value for value in values if value is not None), ""))
        position = attribute.end()
    close = re.compile(r"\s*>").match(source, position)
    if close is None:
        raise _cannot_parse(f'Unclosed start tag "{tag}" at byte offset {_byte_offset(source, start)}')
    if tag == "span" and attributes.get("class") != "tg-spoiler":
        raise _cannot_parse(f'Tag "span" must have class "tg-spoiler" at byte offset {_byte_offset(source, start)}')
    return close.end(), tag, _argument(tag, attributes)


def _argument(tag: str, attributes: dict[str, str]) -> str:
    match tag:
        case "a":
            return attributes.get("href", "")
        case "code":
            return attributes.get("class", "").removeprefix("language-") if "class" in attributes else ""
        case "blockquote":
            return "expandable" if "expandable" in attributes else ""
        case "tg-emoji":
            return attributes.get("emoji-id", "")
        case _:
            return ""


def _decode(value: str) -> str:
    return _REFERENCE.sub(lambda found: _character(found) or found.group(), value)


def _close_tag(source: str, start: int, opened: list[_Open], units: int, out: list[str]) -> tuple[int, Json | None]:
    offset = _byte_offset(source, start)
    if not opened:
        raise _cannot_parse(f"Unexpected end tag at byte offset {offset}")
    close = re.compile(r"</([^\s>]*)\s*>").match(source, start)
    if close is None:
        raise _cannot_parse(f"Unclosed end tag at byte offset {offset}")
    found = close.group(1).lower()
    begin = opened.pop()
    if found and found != begin.tag:
        raise _cannot_parse(f'Unmatched end tag at byte offset {offset}, expected "</{begin.tag}>", found "</{found}>"')
    if units == begin.offset:
        return close.end(), None
    return close.end(), _entity(begin, units, out)


def _entity(begin: _Open, units: int, out: list[str]) -> Json | None:
    entity: Json = {"type": _TYPES[begin.tag], "offset": begin.offset, "length": units - begin.offset}
    match begin.tag:
        case "a":
            url = begin.argument or "".join(out)[begin.chars :]
            if not _is_link(url):
                return None
            entity["url"] = url
        case "code" if begin.argument:
            entity["language"] = begin.argument
        case "blockquote" if begin.argument:
            entity["type"] = "expandable_blockquote"
        case "tg-emoji":
            if not begin.argument.isdigit() or int(begin.argument) == 0:
                raise _cannot_parse("Invalid custom emoji identifier specified")
            entity["custom_emoji_id"] = begin.argument
        case _:
            pass
    return entity


def _is_link(url: str) -> bool:
    """Whether the server keeps the link; a link that it does not like becomes plain text, without an error."""
    try:
        parts = urlsplit(url if "://" in url or url.startswith("tg:") else f"http://{url}")
    except ValueError:
        return False
    return parts.scheme in {"http", "https", "ftp", "ton", "tg", "tonsite"} and ("." in parts.netloc or parts.scheme == "tg")


def _merge_pre(entities: list[Json]) -> list[Json]:
    """``<pre><code class="language-x">`` is one pre with a language; a language elsewhere is dropped."""
    merged: list[Json] = []
    for entity in entities:
        last = merged[-1] if merged else None
        same = last is not None and (last["offset"], last["length"]) == (entity["offset"], entity["length"])
        if last is not None and same and {last["type"], entity["type"]} == {"pre", "code"}:
            language = last.get("language") or entity.get("language")
            if language:
                merged[-1] = {**last, "type": "pre", "language": language}
                continue
        merged.append(entity)
    for entity in merged:
        if entity["type"] == "code":
            entity.pop("language", None)
    return merged


def find_entities(text: str) -> list[Json]:
    """The entities that Telegram finds by itself in what a person types: commands, mentions, URLs."""
    found: list[Json] = []
    for kind, pattern in (("bot_command", _COMMAND), ("mention", _MENTION), ("url", _URL)):
        found += [
            {"type": kind, "offset": utf16_length(text[: match.start()]), "length": utf16_length(match.group())}
            for match in pattern.finditer(text)
        ]
    return sorted(found, key=lambda entity: (entity["offset"], -entity["length"]))


def _byte_offset(source: str, position: int) -> int:
    return len(source[:position].encode())


def _cannot_parse(reason: str) -> Exception:
    return bad_request(f"can't parse entities: {reason}")
