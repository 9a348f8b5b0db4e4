"""From Slack to the real OpenCode and back: the shell waits for a button, runs once, and the prompt says by whom."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.agents.real.conftest import model, opencode_binary, opencode_project
from tests.agents.real.installed import Project, opencode_server
from tests.fakes.model_server import ModelServer
from tests.whole.agents.test_opencode import COMMAND, remote, rows, runs, sidecar
from tests.whole.process import Daemon, daemon
from tests.whole.slack.rig import Workspace, buttons_of, connected

__all__ = ["model", "opencode_binary", "opencode_project"]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Workspace]:
    with trio.fail_after(90):
        async with Workspace.serve(tmp_path / "slack") as place:
            yield place


def owned_by_alice(place: Workspace, agent: str) -> str:
    return place.configuration(agent=agent.replace("telegram:1001", f"slack:{place.alice}"))


async def wait_settled(gateway: Daemon) -> None:
    """Until what is shown is known to be."""
    await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)


async def test_a_button_in_slack_lets_a_command_run_once(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, place: Workspace, tmp_path: Path
) -> None:
    slack, text = place.slack, owned_by_alice(place, sidecar(opencode_binary, opencode_project))
    async with daemon(tmp_path / "state", text) as gateway:
        await slack.wait_connections()
        asked = slack.say(place.alice, place.general, f"{place.mention} run {COMMAND}")
        prompt = await place.wait_button(place.general, "Allow once")
        assert COMMAND in "".join(place.said(place.general, thread=asked))
        place.press(place.bob, place.general, prompt, "Allow once")
        await slack.wait_until(lambda: any("may not" in whisper for whisper in place.whispers(place.general)))
        assert runs(opencode_project) == 0
        for _ in range(2):
            place.press(place.alice, place.general, prompt, "Allow once")
        await place.wait_text(place.general, "ran: ran", thread=asked)
        assert runs(opencode_project) == 1
        shown = await place.wait_text(place.general, f"Allowed by slack:{place.alice}", thread=asked)
        assert (shown["ts"], buttons_of(shown)) == (prompt, {})
        await slack.wait_until(lambda: any("Too late" in whisper for whisper in place.whispers(place.general)))
        slack.say(place.bob, place.general, f"run {COMMAND}", thread=asked)
        again = await place.wait_button(place.general, "Deny")
        place.press(place.alice, place.general, again, "Deny")
        await place.wait_text(place.general, f"Denied by slack:{place.alice}", thread=asked)
        await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 0)
        assert await gateway.stop() == 0
    assert runs(opencode_project) == 1


@pytest.mark.parametrize("pressed", [0, -1], ids=["older", "newer"])
async def test_a_daemon_killed_while_a_command_waits_takes_it_up_again(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, place: Workspace, tmp_path: Path, pressed: int
) -> None:
    """The prompt was pressed while nobody listened, and Slack tells of no press twice. It is shown anew, and either counts."""
    slack = place.slack
    async with opencode_server(opencode_binary, opencode_project) as server:
        text = owned_by_alice(place, remote(server.url, opencode_project))
        async with daemon(tmp_path / "state", text) as gateway:
            await slack.wait_connections()
            asked = slack.say(place.alice, place.general, f"{place.mention} run {COMMAND}")
            prompt = await place.wait_button(place.general, "Allow once")
            await slack.wait_delivered()
            await wait_settled(gateway)
            gateway.kill()
            await gateway.wait()
        await slack.wait_until(lambda: not slack.connections)
        place.press(place.alice, place.general, prompt, "Allow once")
        await slack.wait_delivered()
        assert slack.outcomes()[-1] == "lost"
        async with daemon(tmp_path / "state", text) as gateway:
            await gateway.wait_status(lambda snapshot: connected(snapshot) and snapshot.lanes.running == 1)
            await slack.wait_until(lambda: len(place.with_button(place.general, "Allow once")) == 2)
            assert runs(opencode_project) == 0
            place.press(place.alice, place.general, place.with_button(place.general, "Allow once")[pressed], "Allow once")
            await place.wait_text(place.general, "ran: ran", thread=asked)
            assert runs(opencode_project) == 1
            await slack.wait_until(lambda: not place.with_button(place.general, "Allow once"))
            assert len([said for said in place.said(place.general) if f"Allowed by slack:{place.alice}" in said]) == 2
            assert [said for said in place.said(place.general) if said.startswith("ran: ")] == ["ran: ran"]
            assert len(await rows(gateway)) == 1
