"""What goes over the socket, as structs. Nothing here does any I/O.

Yours: the messages of your network as structs, ``decode`` for what comes and ``encode`` for what goes.
"""

import msgspec
from msgspec import Struct


class Say(Struct, tag="say"):
    """From the client: the user writes ``text``. ``id`` is random. A client says a line again until it is told ``Got``."""

    id: str
    text: str


class Got(Struct, tag="got"):
    """In both directions: what has this ``id`` has arrived, and need not be said again."""

    id: str


class Hello(Struct, tag="hello"):
    """To the client, first of all: the id of its user."""

    user: str


class Message(Struct, tag="message"):
    """To the client: something to show. With the id of an earlier message it takes that one's place."""

    id: str
    text: str


def decode(line: bytes) -> Say | Got:
    """:raises msgspec.DecodeError: it is none of our objects."""
    frame: Say | Got = msgspec.json.decode(line, type=Say | Got)
    return frame


def encode(frame: Got | Hello | Message) -> bytes:
    return msgspec.json.encode(frame) + b"\n"
