"""``POST /v1/responses`` (OpenAI API reference, "Responses" and "Streaming events"): its items and its events."""

from collections.abc import Mapping, Sequence
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
from tests.fakes.model_server.script import Answer, Call

_CREATED = 1_790_000_000


def understand(body: Json, before: Sequence[Message]) -> Understood:
    """``before`` is the conversation of ``previous_response_id``."""
    given = body.get("input") or ()
    items = [{"role": "user", "content": given}] if isinstance(given, str) else given
    messages = [*before, *(_message(item) for item in items)]
    if body.get("instructions"):
        messages.insert(0, Message("system", body["instructions"]))
    tools = tuple(tool.get("name") or tool["type"] for tool in body.get("tools") or ())
    return Understood(tuple(messages), tools, body["model"], bool(body.get("stream")))


def _message(item: Mapping[str, Any]) -> Message:
    match item.get("type", "message"):
        case "function_call_output":
            return Message("tool", _output(item["output"]))
        case "message":
            return Message(role_of(item["role"]), text_of(item.get("content")))
        case _:
            return Message("assistant", "")


def _output(output: object) -> str:
    return output if isinstance(output, str) else text_of(output) or msgspec.json.encode(output).decode()


def new_id() -> str:
    return f"resp_{uuid4().hex}"


def whole(response_id: str, understood: Understood, answer: Answer) -> Json:
    """The answer to a request without ``stream``, and the last event of one with it."""
    state = "completed" if answer.finish in ("stop", "tool_calls") else "incomplete"
    words_in, words_out = usage_words(understood, answer)
    return {
        **_frame(response_id, understood, state),
        "output": _items(answer),
        "incomplete_details": None if state == "completed" else {"reason": "max_output_tokens"},
        "usage": {
            "input_tokens": words_in,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens": words_out,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": words_in + words_out,
        },
    }


async def write(response_id: str, understood: Understood, answer: Answer, send: Send, wait: Wait) -> None:
    """The events of a streamed answer. :raises ConnectionCut: the script says so."""
    number = 0

    async def event(kind: str, fields: Json) -> None:
        nonlocal number
        body = msgspec.json.encode({"type": kind, "sequence_number": number, **fields})
        number += 1
        await send(b"event: " + kind.encode() + b"\ndata: " + body + b"\n\n")

    await begin(answer, wait)
    frame = _frame(response_id, understood, "in_progress")
    await event("response.created", {"response": frame})
    await event("response.in_progress", {"response": frame})
    if answer.pieces:
        await _write_text(event, answer, wait)
    if answer.failure is not None:
        error = {"code": "server_error", "message": answer.failure.message}
        await event("response.failed", {"response": {**frame, "status": "failed", "error": error}})
        return
    for index, call in enumerate(answer.calls, start=1 if answer.pieces else 0):
        await _write_call(event, index, call)
    if end_early(answer):
        return
    last = whole(response_id, understood, answer)
    await event(f"response.{last['status']}", {"response": last})


async def _write_text(event: Any, answer: Answer, wait: Wait) -> None:
    item_id = f"msg_{uuid4().hex}"
    place = {"item_id": item_id, "output_index": 0, "content_index": 0}
    empty = {"id": item_id, "type": "message", "status": "in_progress", "role": "assistant", "content": []}

    async def delta(piece: str) -> None:
        await event("response.output_text.delta", {**place, "delta": piece, "logprobs": []})

    await event("response.output_item.added", {"output_index": 0, "item": empty})
    await event("response.content_part.added", {**place, "part": _part("")})
    await send_pieces(answer, wait, delta)
    if answer.finish is None or answer.failure is not None:
        return
    text = plain_text(answer)
    await event("response.output_text.done", {**place, "text": text, "logprobs": []})
    await event("response.content_part.done", {**place, "part": _part(text)})
    await event("response.output_item.done", {"output_index": 0, "item": _text_item(item_id, text)})


async def _write_call(event: Any, index: int, call: Call) -> None:
    item = _call_item(call)
    place = {"item_id": item["id"], "output_index": index}
    half = len(call.arguments) // 2
    await event("response.output_item.added", {"output_index": index, "item": {**item, "status": "in_progress", "arguments": ""}})
    for part in (call.arguments[:half], call.arguments[half:]):
        await event("response.function_call_arguments.delta", {**place, "delta": part})
    await event("response.function_call_arguments.done", {**place, "arguments": call.arguments})
    await event("response.output_item.done", {"output_index": index, "item": item})


def _frame(response_id: str, understood: Understood, status: str) -> Json:
    return {
        "id": response_id,
        "object": "response",
        "created_at": _CREATED,
        "status": status,
        "error": None,
        "model": understood.model,
        "output": [],
        "usage": None,
    }


def _items(answer: Answer) -> list[Json]:
    text = plain_text(answer)
    said = [_text_item(f"msg_{uuid4().hex}", text)] if text else []
    return [*said, *(_call_item(call) for call in answer.calls)]


def _text_item(item_id: str, text: str) -> Json:
    return {"id": item_id, "type": "message", "status": "completed", "role": "assistant", "content": [_part(text)]}


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(call: Call) -> Json:
    return {
        "id": f"fc_{uuid4().hex}",
        "type": "function_call",
        "status": "completed",
        "call_id": call.call_id,
        "name": call.name,
        "arguments": call.arguments,
    }
