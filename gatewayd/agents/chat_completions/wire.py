"""The bytes of ``POST /chat/completions`` (OpenAI API reference, "Chat") as many servers speak them. Pure.

Beyond the reference: errors come inside a stream that began with 200 (OpenClaw, OpenRouter, vLLM), as an object or a plain text
(Ollama), or as finish_reason "error" (Hermes); some servers end without [DONE], some without finish_reason; Hermes mixes in
events of its own. So an answer is whole when either end was seen, and nothing that went wrong.
"""

from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from gatewayd.model.errors import AgentFailed, NeedsOperator, OutcomeUnknown, TryAgain

WHAT: Final = "the model's server"
REPLY_MAX: Final = 1_000_000
"""Characters of a reply, the hub's own limit."""
EVENT_BYTES: Final = 1024 * 1024
"""Of one event: a piece of a reply."""

CUT_OFF: Final = "*(The answer ends here because it reached its length limit.)*"

_WORDS_MAX = 300
_DONE = "[DONE]"
_NO_REPLY = {
    "tool_calls": "wants to call a tool, but this core has none: use a core with tools, or a model that does not ask for them",
    "function_call": "wants to call a function, but this core has none",
    "content_filter": "stopped at the provider's content filter",
    "error": "ended with an error",
    "abort": "was aborted by its server",
}


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


class _Error(Struct):
    message: str | None = None


class _Delta(Struct):
    content: str | None = None
    refusal: str | None = None
    reasoning: str | None = None
    reasoning_content: str | None = None
    tool_calls: list[msgspec.Raw] | None = None


class _Choice(Struct):
    index: int = 0
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(Struct):
    choices: list[_Choice] | None = None
    error: _Error | str | None = None


class _Refusal(Struct):
    """What a body of an error may hold. ``detail`` is FastAPI's, which vLLM and others are built on."""

    error: _Error | str | None = None
    message: str | None = None
    detail: str | None = None


class StreamedAnswer:
    """An answer as far as it has come. ``begun``: the model has said or thought something."""

    def __init__(self) -> None:
        self.begun = False
        self._pieces: list[str] = []
        self._size = 0
        self._finish: str | None = None
        self._done = False

    @property
    def complete(self) -> bool:
        return self._done or self._finish is not None

    def take(self, data: str) -> str:
        """One event of the stream; returns the new piece of the reply, perhaps "".

        :raises AgentFailed: it is an error, no chunk at all, or the reply gets too long.
        """
        if data.strip() == _DONE:
            self._done = True
        if self._done or not data.strip():
            return ""
        try:
            chunk = msgspec.json.decode(data, type=_Chunk)
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            raise AgentFailed(f"{WHAT} sent what is no chunk of an answer: {_one_line(data)}") from None
        if chunk.error is not None:
            raise AgentFailed(f"{WHAT} broke off: {_words_of(chunk.error) or 'it did not say why'}")
        return "".join(self._take_choice(choice) for choice in chunk.choices or () if choice.index == 0)

    def _take_choice(self, choice: _Choice) -> str:
        self._finish = choice.finish_reason or self._finish
        delta = choice.delta or _Delta()
        piece = delta.content or delta.refusal or ""
        self.begun = self.begun or bool(piece or delta.reasoning or delta.reasoning_content or delta.tool_calls)
        self._size += len(piece)
        if self._size > REPLY_MAX:
            raise AgentFailed(f"the reply is longer than {REPLY_MAX} characters")
        self._pieces.append(piece)
        if delta.tool_calls:
            raise AgentFailed(f"the model {_NO_REPLY['tool_calls']}")
        return piece

    def text(self) -> str:
        """The whole reply. :raises AgentFailed: it is none, or not whole."""
        if not self.complete:
            raise AgentFailed(f"{WHAT} ended its answer in the middle")
        text = "".join(self._pieces)
        if self._finish in _NO_REPLY:
            said = f": {_one_line(text)}" if self._finish == "error" and text else ""
            raise AgentFailed(f"the model {_NO_REPLY[self._finish]}{said}")
        return f"{text}\n\n{CUT_OFF}".lstrip() if self._finish == "length" else text


def refusal(status: int, body: bytes, *, after_seconds: float | None, repeatable: bool) -> Exception:
    """What a status other than 200 means. ``repeatable``: doing the request twice is as good as once."""
    words = _words_in(body)
    why = f"{WHAT} answers {status} {_phrase(status)}{': ' if words else ''}{words}"
    if status in (401, 403):
        return NeedsOperator(f"{why}; it refuses the key: set api_key")
    if status in (429, 503) or (repeatable and (status >= 500 or status == 408)):
        return TryAgain(why, after_seconds=after_seconds)
    return OutcomeUnknown(why) if status >= 500 else AgentFailed(why)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


def _words_in(body: bytes) -> str:
    try:
        found = msgspec.json.decode(body, type=_Refusal)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return ""  # a page of some proxy's: nothing for a log
    return _words_of(found.error) or _one_line(found.message or found.detail or "")


def _words_of(error: _Error | str | None) -> str:
    return _one_line((error.message or "") if isinstance(error, _Error) else (error or ""))


def _one_line(text: str) -> str:
    return " ".join(text[: _WORDS_MAX * 2].split())[:_WORDS_MAX]
