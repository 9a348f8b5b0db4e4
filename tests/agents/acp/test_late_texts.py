"""What an agent says in sessions without a turn."""

import anyio
import pytest
from structlog.testing import capture_logs
from trio.testing import MockClock

from gatewayd.agents.acp.turn.late_texts import _SESSIONS_MAX, _TEXT_MAX
from gatewayd.ports.agent import Final
from tests.agents.acp.rig import FakeTurn, Services
from tests.agents.acp.script import ScriptedAgent, ended, line, open_scripted, said


async def test_its_pieces_are_one_message_until_it_is_silent(services: Services, autojump_clock: MockClock) -> None:
    script = (said("ok"), ended(), 2.0, said("The job"), 0.9, said(" is done."), 1.5, said("And another."))
    async with open_scripted(ScriptedAgent(script), services) as core:
        session = await core.new_session("key")
        assert await core.run(FakeTurn(session, "go")) == Final("ok")
        await anyio.sleep(10)
        assert services.later == [(session, "The job is done."), (session, "And another.")]


async def test_it_is_said_before_the_next_prompt_begins(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent((said("ok"), ended()), (said("now"), ended(4)))
    async with open_scripted(agent, services) as core:
        session = await core.new_session("key")
        await core.run(FakeTurn(session, "go"))
        await anyio.sleep(2)
        agent.write(said("then"))
        await anyio.wait_all_tasks_blocked()
        assert await core.run(FakeTurn(session, "go", turn_id="turn-2")) == Final("now")
        assert services.later == [(session, "then")]


async def test_what_is_not_said_yet_when_the_core_closes_is_said_then(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent()
    async with open_scripted(agent, services) as core:
        session = await core.new_session("key")
        agent.write(said("at last"))
        await anyio.wait_all_tasks_blocked()
    assert services.later == [(session, "at last")]


@pytest.mark.parametrize("late_text", ["send", "log"])
async def test_what_is_not_to_be_shown_or_is_nobodys_is_in_the_log(
    services: Services, autojump_clock: MockClock, late_text: str
) -> None:
    agent = ScriptedAgent()
    with capture_logs() as logs:
        async with open_scripted(agent, services, late_text=late_text) as core:
            session = await core.new_session("key")
            agent.write(said("for her") + said("for nobody", "s9"))
            await anyio.sleep(5)
    assert services.later == ([(session, "for her")] if late_text == "send" else [])
    unshown = [(log["text"], log["reason"]) for log in logs if log["event"] == "acp_late_text_not_shown"]
    ours = [] if late_text == "send" else [("for her", 'late_text = "log"')]
    assert unshown == [*ours, ("for nobody", "no session of ours")]


async def test_what_is_no_text_is_nothing(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent()
    async with open_scripted(agent, services) as core:
        await core.new_session("key")
        for update in ({"sessionUpdate": "usage_update"}, {"sessionUpdate": 7}, {"sessionUpdate": "agent_message_chunk"}, 7):
            agent.write(line(method="session/update", params={"sessionId": "s1", "update": update}))
        agent.write(said(""))
        await anyio.sleep(5)
        assert core.facts().sessions == 1
    assert services.later == []


async def test_a_history_that_is_loaded_is_not_said(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent((said("on", "old"), ended(3)), loads=True)
    agent.behind_load = said("what was", "old") + said(" said", "old")
    async with open_scripted(agent, services) as core:
        assert await core.run(FakeTurn("old#1", "go")) == Final("on")
        await anyio.sleep(5)
    assert services.later == []


async def test_it_is_bounded(services: Services, autojump_clock: MockClock) -> None:
    agent = ScriptedAgent()
    with capture_logs() as logs:
        async with open_scripted(agent, services) as core:
            session = await core.new_session("key")
            agent.write(said("x" * (_TEXT_MAX + 1)))
            agent.write(said("too much"))
            for number in range(_SESSIONS_MAX):
                agent.write(said("too many", f"other{number}"))
            await anyio.sleep(5)
    assert services.later == [(session, "x" * (_TEXT_MAX + 1))]
    assert [log["text"] for log in logs if log["event"] == "acp_late_text_dropped"] == ["too much", "too many"]


async def test_a_permission_without_a_turn_is_cancelled_and_logged(services: Services, autojump_clock: MockClock) -> None:
    asked = {"sessionId": "s1", "toolCall": {"toolCallId": "c", "title": "rm"}, "options": []}
    request = line(id=0, method="session/request_permission", params=asked)
    agent = ScriptedAgent((said("ok"), ended() + request, 5.0, request))
    with capture_logs() as logs:
        async with open_scripted(agent, services) as core:
            await core.run(FakeTurn(await core.new_session("key"), "go"))
            await anyio.sleep(10)
    assert [sent["result"] for sent in agent.heard if "result" in sent] == [{"outcome": {"outcome": "cancelled"}}] * 2
    assert [log["tool"] for log in logs if log["event"] == "acp_permission_without_turn"] == ["rm"] * 2
