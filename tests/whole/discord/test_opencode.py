"""From Discord to the real OpenCode and back: the shell waits for a button, runs once, and the prompt says by whom."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.agents.real.conftest import model, opencode_binary, opencode_project
from tests.agents.real.installed import Project, opencode_server
from tests.fakes.model_server import ModelServer
from tests.whole.agents.test_opencode import COMMAND, remote, rows, runs, sidecar
from tests.whole.discord.rig import Server
from tests.whole.process import daemon
from tests.whole.slack.rig import connected

__all__ = ["model", "opencode_binary", "opencode_project"]


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Server]:
    with trio.fail_after(90):
        async with Server.serve(tmp_path / "discord") as place:
            yield place


def owned_by_alice(place: Server, agent: str) -> str:
    return place.configuration(agent=agent.replace("telegram:1001", f"discord:{place.alice}"))


async def test_a_button_in_discord_lets_a_command_run_once(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, place: Server, tmp_path: Path
) -> None:
    discord, text = place.discord, owned_by_alice(place, sidecar(opencode_binary, opencode_project))
    async with daemon(tmp_path / "state", text) as gateway:
        await discord.gateway.wait_connected()
        discord.say(place.alice, place.general, f"{place.mention} run {COMMAND}")
        prompt = await place.wait_button(place.general, "Allow once")
        assert COMMAND in "".join(place.said(place.general))
        discord.press(place.bob, prompt, "Allow once")
        await discord.wait_until(lambda: any("may not" in whisper for whisper in place.whispers()))
        assert runs(opencode_project) == 0
        press = discord.press(place.alice, prompt, "Allow once")
        discord.redeliver(press)
        assert await discord.wait_answer(press) == 6
        await discord.wait_text(place.general, "ran: ran")
        shown = await discord.wait_text(place.general, f"**Allowed** by discord:{place.alice}")
        assert (shown, discord.buttons(shown)) == (prompt, [])
        await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 0)
        assert await gateway.stop() == 0
    assert runs(opencode_project) == 1


@pytest.mark.parametrize("pressed", [0, -1], ids=["older", "newer"])
async def test_a_daemon_killed_while_a_command_waits_takes_it_up_again(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, place: Server, tmp_path: Path, pressed: int
) -> None:
    """The prompt is shown anew, and either counts."""
    discord = place.discord
    async with opencode_server(opencode_binary, opencode_project) as server:
        text = owned_by_alice(place, remote(server.url, opencode_project))
        async with daemon(tmp_path / "state", text) as gateway:
            await discord.gateway.wait_connected()
            discord.say(place.alice, place.general, f"{place.mention} run {COMMAND}")
            await place.wait_button(place.general, "Allow once")
            await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
            gateway.kill()
            await gateway.wait()
        async with daemon(tmp_path / "state", text) as gateway:
            await gateway.wait_status(lambda snapshot: connected(snapshot) and snapshot.lanes.running == 1)
            await discord.wait_until(lambda: len(place.with_button(place.general, "Allow once")) == 2)
            assert runs(opencode_project) == 0
            discord.press(place.alice, place.with_button(place.general, "Allow once")[pressed], "Allow once")
            await discord.wait_text(place.general, "ran: ran")
            assert runs(opencode_project) == 1
            await discord.wait_until(lambda: not place.with_button(place.general, "Allow once"))
            assert [said for said in place.said(place.general) if said.startswith("ran: ")] == ["ran: ran"]
            assert len(await rows(gateway)) == 1
