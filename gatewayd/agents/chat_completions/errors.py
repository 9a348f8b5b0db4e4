"""The meaning of model servers' errors: a retry helps, or a shorter conversation, or only a person. Pure.

The patterns are those of llama.cpp, vLLM, TGI, TensorRT-LLM, llama-cpp-python, LM Studio, Ollama, OpenAI, Anthropic, Mistral,
xAI, Groq, Gemini, Moonshot, DashScope and OpenRouter, from their sources, documents and users' reports.
"""

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

from gatewayd.agents.chat_completions.wire import WHAT, words_in, words_of
from gatewayd.model.errors import AgentFailed, NeedsOperator, OutcomeUnknown, TryAgain

_NO_CREDIT: Final = re.compile(
    r"insufficient[_ ](?:quota|balance|credits?|funds)|exceeded_current_quota_error|credit_balance_exhausted"
    r"|credit balance is too low|billing_(?:hard_limit_reached|not_active|error)|(?:spend|usage)_limit_exceeded"
    r"|payment_required|arrearage",
    re.IGNORECASE,
)
_CONTEXT_FULL: Final = re.compile(
    r"context_length_exceeded|context_window_exceeded|exceed_context_size|model_max_prompt_tokens_exceeded"
    r"|\bcontext (?:length|window|size|limit)|when context the overflows|tokens to keep from the initial prompt"
    r"|(?:prompt|input|message|request)s?(?: \w+)? (?:is |are |was )?too (?:long|large)\b|prompt 超长"
    r"|maximum prompt length|too large for model|too many tokens|reduce (?:the length|your (?:prompt|message|input))"
    r"|input token count|input length|max_new_tokens` must be|maximum number of (?:input )?tokens|tokens must be reduced"
    r"|`inputs` must have less|exceeds? (?:the )?max(?:imum)? length|exceeded model token limit",
    re.IGNORECASE,
)
_BUSY: Final = re.compile(r"rate_limit|overloaded", re.IGNORECASE)
_NOT_OF_THE_LENGTH: Final = (401, 402, 403, 404)


class ContextFull(AgentFailed):
    """The conversation is longer than the model's context."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, kind="too_long")


def error_of_status(status: int, body: bytes, *, after_seconds: float | None, repeatable: bool) -> Exception:
    """The error that a status other than 200 means. ``repeatable``: to send the request twice does no harm."""
    words = words_in(body)
    why = f"{WHAT} answers {status} {_phrase(status)}{': ' if words else ''}{words}"
    return _cure(status, why, body.decode("utf-8", "replace"), after_seconds=after_seconds, repeatable=repeatable)


def error_in_answer(error_value: object, text: str, *, repeatable: bool) -> Exception:
    """The error that comes instead of an answer, after the status 200. ``text`` is all that the server says of it. Many servers
    have the real status in the error's code."""
    status = _meant(error_value) if isinstance(error_value, dict) else 200
    meant = f" {status} {_phrase(status)}".rstrip() if status != 200 else ""
    why = f"{WHAT} answers with an error{meant}: {words_of(error_value) or 'it does not say which'}"
    return _cure(status, why, text, after_seconds=None, repeatable=repeatable)


def _meant(error_value: Mapping[str, object]) -> int:
    signs = [str(error_value.get(key)) for key in ("code", "status", "type")]
    for sign in signs:
        if re.fullmatch(r"[45]\d\d", sign):
            return int(sign)
    return HTTPStatus.TOO_MANY_REQUESTS if any(_BUSY.search(sign) for sign in signs) else HTTPStatus.OK


def _cure(status: int, why: str, text: str, *, after_seconds: float | None, repeatable: bool) -> Exception:
    if status in (401, 403) and not _NO_CREDIT.search(text):
        return NeedsOperator(f"{why}; it refuses the key: set api_key")
    if status == 402 or _NO_CREDIT.search(text):
        return NeedsOperator(f"{why}; no waiting mends that: it is a matter of the account's credit")
    if status == 413 or (status not in _NOT_OF_THE_LENGTH and _CONTEXT_FULL.search(text)):
        return ContextFull(why)
    if status in (429, 503) or (repeatable and (status >= 500 or status == 408)):
        return TryAgain(why, after_seconds=after_seconds)
    return OutcomeUnknown(why) if status >= 500 else AgentFailed(why)


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""
