"""The opencode core on the real OpenCode, with a scripted model. In real time."""

import os
from pathlib import Path
from typing import Any

import pytest
import trio

from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.model.errors import AgentFailed, TryAgain
from gatewayd.model.records.approval import Decision
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, DictState, FakeTurn, open_core
from tests.agents.real import scenarios
from tests.agents.real.installed import Project, opencode_server
from tests.agents.real.scenarios import all_at_once, begin
from tests.fakes.model_server import ModelServer

TROUBLE = "The model's provider has a problem at the moment, and is tried again."


async def parallel(core: OpencodeCore, nursery: trio.Nursery) -> None:
    """A no to one of two requests is not a no to the other."""
    going = await begin(core, nursery, "run2 echo first >> ran.txt && echo second >> ran.txt")
    requests = await going.turn.wait_requests(2)
    first = next(number for number, request in enumerate(requests) if "first" in request.input)
    going.turn.decide(first, Decision("denied", note="not the first"))
    going.turn.decide(1 - first, ALLOWED)
    assert "not the first" in (await going.wait()).text


async def denial_is_explained(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "run echo expired >> ran.txt")
    await going.turn.wait_requests()
    going.turn.decide(0, Decision("expired"))
    assert "Nobody answered this request in time" in (await going.wait()).text


async def edit(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, 'call write {"filePath":"written.txt","content":"by the agent"}')
    [request] = await going.turn.wait_requests()
    assert (request.tool, request.input) == ("edit", '{"content":"by the agent","filePath":"written.txt"}')
    going.turn.decide(0, ALLOWED)
    await going.wait()


async def recovery_of_the_provider(core: OpencodeCore, nursery: trio.Nursery) -> None:
    for trouble in ("fail 500 times=1", "fail 429 times=1 after=1"):
        going = await begin(core, nursery, trouble)
        assert await going.wait() == Final("recovered")
        assert TROUBLE in going.turn.notices


async def cut_stream(core: OpencodeCore, nursery: trio.Nursery) -> None:
    """It would call the model again for ever."""
    going = await begin(core, nursery, "cut off in the")
    end = await going.wait()
    assert end.text == "off in the"
    assert "cut off in the middle" in (end.cut or "")


async def dismissed(core: OpencodeCore, nursery: trio.Nursery) -> None:
    going = await begin(core, nursery, "ask Sure? | Yes | No")
    await going.turn.wait_questions()
    going.turn.reply(0, None)
    assert "refused" in (await going.wait()).text


async def test_turns_on_a_sidecar(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path, nursery: trio.Nursery
) -> None:
    # What it has to ask for is gatewayd's to say: the project does not.
    config = opencode_project.directory / "opencode.json"
    config.write_text(config.read_text().replace('"permission"', '"ignored"'))
    settings: dict[str, Any] = {
        "command": (str(opencode_binary), "serve"),
        "environment": dict(opencode_project.env),
        "directory": str(opencode_project.directory),
        "state": tmp_path / "state",
    }
    with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="was ended by SIGKILL"), flatten_subgroups=True):
        with trio.fail_after(100):
            async with open_core(None, **settings) as core:
                facts = core.facts()
                assert facts.version is not None
                assert facts.version.startswith("opencode 1.")
                common = [scenarios.text, scenarios.tool_allowed, scenarios.tool_denied, scenarios.question, scenarios.same_id]
                ends = [scenarios.failure, scenarios.abort, parallel, denial_is_explained, edit, dismissed]
                await all_at_once(core, [*common, *ends, recovery_of_the_provider, cut_stream])
                assert sorted((opencode_project.directory / "ran.txt").read_text().split()) == ["allowed", "one", "second"]
                assert (opencode_project.directory / "written.txt").read_text() == "by the agent"

                going = await begin(core, nursery, "run echo killed >> ran.txt")
                await going.turn.wait_requests()
                assert facts.pid is not None
                os.kill(facts.pid, 9)
                await trio.sleep_forever()
    with pytest.raises(AgentFailed, match="restarted in the middle of the turn"):
        await going.wait()
    assert "killed" not in (opencode_project.directory / "ran.txt").read_text()


async def test_gatewayd_is_killed_in_mid_turn(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, nursery: trio.Nursery
) -> None:
    kept, decided = DictState(), dict[str, Decision]()
    with trio.fail_after(60):
        async with opencode_server(opencode_binary, opencode_project) as server:
            settings = {"url": server.url, "directory": str(opencode_project.directory)}
            async with open_core(None, kept, **settings) as core:
                slow = await begin(core, nursery, "slow one two three")
                asking = go(nursery, core, FakeTurn(await core.new_session("k2"), "run echo once >> ran.txt", decided=decided))
                await model.wait_held("one two three")
                [request] = await asking.turn.wait_requests()
                slow.kill()
                asking.kill()
                requests = (slow.turn.request, asking.turn.request)
            async with open_core(None, kept, **settings) as core:
                turns = [FakeTurn(went.session_id, "-", turn_id=went.turn_id, decided=decided) for went in requests]
                again = [go(nursery, core, turn, resume=True) for turn in turns]
                for went in requests:
                    assert await core.turn_state(went.session_id, went.turn_id) == "running"
                model.release("one two three")
                assert await again[0].wait() == Final("one two three")
                assert await again[1].turn.wait_requests() == [request]
                again[1].turn.decide(0, ALLOWED)
                assert (await again[1].wait()).text.startswith("ran:")
                for went in requests:
                    assert await core.turn_state(went.session_id, went.turn_id) == "ended"
    assert (opencode_project.directory / "ran.txt").read_text() == "once\n"
