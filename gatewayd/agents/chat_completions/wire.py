"""The JSON of ``POST /chat/completions`` (OpenAI API reference, "Chat"), as many servers have it. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from msgspec import Struct

from gatewayd.kit import json

WHAT: Final = "the model's server"

_WORDS_MAX = 300
_WORDS_DEPTH = 6
_WHERE_WORDS_ARE = ("error", "message", "detail", "msg", "errors", "reason", "raw", "code", "type")
_TEXT_PARTS = ("text", "output_text", "refusal")


class Message(Struct, frozen=True):
    role: str
    content: str


class ChatRequest(Struct, frozen=True, omit_defaults=True):
    """No tools are offered."""

    model: str
    messages: tuple[Message, ...]
    stream: bool
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None


class Delta(Struct):
    """A piece of the answer, or a whole message. ``content`` is a text or a list of parts (Mistral's thinking models, Anthropic's
    behind some proxies); reasoning comes under two names (DeepSeek, vLLM, OpenRouter)."""

    content: object = None
    refusal: str | None = None
    reasoning: object = None
    reasoning_content: object = None
    tool_calls: object = None

    @property
    def thinks(self) -> bool:
        return bool(self.reasoning or self.reasoning_content or (isinstance(self.content, list) and self.content))


class Choice(Struct):
    index: int | str | None = 0
    delta: Delta | None = None
    message: Delta | None = None
    finish_reason: str | None = None

    @property
    def is_first(self) -> bool:
        return self.index in (0, None, "0")

    @property
    def finish(self) -> str | None:
        """Some servers write "null" for null."""
        return self.finish_reason if self.finish_reason not in (None, "", "null", "none") else None


class Chunk(Struct):
    """An event of a stream, or a whole answer. After a status 200 an error comes as an object (OpenClaw, OpenRouter), as plain
    text (Ollama), or as the whole event (vLLM). ``detail`` is from FastAPI, which vLLM and others use."""

    choices: list[Choice] | None = None
    error: Any = None
    object: str | None = None
    type: str | None = None
    message: Any = None
    detail: Any = None
    code: Any = None

    def error_value(self, *, surely: bool) -> Any:
        """The server's error in its own shape, or None. ``surely``: it is not one event among others, so that a text instead of
        an answer is an error."""
        if self.error or isinstance(self.error, dict):
            return self.error
        if self.choices is None and (surely or "error" in (self.object, self.type)) and (words := self.message or self.detail):
            return {"message": words, "code": self.code}
        return None


def read_chunk(data: str | bytes) -> Chunk:
    """:raises kit.json.Malformed: it is no chunk."""
    return json.decode(data, Chunk, lenient=True, keep_halves=True)


def text_of(content: object) -> str:
    """The visible text of a content: a text, or the texts of its parts. Reasoning is not shown.

    :raises kit.json.Malformed: it is neither.
    """
    match content:
        case None:
            return ""
        case str():
            return content
        case list():
            return "".join(_part(part) for part in content)
        case {"type": str()}:
            return _part(content)
    raise json.Malformed("Expected a text or a list of parts")


def _part(part: object) -> str:
    match part:
        case str():
            return part
        case {"type": kind, **more} if kind in _TEXT_PARTS:
            text = more.get("text") or more.get("refusal")
            return text if isinstance(text, str) else ""
    return ""


def words_of(error_value: object) -> str:
    """The provider's own error text, in one bounded line."""
    found = list(dict.fromkeys(_words(error_value, _WORDS_DEPTH)))
    return one_line(": ".join(found[:2]))


def _words(error_value: object, depth: int) -> Iterator[str]:
    """The first text, and the text of the provider behind a router (OpenRouter's metadata.raw)."""
    match error_value:
        case str():
            yield from filter(None, (one_line(error_value),))
        case Mapping() if depth:
            yield from next((words for key in _WHERE_WORDS_ARE if (words := [*_words(error_value.get(key), depth - 1)])), ())
            if isinstance(metadata := error_value.get("metadata"), Mapping):
                yield from _words(metadata.get("raw"), depth - 1)
        case [first, *_] if depth:
            yield from _words(first, depth - 1)


def words_in(body: bytes) -> str:
    """The error text in a body; empty for a proxy's page."""
    try:
        return words_of(json.decode(body, object))
    except json.Malformed:
        return ""


def one_line(text: str) -> str:
    return " ".join(json.whole(text[: _WORDS_MAX * 2]).split())[:_WORDS_MAX]
