"""What both APIs have in common: a request as it was understood, and an answer as it goes out."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from tests.fakes.bot_api.http_server import ConnectionCut
from tests.fakes.model_server.script import Answer, Hold

Json = dict[str, Any]
Wait = Callable[[str], Awaitable[None]]


class Message(Struct, frozen=True):
    """One message or tool result of a conversation. ``role`` is system, user, assistant or tool."""

    role: str
    text: str


class Understood(Struct, frozen=True):
    """``messages`` are the whole conversation, as far as this server knows it. ``tools`` are the names that are offered."""

    messages: tuple[Message, ...]
    tools: tuple[str, ...]
    model: str
    stream: bool

    @property
    def system(self) -> str:
        return "\n".join(message.text for message in self.messages if message.role == "system")

    @property
    def text(self) -> str:
        """The last user text."""
        return next((message.text for message in reversed(self.messages) if message.role == "user"), "")

    @property
    def results(self) -> tuple[str, ...]:
        """The tool results after the last user text."""
        last = max((at for at, message in enumerate(self.messages) if message.role == "user"), default=-1)
        return tuple(message.text for message in self.messages[last + 1 :] if message.role == "tool")


def text_of(content: object) -> str:
    """A content that is a text, or a list of parts some of which have a text."""
    if isinstance(content, str):
        return content
    if isinstance(content, Sequence):
        return "\n".join(str(part["text"]) for part in content if isinstance(part, Mapping) and "text" in part)
    return ""


def role_of(role: object) -> str:
    return "system" if role == "developer" else str(role)


async def send_pieces(answer: Answer, wait: Wait, send_text: Callable[[str], Awaitable[None]]) -> None:
    """The text, piece by piece, with its pauses."""
    for piece in answer.pieces:
        if isinstance(piece, Hold):
            await wait(piece.text)
        else:
            await send_text(piece)


async def begin(answer: Answer, wait: Wait) -> None:
    if answer.first is not None:
        await wait(answer.first.text)


def end_early(answer: Answer) -> bool:
    """Whether the stream has no proper end. :raises ConnectionCut: it is to be reset."""
    if answer.reset:
        raise ConnectionCut
    return answer.finish is None


def plain_text(answer: Answer) -> str:
    return "".join(piece for piece in answer.pieces if isinstance(piece, str))


def usage_words(understood: Understood, answer: Answer) -> tuple[int, int]:
    """Tokens in and out: a word is a token here."""
    return sum(len(message.text.split()) for message in understood.messages), len(plain_text(answer).split())
