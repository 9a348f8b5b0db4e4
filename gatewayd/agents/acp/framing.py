"""Finds the messages in a line. Pure."""

import json
import re
from collections.abc import Iterator
from typing import Final

from gatewayd.agents.acp.wire import Message, read_message

LINE_MAX: Final = 8 * 1024 * 1024
"""Bytes of one message. The output of a tool and the history of a session come as single lines, so it is generous."""

_OBJECTS_MAX: Final = 20
"""So many beginnings of objects are tried in vain, in a line that is no message as a whole."""
_BEGINNING: Final = re.compile(r'\{\s*"')
# It only finds the end of an object; kit.json decodes it.
_DECODER: Final = json.JSONDecoder(strict=False)


def messages_in(line: bytes) -> Iterator[Message | bytes]:
    """The messages in a line, in order, and as bytes what is between them.

    The protocol has one message per line and nothing else. But an agent's libraries may print something without a line end, which
    then stands before a message: control sequences of a terminal, a prompt, a warning. Or two messages stand in one line.
    """
    if not line.strip():
        return
    if (whole := read_message(line)) is not None:
        yield whole if whole.says_something else line
        return
    text = line.decode(errors="surrogateescape")
    taken = 0
    for start, end, message in _objects(text):
        if message.says_something:
            yield from _noise(text[taken:start])
            yield message
            taken = end
    yield from _noise(text[taken:])


def _objects(text: str) -> Iterator[tuple[int, int, Message]]:
    """Whole objects in a line, none within another."""
    at = tried = 0
    while tried < _OBJECTS_MAX and (beginning := _BEGINNING.search(text, at)):
        start = beginning.start()
        end = _end_of_object(text, start)
        message = None if end is None else read_message(_bytes(text[start:end]))
        tried += message is None or not message.says_something
        at = start + 1
        if end is not None and message is not None:
            yield start, end, message
            at = end


def _end_of_object(text: str, start: int) -> int | None:
    try:
        return _DECODER.raw_decode(text, start)[1]
    except (ValueError, RecursionError):
        return None


def _noise(part: str) -> Iterator[bytes]:
    if part.strip():
        yield _bytes(part)


def _bytes(text: str) -> bytes:
    return text.encode(errors="surrogateescape")
