"""What ACP agents were seen to write after a prompt: each file of the kind acp, through the core and the hub to the chat.

``lines`` are messages (``jsonrpc`` is implied) and pauses (``after_ms``), ``raw`` are lines as they are. The session is s1, and
the prompt has the id 3. What is to arrive is worked out from them here: all the text, in messages that end where the agent was
silent.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from trio.testing import MockClock

from gatewayd.agents.acp.turn.grace import GRACE_SECONDS
from gatewayd.hub.turns.outcome import MAY_BE_CUT
from tests.agents.acp.chat import ask, open_chat
from tests.agents.acp.script import PROMPT, ScriptedAgent, Step, ended, line, said

FILES = sorted((Path(__file__).parent / "data").glob("*.json"))
CASES = {path.stem: case for path in FILES if (case := json.loads(path.read_text()))["kind"] == "acp"}
WITH_LINES = {name: case for name, case in CASES.items() if "lines" in case}
WITH_RAW = {name: case for name, case in CASES.items() if "raw" in case}
SHOWN = {
    "18-acp-tail-after-the-response": ["The link is https://www.example.org/final"],
    "20-acp-text-between-turns": ["Started a background job.", "Background job finished: 3 files."],
    "21-acp-response-never-comes": [f"Complete answer, and then the response never comes.\n\n{MAY_BE_CUT}"],
    "23-acp-error-after-the-whole-text": [f"A long and complete answer.\n\n{MAY_BE_CUT}"],
    "24-acp-message-id-of-its-own-per-chunk": [" ".join(f"word{number}" for number in range(24))],
}
_LATE_SILENCE = 1.0


def steps(lines: Sequence[dict[str, Any]]) -> list[Step]:
    return [entry["after_ms"] / 1000 if "after_ms" in entry else line(**entry) for entry in lines]


def messages(lines: Sequence[dict[str, Any]]) -> list[str]:
    """The text of each message that is to be shown, without the sentence that it may be cut."""
    shown, silent, is_over = [""], 0.0, False
    for entry in lines:
        silent += entry.get("after_ms", 0) / 1000
        update = entry.get("params", {}).get("update", {})
        if entry.get("id") == PROMPT and "method" not in entry:
            is_over, silent = True, 0.0
        elif update.get("sessionUpdate") == "agent_message_chunk" and update["content"]["type"] == "text":
            if is_over and silent >= (GRACE_SECONDS if len(shown) == 1 else _LATE_SILENCE):
                shown.append("")
            shown[-1] += update["content"]["text"]
            silent = 0.0
    return shown


def ends_properly(lines: Sequence[dict[str, Any]]) -> bool:
    results = [entry.get("result") for entry in lines if entry.get("id") == PROMPT and "method" not in entry]
    return len(results) == 1 and isinstance(results[0], dict) and isinstance(results[0].get("stopReason"), str)


def test_the_cases_are_there() -> None:
    assert set(SHOWN) | {"25-acp-control-sequence-before-json"} <= set(CASES)
    assert len(WITH_LINES) + len(WITH_RAW) == len(CASES)


@pytest.mark.parametrize("stops", [True, False])
@pytest.mark.parametrize("name", WITH_LINES)
async def test_all_the_text_arrives(tmp_path: Path, autojump_clock: MockClock, name: str, stops: bool) -> None:
    """Whether the agent honours a cancel or not."""
    lines = WITH_LINES[name]["lines"]
    async with open_chat(tmp_path, ScriptedAgent(steps(lines), stops=stops)) as house:
        row = await ask(house)
    wanted = messages(lines)
    assert house.texts == SHOWN.get(name, house.texts)
    assert ["".join(text.removesuffix(MAY_BE_CUT).split()) for text in house.texts] == ["".join(text.split()) for text in wanted]
    assert house.texts[0].endswith(MAY_BE_CUT) != ends_properly(lines)
    assert (row.state, row.reason) == ("done", "answered" if ends_properly(lines) else "answered_cut")
    assert (row.detail is None) == ends_properly(lines)


@pytest.mark.parametrize("name", WITH_RAW)
async def test_a_message_is_read_whatever_stands_around_it(tmp_path: Path, autojump_clock: MockClock, name: str) -> None:
    raw = ["".join((written, "\n")).encode("utf-8", "surrogatepass") for written in WITH_RAW[name]["raw"]]
    initialized = b"".join(written for written in raw if b"protocolVersion" in written)
    script: list[Step] = [written for written in raw if b"protocolVersion" not in written]
    agent = ScriptedAgent([*(script or [said("I am here.")]), ended()], initialized=initialized)
    async with open_chat(tmp_path, agent) as house:
        assert (await ask(house)).reason == "answered"
        assert len(house.texts) == 1
