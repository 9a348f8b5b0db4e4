"""docs/reference/streams.md, the part of ACP: each row of its table, through the core and the hub to the chat and the store."""

import re
from collections.abc import Sequence
from pathlib import Path

import anyio
import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.agents.acp.turn.wording import _STOPPED, FORGOTTEN
from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_EMPTY, SORRY_FAILED
from tests.agents.acp.chat import ask, open_chat
from tests.agents.acp.script import PROMPT, ScriptedAgent, Step, ended, line, said, used_tool

PAGE = (Path(__file__).parents[3] / "docs/reference/streams.md").read_text()
ROWS = [
    row.strip("| ").split(" | ")[0] for row in re.findall(r"^\| .*$", PAGE.partition("\n## acp\n")[2].partition("\n## ")[0], re.M)
][1:]
REFUSED = line(id=PROMPT, error={"code": -32603, "message": "Internal error"})
NO_REASON = line(id=PROMPT, result={})
CUT = f"half\n\n{MAY_BE_CUT}"

Wanted = tuple[Sequence[Step], list[str], tuple[str, str], bool]
"""What the agent writes, what is shown, state and reason of the message, and whether it counts as a failure."""

ANSWERED, AS_CUT, FAILED = ("done", "answered"), ("done", "answered_cut"), ("dead", "agent_failed")
TABLE: dict[str, list[Wanted]] = {
    "the response, with a stop reason": [([said("all"), ended()], ["all"], ANSWERED, False)],
    "the response, and text within that time after it": [
        ([said("one "), ended(), 0.2, said("two")], ["one two"], ANSWERED, False),
        ([said("one "), ended() + said("two")], ["one two"], ANSWERED, False),
    ],
    "the response, and no text": [([ended()], [SORRY_EMPTY], FAILED, True)],
    "the response, and no text after a tool": [([used_tool(), ended()], [], ("done", "answered_nothing"), False)],
    "`max_tokens`, `max_turn_requests`, `refusal`, `cancelled`": [
        ([said("half"), ended(reason=reason)], [f"half\n\n{words}"], ANSWERED, False) for reason, words in _STOPPED.items()
    ],
    "a response without a stop reason, after text": [([said("half"), NO_REASON], [CUT], AS_CUT, True)],
    "an error, after text": [([said("half"), REFUSED], [CUT], AS_CUT, True)],
    "the process ends, after text": [([said("half"), 1.0, None], [CUT], AS_CUT, True)],
    "silence for `prompt_timeout_seconds`, after text": [([said("half")], [CUT], AS_CUT, True)],
    "each of these, without text or after a tool": [
        ([*before, *end], [SORRY_FAILED], FAILED, True)
        for before in ([], [said("half"), used_tool()])
        for end in ([NO_REASON], [REFUSED], [1.0, None], [])
    ],
    "more than 1,000,000 characters": [([said("x" * 1_000_001)], [SORRY_FAILED], FAILED, True)],
    "more than 20 messages, each in several chunks, without a tool": [
        ([said("cut ", messageId=f"m{number // 2}") for number in range(42)], [SORRY_FAILED], FAILED, True)
    ],
    "text between turns, or later after the response": [
        ([said("one"), ended(), 0.3, said("two")], ["one", "two"], ANSWERED, False),
        ([said("one"), ended(), 90.0, said("two"), 0.9, said(" three")], ["one", "two three"], ANSWERED, False),
    ],
}
OF_THEIR_OWN = {
    "silence, and the agent ignores the cancel",
    "the process ends before it has the prompt",
    "`/stop`, or the time limit of the turn is over; text after that",
    'the same with `late_text = "log"`, for an unknown session, after `/new`, or beyond the limit',
}


def test_each_row_has_its_test() -> None:
    assert len(ROWS) == len(set(ROWS)) > 10
    named = {re.split(r" \(|, see", row)[0] for row in ROWS}
    assert named == {*TABLE, *OF_THEIR_OWN}


@pytest.mark.parametrize("wanted", [pytest.param(each, id=name) for name, several in TABLE.items() for each in several])
async def test_a_row(tmp_path: Path, autojump_clock: MockClock, wanted: Wanted) -> None:
    script, shown, end, fails = wanted
    async with open_chat(tmp_path, ScriptedAgent(script)) as house:
        row = await ask(house)
    assert house.texts == shown
    assert (row.state, row.reason) == end
    assert bool(house.agents.errors) == fails
    assert (row.detail is not None) == fails


async def test_silence_and_no_cancel_is_honoured(tmp_path: Path, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent((said("half", "s2"),), (said("fine"), ended(5)), (said("anew", "s3"), ended(7)), stops=False)
    async with open_chat(tmp_path, agent) as house:
        core = await house.agents.core("assistant")
        await core.new_session("of somebody else")
        await ask(house)
        other = await core.new_session("of another")
        assert other
        await house.ended(await house.say("go on"))
    assert house.texts[:2] == [CUT, FORGOTTEN]


class Leaving(ScriptedAgent):
    """Ends when it is sent a prompt, and has read nothing of it."""

    async def send(self, item: bytes) -> None:
        if b'"session/prompt"' in item:
            self.die()
            raise anyio.BrokenResourceError
        await super().send(item)


async def test_a_prompt_that_the_process_does_not_have_is_run_again(tmp_path: Path, autojump_clock: MockClock) -> None:
    second = ScriptedAgent([said("fine"), ended()])
    async with open_chat(tmp_path, Leaving(), second) as house:
        row = await ask(house)
    assert house.texts == ["fine"]
    assert (row.state, row.reason, row.attempts) == ("done", "answered", 2)
    assert [message["method"] for message in second.heard].count("session/prompt") == 1


async def test_what_comes_after_a_stop_is_logged(tmp_path: Path, autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_chat(tmp_path, ScriptedAgent([said("one")], behind_stop=[said("two")])) as house:
            row = await house.say("go")
            await anyio.sleep(1)
            await house.say("/stop")
            await house.ended(row)
            await anyio.sleep(10)
    assert not any("two" in text for text in house.texts)
    assert [log["text"] for log in logs if log["event"] == "acp_text_after_stop"] == ["two"]


async def test_after_new_what_the_old_session_says_is_logged(tmp_path: Path, autojump_clock: MockClock) -> None:
    with capture_logs() as logs:
        async with open_chat(tmp_path, ScriptedAgent([said("one"), ended(), 90.0, said("two")])) as house:
            await house.ended(await house.say("go"))
            await house.ended(await house.say("/new"))
            await anyio.sleep(120)
    assert "two" not in house.texts
    assert [log["text"] for log in logs if log["event"] == "late_text_not_shown"] == ["two"]
