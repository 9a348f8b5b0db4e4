"""Streams of models that were wrong here once: each file of the kind sse, through the core and the hub to the chat.

``stream`` or each of ``streams`` is the body of a response, ``pause_ms`` the time between two of its events. What is to arrive is
worked out from them here, by other means than the driver's.
"""

import json
import re
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_EMPTY, marked
from tests.agents.chat_completions.talk import HEAD, house_with
from tests.cases import cases

STREAMS = [
    pytest.param(case, stream, id=f"{name}-{number}")
    for name, case in cases("sse")
    for number, stream in enumerate(case.get("streams") or [case["stream"]])
]


def text_of(content: object) -> str:
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content if isinstance(content, str) else ""


def answer_in(stream: str) -> tuple[str, bool]:
    """The text, and whether the stream has an end of its own: [DONE], or a finish_reason in its last chunk."""
    events = [line.removeprefix("data:").strip() for line in re.split("\r\n|\r|\n", stream) if line.startswith("data:")]
    deltas = [choice for event in events if event != "[DONE]" for choice in json.loads(event).get("choices", ())]
    text = "".join(text_of(choice.get("delta", {}).get("content")) for choice in deltas)
    is_whole = "[DONE]" in events or bool(deltas and deltas[-1].get("finish_reason"))
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace"), is_whole


def events_of(stream: str) -> list[str]:
    return [event for event in re.split(r"(?<=\n\n)", stream) if event]


def test_there_are_streams() -> None:
    assert len(STREAMS) >= 8


@pytest.mark.parametrize("pieces", ["events", "bytes", "at once"])
@pytest.mark.parametrize(("case", "stream"), STREAMS)
async def test_the_whole_answer_arrives_or_is_said_to_be_cut(
    tmp_path: Path, autojump_clock: MockClock, case: dict[str, Any], stream: str, pieces: str
) -> None:
    pause = case.get("pause_ms", 0) / 1000

    async def behave(connection: trio.SocketStream, request: bytes) -> None:
        await connection.send_all(HEAD)
        for event in events_of(stream) if pieces != "at once" else [stream]:
            data = event.encode("utf-8", "surrogatepass")
            for at in range(0, len(data), 7 if pieces == "bytes" else len(data)):
                await connection.send_all(data[at : at + 7] if pieces == "bytes" else data)
            await trio.sleep(pause if pieces != "at once" else 0)

    text, is_whole = answer_in(stream)
    async with house_with(tmp_path, behave) as house:
        row = await house.ended(await house.say("go"))
        await anyio.sleep(120)
        if text.strip() and is_whole:
            assert "".join(house.texts) == text
            assert (row.state, row.reason) == ("done", "answered")
            assert len(house.texts) == 1 or pause >= 1
        else:
            assert house.texts == [marked(text, MAY_BE_CUT) if text.strip() else SORRY_EMPTY]
            assert row.reason == ("answered_cut" if text.strip() else "agent_failed")
