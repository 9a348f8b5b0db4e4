"""The text of a message, as a person reads it, and its files. Pure.

People's messages have one ``rich_text`` block, where each element says what it is ("Rich text block"), and the same as mrkdwn in
``text`` ("Formatting message text"). The block is preferred, because its texts are literal, and it tells lists and code for what
they are. Nothing in the result can ping: it goes out as literal text.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final

from msgspec import Raw, Struct

from gatewayd.channels.slack.wire.events import File, Message, Shared
from gatewayd.kit.json import Malformed, decode
from gatewayd.kit.text import is_blank, sanitise
from gatewayd.model.message.envelope import Attachment, AttachmentKind

NameOf = Callable[[str], str | None]
"""The name of a user by their id, where it is known."""

_DEEPEST: Final = 20
_GONE: Final = frozenset({"tombstone", "hidden_by_limit"})
_SAID_BY_APPS: Final = ("text", "fields", "elements", "title", "alt_text", "rows")
_ENTITY: Final = re.compile(r"<([^<>]*)>")
_AFTER_OUR_NAME: Final = " \t\n\u00a0:,"
_SIGNS: Final = (("&lt;", "<"), ("&gt;", ">"), ("&amp;", "&"))


class Own(Struct, frozen=True):
    """A mention of us."""


_Token = str | Own


class Words(Struct, frozen=True):
    """What a message says. ``mentions_us``: we are spoken to by name."""

    text: str
    mentions_us: bool = False


def words_of(message: Message, *, own_id: str, own_name: str | None, name_of: NameOf) -> Words:
    """The message's own words, without what it forwards. Our name in front of them is left out."""
    render = _Render(own_id, name_of)
    in_text = list(render.mrkdwn(message.text or ""))
    in_blocks = list(render.rich(_list(message.blocks)))
    tokens = in_blocks if not is_blank(_plain(in_blocks, own_id)) else in_text
    text = _plain(_without_our_name(tokens), own_name or own_id)
    if is_blank(text):
        text = _plain(tokens, own_name or own_id)
    return Words(sanitise(text).strip(), any(isinstance(token, Own) for token in (*in_text, *in_blocks)))


def words_of_app(message: Message, *, own_id: str, own_name: str | None, name_of: NameOf) -> str:
    """What an app's message says: apps may write all of it into blocks and attachments."""
    if text := words_of(message, own_id=own_id, own_name=own_name, name_of=name_of).text:
        return text
    render = _Render(own_id, name_of)
    lines = list(_strings(_list(message.blocks), _DEEPEST)) or [
        line for it in message.attachments for line in (it.pretext, it.title, it.text or it.fallback) if line
    ]
    return sanitise("\n".join(_plain(render.mrkdwn(line), own_name or own_id) for line in lines)).strip()


def words_of_shared(shared: Shared, *, own_id: str, own_name: str | None, name_of: NameOf) -> str:
    """What a forwarded message says. Its blocks are one level deeper than those of a message ("message_blocks")."""
    render = _Render(own_id, name_of)
    inner = [_at(_at(item, "message"), "blocks") for item in _list(shared.message_blocks)]
    tokens = [token for blocks in inner if isinstance(blocks, list) for token in render.rich(blocks)]
    if is_blank(text := _plain(tokens, own_name or own_id)):
        text = _plain(render.mrkdwn(shared.text or shared.fallback or ""), own_name or own_id)
    return sanitise(text).strip()


def quotation(author: str, text: str) -> str:
    """A message of somebody else, with who wrote it."""
    return "\n".join((f"[a message of {author or 'somebody'}:]", *(f"> {line}" for line in text.split("\n"))))


def one_line(text: str, at_most: int = 80) -> str:
    """A name that somebody gave to themselves: one line of a bounded length."""
    return " ".join(sanitise(text).split())[:at_most]


def attachments_of(files: tuple[File, ...]) -> Iterator[Attachment]:
    """``ref`` is the id of the file, because only files.info knows how it can be fetched in a Slack Connect channel."""
    for file in files:
        if file.id and file.mode not in _GONE:
            name = one_line(file.name or file.title or "", 250)
            yield Attachment(_kind_of(file), one_line(file.id), name or None, file.mimetype, file.size)


def _kind_of(file: File) -> AttachmentKind:
    if file.mode == "external":
        return "other"
    if file.subtype == "slack_audio":
        return "voice"
    kinds: Mapping[str, AttachmentKind] = {"image": "photo", "audio": "audio", "video": "video"}
    return kinds.get((file.mimetype or "").partition("/")[0], "document")


class _Render:
    """To text, with the mentions of us marked."""

    def __init__(self, own_id: str, name_of: NameOf) -> None:
        self._own_id = own_id
        self._name_of = name_of

    def mrkdwn(self, text: str) -> Iterator[_Token]:
        """``<…>`` is a mention or a link, and the three signs are escaped ("Formatting message text")."""
        at = 0
        for found in _ENTITY.finditer(text):
            yield _unescaped(text[at : found.start()])
            yield self._entity(found[1])
            at = found.end()
        yield _unescaped(text[at:])

    def _entity(self, inside: str) -> _Token:
        target, _, label = inside.partition("|")
        shown = _unescaped(label)
        match target[:1], target[1:]:
            case "@", user:
                return self._person(user, shown)
            case "#", channel:
                return f"#{shown or channel}"
            case "!", special:
                name = special.partition("^")
                if name[0] == "subteam":
                    return _with_sign("@", shown or name[2])
                return shown or (f"@{special}" if special in ("here", "channel", "everyone") else name[0])
        return _link(_unescaped(target), shown)

    def _person(self, user: str, label: str = "") -> _Token:
        if user == self._own_id:
            return Own()
        return _with_sign("@", self._name_of(user) or label or user)

    def rich(self, blocks: Sequence[object]) -> Iterator[_Token]:
        """Of the ``rich_text`` blocks, if there are no others: what is beside one was not typed by a person."""
        if not blocks or any(_at(block, "type") != "rich_text" for block in blocks):
            return
        last: _Token = "\n"
        for part in (part for block in blocks for part in _objects(_at(block, "elements"))):
            if isinstance(last, Own) or not last.endswith("\n"):
                yield "\n"
            for last in self._part(part):
                yield last

    def _part(self, part: Mapping[object, object]) -> Iterator[_Token]:
        elements = _objects(part.get("elements"))
        match part.get("type"):
            case "rich_text_preformatted":
                yield from ("```\n", *self._inline(elements, is_code=True), "\n```")
            case "rich_text_quote":
                yield "> "
                for token in self._inline(elements):
                    yield token.replace("\n", "\n> ") if isinstance(token, str) else token
            case "rich_text_list":
                yield from self._list(part, elements)
            case _:
                yield from self._inline(elements)

    def _list(self, part: Mapping[object, object], items: Iterable[Mapping[object, object]]) -> Iterator[_Token]:
        indent, offset = (value if isinstance(value := part.get(key), int) else 0 for key in ("indent", "offset"))
        for number, item in enumerate(items):
            mark = f"{offset + number + 1}. " if part.get("style") == "ordered" else "- "
            yield "\n" * bool(number) + "  " * min(max(indent, 0), 8) + mark
            yield from self._inline(_objects(item.get("elements")))

    def _inline(self, elements: Iterable[Mapping[object, object]], *, is_code: bool = False) -> Iterator[_Token]:
        for element in elements:
            token = self._element(element)
            if isinstance(token, str) and token and not is_code and _at(element.get("style"), "code") is True:
                token = f"`{token}`"
            yield token

    def _element(self, element: Mapping[object, object]) -> _Token:
        def field(key: str) -> str:
            value = element.get(key)
            return value if isinstance(value, str) else ""

        match element.get("type"):
            case "link":
                return _link(field("url"), field("text"))
            case "user":
                return self._person(field("user_id"))
            case "usergroup":
                return _with_sign("@", field("usergroup_id"))
            case "broadcast":
                return _with_sign("@", field("range"))
            case "channel":
                return _with_sign("#", field("channel_id"))
            case "emoji":
                return _emoji(field("unicode")) or f":{field('name')}:"
            case "date":
                return field("fallback") or str(element.get("timestamp", ""))
            case _:
                return field("text") or field("value")


def _without_our_name(tokens: Sequence[_Token]) -> list[_Token]:
    """Without the mentions of us at the beginning, and what stands between them and the words."""
    rest = list(tokens)
    while rest and (isinstance(rest[0], Own) or not rest[0].strip()):
        is_own = isinstance(rest.pop(0), Own)
        if is_own and rest and isinstance(rest[0], str):
            rest[0] = rest[0].lstrip(_AFTER_OUR_NAME)
    return rest


def _plain(tokens: Iterable[_Token], own_name: str) -> str:
    return "".join(token if isinstance(token, str) else f"@{own_name}" for token in tokens)


def _unescaped(text: str) -> str:
    for sign, letter in _SIGNS:
        text = text.replace(sign, letter)
    return text


def _with_sign(sign: str, name: str) -> str:
    return name if name.startswith(sign) else f"{sign}{one_line(name)}"


def _link(url: str, label: str) -> str:
    address = url.removeprefix("mailto:").removeprefix("tel:")
    return address if not label or label.rstrip("/") in (url.rstrip("/"), address.rstrip("/")) else f"{label} ({address})"


def _emoji(unicode: str) -> str:
    """ "Emoji element": the code points in hexadecimal, joined by hyphens."""
    try:
        return "".join(chr(int(point, 16)) for point in unicode.split("-")) if unicode else ""
    except (ValueError, OverflowError):
        return ""


def _list(raw: Raw) -> list[object]:
    try:
        return decode(raw, list[object]) if bytes(raw) else []
    except Malformed:
        return []


def _objects(value: object) -> list[Mapping[object, object]]:
    return [item for item in value if isinstance(item, Mapping)] if isinstance(value, list) else []


def _at(value: object, key: str) -> object:
    return value.get(key) if isinstance(value, Mapping) else None


def _strings(value: object, depth: int) -> Iterator[str]:
    """What can be read in blocks of an app, from the top to the bottom."""
    if depth == 0:
        return
    if isinstance(value, list):
        for item in value:
            yield from _strings(item, depth - 1)
    elif isinstance(value, Mapping):
        for key in _SAID_BY_APPS:
            inside = value.get(key)
            if isinstance(inside, str) and inside.strip():
                yield inside
            else:
                yield from _strings(inside, depth - 1)
