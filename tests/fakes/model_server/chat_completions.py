"""``POST /v1/chat/completions`` (OpenAI API reference, "Chat"): its requests, its chunks and its whole answers."""

from typing import Any
from uuid import uuid4

import msgspec

from tests.fakes.bot_api.http_server import Send
from tests.fakes.model_server.exchange import (
    Json,
    Message,
    Understood,
    Wait,
    begin,
    end_early,
    plain_text,
    role_of,
    send_pieces,
    text_of,
    usage_words,
)
from tests.fakes.model_server.script import Answer

_CREATED = 1_790_000_000


def understand(body: Json) -> Understood:
    messages = tuple(Message(role_of(message["role"]), text_of(message.get("content"))) for message in body["messages"])
    tools = tuple(tool["function"]["name"] for tool in body.get("tools") or ())
    return Understood(messages, tools, body["model"], bool(body.get("stream")))


def whole(understood: Understood, answer: Answer) -> Json:
    """The answer to a request without ``stream``."""
    message: Json = {"role": "assistant", "content": plain_text(answer) or None, "refusal": None}
    if answer.calls:
        message["tool_calls"] = [_tool_call(call_id, name, args) for call_id, name, args in _calls(answer)]
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": answer.finish}
    return {**_frame(understood, "chat.completion"), "choices": [choice], "usage": _usage(understood, answer)}


async def write(body: Json, understood: Understood, answer: Answer, send: Send, wait: Wait) -> None:
    """The chunks of a streamed answer. :raises ConnectionCut: the script says so."""
    frame = _frame(understood, "chat.completion.chunk")

    async def chunk(delta: Json, finish: str | None = None) -> None:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        await send(_event({**frame, "choices": [choice]}))

    async def text(piece: str) -> None:
        await chunk({"content": piece})

    await begin(answer, wait)
    await chunk({"role": "assistant", "content": ""})
    if answer.thought:
        await chunk({"reasoning_content": answer.thought})  # as DeepSeek, vLLM and others do
    await send_pieces(answer, wait, text)
    if answer.failure is not None:
        await send(_event({"error": {"message": answer.failure.message, "type": "server_error", "code": None}}))
        await send(b"data: [DONE]\n\n")
        return
    for index, (call_id, name, arguments) in enumerate(_calls(answer)):
        half = len(arguments) // 2
        await chunk({"tool_calls": [{"index": index, **_tool_call(call_id, name, "")}]})
        for part in (arguments[:half], arguments[half:]):
            await chunk({"tool_calls": [{"index": index, "function": {"arguments": part}}]})
    if end_early(answer):
        return
    await chunk({}, answer.finish)
    if (body.get("stream_options") or {}).get("include_usage"):
        await send(_event({**frame, "choices": [], "usage": _usage(understood, answer)}))
    await send(b"data: [DONE]\n\n")


def _event(value: Json) -> bytes:
    return b"data: " + msgspec.json.encode(value) + b"\n\n"


def _frame(understood: Understood, kind: str) -> Json:
    return {"id": f"chatcmpl-{uuid4().hex[:12]}", "object": kind, "created": _CREATED, "model": understood.model}


def _calls(answer: Answer) -> list[tuple[str, str, str]]:
    return [(call.call_id, call.name, call.arguments) for call in answer.calls]


def _tool_call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def _usage(understood: Understood, answer: Answer) -> Json:
    words_in, words_out = usage_words(understood, answer)
    return {"prompt_tokens": words_in, "completion_tokens": words_out, "total_tokens": words_in + words_out}
