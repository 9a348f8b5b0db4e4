"""What goes through the program's pipes, as structs. Nothing here does any I/O."""

import msgspec
from msgspec import Struct


class Start(Struct, tag="start"):
    """To the program, first of all: the user's words, and the id of the session in which they were said."""

    session: str
    text: str


class Answer(Struct, tag="answer"):
    """To the program: what came of its line ``ref``. ``answers`` None: nobody answered the question."""

    ref: str
    allowed: bool = False
    answers: tuple[str, ...] | None = None


class Text(Struct, tag="text"):
    """From the program: a piece of the reply."""

    text: str


class Tool(Struct, tag="tool"):
    """From the program: it asks whether it may use a tool with this input, which is any JSON."""

    ref: str
    tool: str
    input: object


class Ask(Struct, tag="ask"):
    """From the program: a question to the user."""

    ref: str
    text: str
    options: tuple[str, ...] = ()


class Done(Struct, tag="done"):
    """From the program, last of all. ``error``: the turn has failed, and why."""

    error: str | None = None


Line = Text | Tool | Ask | Done


def decode(line: bytes) -> Line:
    """:raises msgspec.DecodeError: it is none of the program's lines."""
    decoded: Line = msgspec.json.decode(line, type=Line)
    return decoded


def encode(line: Start | Answer) -> bytes:
    return msgspec.json.encode(line) + b"\n"
