"""An ACP agent behind the daemon: killed on either side, nothing runs twice or without a yes, and no process is left."""

import os
import signal
from pathlib import Path

import pytest
import trio

from gatewayd.hub.turns.outcome import MAY_BE_CUT, SORRY_LOST
from tests.fakes.acp_agent import command, ran
from tests.fakes.bot_api import FakeBotApi
from tests.kit.test_process import gone
from tests.whole.process import Daemon, daemon
from tests.whole.test_telegram import ALICE, configuration

pytestmark = pytest.mark.slow

POLICY = """
[agents.assistant.approvals]
ask = ["owners"]
[approvals.groups.owners]
people = ["telegram:1001"]
"""


def acp(work: Path, on_lost_turn: str = "rerun") -> str:
    work.mkdir(exist_ok=True)
    words = ", ".join(f'"{word}"' for word in command())
    return f'core = "acp"\ncommand = [{words}]\ndirectory = "{work}"\non_lost_turn = "{on_lost_turn}"\n{POLICY}'


async def pid_of_agent(gateway: Daemon) -> int:
    """Its process, when it is open."""
    snapshot = await gateway.wait_status(lambda snapshot: snapshot.agents[0].pid is not None)
    assert snapshot.agents[0].pid
    return snapshot.agents[0].pid


async def test_a_button_lets_a_tool_run_once(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with trio.fail_after(90):
        async with FakeBotApi.serve() as api, daemon(tmp_path, configuration(api, tmp_path, agent=acp(work))) as gateway:
            api.user_sends(ALICE, "tool echo hi")
            await api.wait_buttons(ALICE, "Allow once")
            assert ran(work) == []
            api.user_presses_button(ALICE, "Allow once")
            await api.wait_text(ALICE, "allow_once: ran echo hi")
            pid = await pid_of_agent(gateway)
            assert await gateway.stop() == 0
        assert ran(work) == ["echo hi"]
        assert await gone(pid)


@pytest.mark.slow
@pytest.mark.parametrize("on_lost_turn", ["rerun", "report"])
async def test_a_daemon_killed_while_the_agent_asks(tmp_path: Path, on_lost_turn: str) -> None:
    """The run dies with the daemon: its process is found and ended at the next start, and its question is void."""
    work = tmp_path / "work"
    with trio.fail_after(90):
        async with FakeBotApi.serve() as api:
            text = configuration(api, tmp_path, agent=acp(work, on_lost_turn))
            async with daemon(tmp_path, text) as gateway:
                api.user_sends(ALICE, "tool echo hi")
                await api.wait_buttons(ALICE, "Allow once")
                await api.wait_delivered()
                pid = await pid_of_agent(gateway)
                gateway.kill()
                await gateway.wait()
            async with daemon(tmp_path, text) as gateway:
                assert await pid_of_agent(gateway) != pid
                assert await gone(pid)
                if on_lost_turn == "report":
                    await api.wait_text(ALICE, SORRY_LOST)
                    assert ran(work) == []
                else:
                    await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1)
                    await api.wait_buttons(ALICE, "Allow once")
                    api.user_presses_button(ALICE, "Allow once")
                    await api.wait_text(ALICE, "allow_once: ran echo hi")
                    assert ran(work) == ["echo hi"]


async def test_an_agent_killed_in_mid_turn_is_told_and_the_conversation_goes_on(tmp_path: Path) -> None:
    work = tmp_path / "work"
    with trio.fail_after(90):
        async with FakeBotApi.serve() as api, daemon(tmp_path, configuration(api, tmp_path, agent=acp(work))) as gateway:
            api.user_sends(ALICE, "say one")
            await api.wait_text(ALICE, "one")
            api.user_sends(ALICE, "hang")
            await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1)
            with trio.fail_after(30):
                while not (work / "waiting").exists():  # noqa: ASYNC110
                    await trio.sleep(0.01)
            os.kill(await pid_of_agent(gateway), signal.SIGKILL)
            await api.wait_text(ALICE, f"Waiting.\n\n{MAY_BE_CUT}")
            api.user_sends(ALICE, "history")
            await api.wait_text(ALICE, "say one")
