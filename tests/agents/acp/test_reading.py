"""What an agent writes that is not as it should be, through the core: mended in a text, refused where a person decides."""

import json

import anyio
import pytest
from trio.testing import MockClock

from gatewayd.agents.acp.wire import INVALID_PARAMS
from gatewayd.ports.agent import Final
from tests.agents.acp.rig import FakeTurn, Services
from tests.agents.acp.script import ScriptedAgent, Step, ended, line, open_scripted, said


def chunk(text: str, **fields: str) -> bytes:
    """A chunk as JavaScript and Python write it: half a surrogate pair as an escape."""
    return said("@", **fields).replace(b'"@"', json.dumps(text).encode())


@pytest.mark.parametrize("fields", [{}, {"messageId": "m"}])
async def test_an_emoji_in_two_chunks_is_one(services: Services, autojump_clock: MockClock, fields: dict[str, str]) -> None:
    first, second, alone = "a \ud83d", "\ude00 b", "\ud83d"
    script = [*(chunk(text, **fields) for text in (first, second, alone)), ended()]
    async with open_scripted(ScriptedAgent(script), services) as core:
        turn = FakeTurn(await core.new_session("key"), "go")
        final = await core.run(turn)
    assert final == Final("a \U0001f600 b\ufffd")
    assert turn.streamed == "a \U0001f600 b"


async def test_an_emoji_in_two_chunks_behind_the_turn_is_one(services: Services, autojump_clock: MockClock) -> None:
    script: list[Step] = [said("ok"), ended(), 2.0, chunk("a \ud83d"), chunk("\ude00 b")]
    async with open_scripted(ScriptedAgent(script), services) as core:
        await core.run(FakeTurn(await core.new_session("key"), "go"))
        await anyio.sleep(10)
    assert [text for _, text in services.later] == ["a \U0001f600 b"]


@pytest.mark.parametrize("odd", [{"kind": 7}, {"title": ["rm"]}, {"kind": {"execute": 1}}])
async def test_a_permission_is_asked_for_as_it_was_meant_or_not_at_all(
    services: Services, autojump_clock: MockClock, odd: dict[str, object]
) -> None:
    """Without its kind a call would be one of another tool, for which there may be another rule."""
    call = {"toolCallId": "c", "kind": "execute", "title": "rm -rf /", "rawInput": {"command": "rm -rf /"}, **odd}
    options = [{"optionId": "yes", "name": "Yes", "kind": "allow_once"}]
    params = {"sessionId": "s1", "toolCall": call, "options": options}
    agent = ScriptedAgent([line(id="p", method="session/request_permission", params=params), 1.0, said("ok"), ended()])
    async with open_scripted(agent, services) as core:
        turn = FakeTurn(await core.new_session("key"), "go")
        await core.run(turn)
    assert turn.requests == []
    assert [answer["error"]["code"] for answer in agent.heard if answer.get("id") == "p"] == [INVALID_PARAMS]
