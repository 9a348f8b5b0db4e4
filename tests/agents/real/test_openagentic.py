"""The opencode core on the OpenAgentic SDK's real server, with a scripted model. In real time."""

import os
import sys
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
from tests.agents.real.installed import ROOT, Project, openagentic_server
from tests.agents.real.scenarios import all_at_once, begin
from tests.fakes.model_server import ModelServer


async def failure(core: OpencodeCore, nursery: trio.Nursery) -> None:
    """It says nothing: the reason is the end of its output."""
    going = await begin(core, nursery, "fail 500")
    with pytest.raises(AgentFailed, match=r"ended without a result: the server does not say why; its last output: .*500"):
        await going.wait()


async def cut_stream(core: OpencodeCore, nursery: trio.Nursery) -> None:
    """It takes that for an end."""
    going = await begin(core, nursery, "cut off in the")
    assert await going.wait() == Final("off in the")


@pytest.mark.slow
@pytest.mark.parametrize("launcher", ["oa", "example"])
async def test_turns_on_a_sidecar(
    oa_command: list[str],
    openagentic_project: Project,
    model: ModelServer,
    tmp_path: Path,
    nursery: trio.Nursery,
    launcher: str,
) -> None:
    example = (sys.executable, str(ROOT / "contrib/examples/openagentic_server.py"))
    settings: dict[str, Any] = {
        "command": (*oa_command, "serve") if launcher == "oa" else example,
        "environment": dict(openagentic_project.env),
        "directory": str(openagentic_project.directory),
        "state": tmp_path / "state",
    }
    with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="was ended by SIGKILL"), flatten_subgroups=True):
        with trio.fail_after(60):
            async with open_core(None, **settings) as core:
                facts = core.facts()
                assert facts.version == "openagentic-sdk"
                if launcher == "oa":
                    await scenarios.text(core, nursery)
                else:
                    common = [
                        scenarios.text,
                        scenarios.tool_allowed,
                        scenarios.tool_denied,
                        scenarios.question,
                        scenarios.same_id,
                    ]
                    await all_at_once(core, [*common, scenarios.abort, failure, cut_stream])
                    assert sorted((openagentic_project.directory / "ran.txt").read_text().split()) == ["allowed", "one"]

                going = await begin(core, nursery, "run echo killed >> killed.txt")
                await going.turn.wait_requests()
                assert facts.pid is not None
                os.kill(facts.pid, 9)
                await trio.sleep_forever()
    with pytest.raises(AgentFailed, match="restarted in the middle of the turn"):
        await going.wait()
    assert not (openagentic_project.directory / "killed.txt").exists()


async def test_gatewayd_is_killed_in_mid_turn(openagentic_project: Project, model: ModelServer, nursery: trio.Nursery) -> None:
    kept, decided = DictState(), dict[str, Decision]()
    with trio.fail_after(60):
        async with openagentic_server(openagentic_project) as server:
            async with open_core(None, kept, url=server.url) as core:
                slow = await begin(core, nursery, "slow one two three")
                await model.wait_held("one two three")
                slow.kill()
            async with open_core(None, kept, url=server.url) as core:
                request = slow.turn.request
                assert await core.turn_state(request.session_id, request.turn_id) == "running"
                again = go(nursery, core, FakeTurn(request.session_id, "-", turn_id=request.turn_id), resume=True)
                model.release("one two three")
                assert await again.wait() == Final("one two three")
                asking = go(nursery, core, FakeTurn(request.session_id, "run echo once >> ran.txt", decided=decided))
                [shown] = await asking.turn.wait_requests()
                asking.kill()
            async with open_core(None, kept, url=server.url) as core:
                assert await core.turn_state(request.session_id, "turn-1") == "running"
                again = go(nursery, core, FakeTurn(request.session_id, "-", decided=decided), resume=True)
                assert await again.turn.wait_requests() == [shown]
                again.turn.decide(0, ALLOWED)
                assert (await again.wait()).text.startswith("ran:")
                assert await core.turn_state(request.session_id, "turn-1") == "ended"
    assert (openagentic_project.directory / "ran.txt").read_text() == "once\n"
