"""Lines of IRC, as structs and back. Nothing here does any I/O.

Sources: RFC 1459 and RFC 2812 (messages), modern.ircdocs.horse (parsing, RPL_ISUPPORT), IRCv3 message-tags (tags and their
escapes).
"""

import re
from collections.abc import Callable, Iterable, Mapping
from string import ascii_lowercase, ascii_uppercase
from typing import Final

from msgspec import Struct

_UNESCAPED: Final = {":": ";", "s": " ", "r": "\r", "n": "\n"}
_ESCAPED: Final = {ord(char): f"\\{sign}" for sign, char in (*_UNESCAPED.items(), ("\\", "\\"))}
_FORBIDDEN: Final = re.compile("[\r\n\0]")


class Malformed(ValueError):
    """What the server sent is no message of IRC."""


class Message(Struct, frozen=True):
    """One message. ``source`` is ``nick!user@host``, the name of a server, or empty."""

    command: str
    params: tuple[str, ...] = ()
    source: str = ""
    tags: Mapping[str, str] = {}

    @property
    def nick(self) -> str:
        """Who sent it: a nick, or the name of a server."""
        return self.source.partition("!")[0].partition("@")[0]

    @property
    def host(self) -> str:
        """The host of the user who sent it; empty for a server."""
        return self.source.rpartition("@")[2] if "@" in self.source else ""

    @property
    def target(self) -> str:
        """The first parameter, or nothing."""
        return self.params[0] if self.params else ""

    @property
    def text(self) -> str:
        """The last parameter, or nothing."""
        return self.params[-1] if self.params else ""


def parse(line: bytes) -> Message:
    """A line without its end. What is no UTF-8 is read as Latin-1, as it was common before.

    :raises Malformed: there is no command in it.
    """
    try:
        rest = line.decode()
    except UnicodeDecodeError:
        rest = line.decode("latin-1")
    tags: dict[str, str] = {}
    if rest.startswith("@"):
        data, _, rest = rest[1:].partition(" ")
        pairs = (tag.partition("=") for tag in data.split(";") if tag)
        tags = {key: _unescape(value) for key, _, value in pairs}  # of a repeated key, the last counts
    rest, source = rest.lstrip(" "), ""
    if rest.startswith(":"):
        source, _, rest = rest[1:].partition(" ")
    head, has_trailing, trailing = rest.partition(" :")
    words = [word for word in head.split(" ") if word]
    if not words or words[0].startswith(":"):
        raise Malformed("a line without a command")
    return Message(words[0].upper(), (*words[1:], *([trailing] if has_trailing else [])), source, tags)


def render(command: str, *params: str, tags: Mapping[str, str] | None = None) -> bytes:
    """The line of a client, with its end.

    :raises ValueError: a parameter would be read as something else: it has a line end or NUL, or is not the last and is empty,
        has a space, or begins with a colon.
    """
    *middle, last = params or ("",)
    if any(not word or " " in word or word.startswith(":") for word in (command, *middle)):
        raise ValueError(f"{command}: a parameter cannot be written")
    needs_colon = not last or " " in last or last.startswith(":")
    words = [command, *middle, *([f":{last}" if needs_colon else last] if params else [])]
    line = " ".join(words)
    if _FORBIDDEN.search(line):
        raise ValueError(f"{command}: a line end or NUL in a parameter")
    head = ";".join(f"{key}={value.translate(_ESCAPED)}" if value else key for key, value in (tags or {}).items())
    return (f"@{head} {line}" if head else line).encode() + b"\r\n"


def _unescape(value: str) -> str:
    """A backslash before any other character, or at the end, is left out."""
    return re.sub(r"\\(.?)", lambda found: _UNESCAPED.get(found[1], found[1]), value, flags=re.DOTALL)


_ASCII: Final = str.maketrans(ascii_uppercase, ascii_lowercase)
_MAPPINGS: Final[Mapping[str, Callable[[str], str]]] = {
    "ascii": lambda text: text.translate(_ASCII),
    "rfc1459": lambda text: text.translate({**_ASCII, **str.maketrans("[]\\^", "{}|~")}),
    "rfc1459-strict": lambda text: text.translate({**_ASCII, **str.maketrans("[]\\", "{}|")}),
}


def _fold_unicode(text: str) -> str:
    """In lower case, where that is as long."""
    return "".join(lower if len(lower := char.lower()) == 1 else char for char in text)


class Support:
    """What the server says of itself in RPL_ISUPPORT (005), with the defaults of RFC 1459."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def learn(self, tokens: Iterable[str]) -> None:
        """``tokens`` are those of one line: ``NAME``, ``NAME=VALUE``, or ``-NAME``, which takes one back."""
        for token in tokens:
            name, _, value = token.partition("=")
            if name.startswith("-"):
                self._tokens.pop(name[1:], None)
            else:
                self._tokens[name] = re.sub(r"\\x([0-9A-Fa-f]{2})", lambda found: chr(int(found[1], 16)), value)

    def __contains__(self, name: str) -> bool:
        return name in self._tokens

    def get(self, name: str, default: str = "") -> str:
        return self._tokens.get(name) or default

    def number(self, name: str, default: int) -> int:
        value = self._tokens.get(name, "")
        return int(value) if value.isascii() and value.isdecimal() else default

    def fold(self, text: str) -> str:
        """The one spelling of a nick or channel, by CASEMAPPING. It is as long as ``text``."""
        return _MAPPINGS.get(self.get("CASEMAPPING", "rfc1459"), _fold_unicode)(text)

    def is_channel(self, target: str) -> bool:
        return target.startswith(tuple(self.get("CHANTYPES", "#&")))
