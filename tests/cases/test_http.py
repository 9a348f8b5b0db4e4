"""Responses of model servers that were wrong here once: each file of the kind http, through the core and the hub to the chat.

``status``, ``body`` and each of ``content_types`` ("" is no header) make the response, packed as ``content_encoding`` says. With
``when``, which holds a number of characters, only longer conversations are answered so, and others with "fine".
"""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import anyio
import pytest
import trio
from trio.testing import MockClock

from gatewayd.hub.turns.outcome import SORRY_EMPTY, SORRY_FAILED, SORRY_TOO_LONG
from gatewayd.hub.turns.retries import TRIED_AGAIN
from tests.agents.chat_completions.talk import house_with
from tests.cases import cases
from tests.cases.test_sse import answer_in

RESPONSES = [
    pytest.param(case, content_type, id=f"{name}-{content_type or 'none'}")
    for name, case in cases("http")
    for content_type in case.get("content_types") or [""]
]
PACKERS: Mapping[str, Callable[[bytes], bytes]] = {"gzip": gzip.compress, "deflate": zlib.compress}
FINE = 'data: {"choices": [{"index": 0, "delta": {"content": "fine"}, "finish_reason": "stop"}]}\n\ndata: [DONE]\n\n'


def response(status: int, content_type: str, body: str, coding: str = "") -> bytes:
    data = PACKERS.get(coding, bytes)(body.encode())
    head = [f"HTTP/1.1 {status} Status", f"Content-Length: {len(data)}"]
    head += [f"Content-Type: {content_type}"] if content_type else []
    head += [f"Content-Encoding: {coding}"] if coding else []
    return "\r\n".join([*head, "", ""]).encode() + data


class Server:
    """Answers as the file says."""

    def __init__(self, case: dict[str, Any], content_type: str) -> None:
        self.case = case
        self.response = response(case["status"], content_type, case["body"], case.get("content_encoding", ""))
        limit = re.search(r"([\d,]+) characters", case.get("when", ""))
        self.limit = int(limit[1].replace(",", "")) if limit else 0
        self.asked = 0

    async def __call__(self, connection: trio.SocketStream, body: bytes) -> None:
        self.asked += 1
        said = sum(len(message["content"]) for message in json.loads(body)["messages"])
        await connection.send_all(
            self.response if said > self.limit or not self.limit else response(200, "text/event-stream", FINE)
        )


def words_in(value: object) -> str:
    """What the provider says went wrong."""
    if isinstance(value, list):
        return words_in(value[0]) if value else ""
    if isinstance(value, dict):
        return next((words for key in ("error", "message", "detail") if (words := words_in(value.get(key)))), "")
    return value if isinstance(value, str) else ""


def reason_in(body: str) -> str:
    try:
        return words_in(json.loads(body))
    except ValueError:
        return ""


def test_there_are_responses() -> None:
    assert len(RESPONSES) >= 7


@pytest.mark.parametrize(("case", "content_type"), RESPONSES)
async def test_the_answer_arrives_or_the_operator_reads_why_not(
    tmp_path: Path, autojump_clock: MockClock, case: dict[str, Any], content_type: str
) -> None:
    answering = Server(case, content_type)
    async with house_with(tmp_path, answering, max_history_tokens=10_000) as house:
        if answering.limit:
            for _ in range(4):
                row = await house.ended(await house.say("word " * (answering.limit // 15)))
            assert house.texts == ["fine"] * 4
            assert answering.asked > 4
            row = await house.ended(await house.say("x" * answering.limit * 2))
            assert (row.state, row.reason, house.texts[-1]) == ("dead", "agent_failed", SORRY_TOO_LONG)
            assert (await house.ended(await house.say("and now?"))).reason == "answered"
            return
        began_at = trio.current_time()
        row = await house.ended(await house.say("go"))
        if case["status"] == 200 and case["body"].lstrip("\ufeff\r\n ").startswith(("data:", "event:", "id:", ":")):
            text, _ = answer_in(case["body"])
            packed = case.get("content_encoding", "")
            if packed and packed not in PACKERS:
                assert "content-encoding" in (row.detail or "")
            else:
                assert house.texts == [text or SORRY_EMPTY]
        elif reason := reason_in(case["body"]):
            assert row.state == "dead"
            assert reason[:100] in (row.detail or "")
            assert set(house.texts) <= {SORRY_FAILED, SORRY_TOO_LONG, TRIED_AGAIN} or house.texts[-1].startswith("Sorry")
        if "fails at once" in case["right"]:
            await anyio.sleep(600)
            assert answering.asked == 1
            assert trio.current_time() - began_at < 700
