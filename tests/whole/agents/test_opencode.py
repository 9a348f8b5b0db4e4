"""From a chat to the real OpenCode and back: what it wants to run waits for a button, runs once, and is answered."""

from pathlib import Path

import pytest
import trio

from tests.agents.real.conftest import model, opencode_binary, opencode_project
from tests.agents.real.installed import Project, opencode_server
from tests.fakes.bot_api import FakeBotApi
from tests.fakes.model_server import ModelServer
from tests.whole.browser.chromium import EXECUTABLE, open_tab
from tests.whole.browser.test_webchat import CONNECTED, login_link
from tests.whole.browser.test_webchat import say as write
from tests.whole.process import Daemon, daemon
from tests.whole.test_telegram import ALICE, configuration

__all__ = ["model", "opencode_binary", "opencode_project"]

COMMAND = "echo ran >> ran.txt; cat ran.txt"
POLICY = """
[agents.assistant.approvals]
ask = ["owners"]
[approvals.groups.owners]
people = ["telegram:1001"]
"""
TEXTS = "[...document.querySelectorAll('#log .agent .body')].map((body) => body.innerText)"


def remote(url: str, project: Project) -> str:
    return f'core = "opencode"\nurl = "{url}"\ndirectory = "{project.directory}"\n{POLICY}'


def sidecar(binary: Path, project: Project) -> str:
    environment = ", ".join(f'{name} = "{value}"' for name, value in project.env.items())
    command = f'core = "opencode"\ncommand = ["{binary}", "serve"]\n'
    return f'{command}directory = "{project.directory}"\nenvironment = {{ {environment} }}\n{POLICY}'


def runs(project: Project) -> int:
    """How many times the command ran."""
    file = project.directory / "ran.txt"
    return file.read_text().count("ran") if file.exists() else 0


async def test_a_button_in_telegram_lets_a_command_run_once(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with trio.fail_after(90):
        async with FakeBotApi.serve() as api:
            text = configuration(api, state, agent=sidecar(opencode_binary, opencode_project))
            async with daemon(state, text) as gateway:
                api.user_sends(ALICE, f"run {COMMAND}")
                prompt = await api.wait_buttons(ALICE, "Allow once")
                shown = api.chat(ALICE).messages[prompt]["text"]
                assert COMMAND in shown
                assert runs(opencode_project) == 0
                press = api.user_presses_button(ALICE, "Allow once")
                again = api.user_presses(ALICE, prompt, press["callback_query"]["data"])
                await api.wait_text(ALICE, "ran: ran")
                assert runs(opencode_project) == 1
                await api.wait_text(ALICE, "Allowed by telegram:1001")
                assert (await api.wait_answer(again))["text"] == "Too late: this was allowed already."
                api.user_sends(ALICE, f"run {COMMAND}")
                await api.wait_buttons(ALICE, "Deny")
                api.user_presses_button(ALICE, "Deny")
                await api.wait_text(ALICE, "Denied by telegram:1001")
                agents = (await gateway.get("/v1/agents"))["agents"]
                assert isinstance(agents, list)
                assert agents[0]["pid"] > 0
                await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 0)
                assert await gateway.stop() == 0
            assert runs(opencode_project) == 1
            assert not Path(f"/proc/{agents[0]['pid']}").exists()


@pytest.mark.parametrize("press", ["while it is down", "after the start"])
async def test_a_daemon_killed_while_a_command_waits_takes_it_up_again(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path, press: str
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with trio.fail_after(90):
        async with FakeBotApi.serve() as api, opencode_server(opencode_binary, opencode_project) as server:
            text = configuration(api, state, agent=remote(server.url, opencode_project))
            async with daemon(state, text) as gateway:
                api.user_sends(ALICE, f"run {COMMAND}")
                await api.wait_buttons(ALICE, "Allow once")
                await api.wait_delivered()
                await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
                gateway.kill()
                await gateway.wait()
            if press == "while it is down":
                api.user_presses_button(ALICE, "Allow once")
            async with daemon(state, text) as gateway:
                if press == "after the start":
                    await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1)
                    api.user_presses_button(ALICE, "Allow once")
                await api.wait_text(ALICE, "ran: ran")
                assert runs(opencode_project) == 1
                assert [sent for sent in api.texts(ALICE) if sent.startswith("ran: ")] == ["ran: ran"]
                assert len(await rows(gateway)) == 1


async def rows(gateway: Daemon) -> list[object]:
    """Every request there ever was."""
    found = (await gateway.get("/v1/approvals?state=all"))["approvals"]
    assert isinstance(found, list)
    return found


async def test_a_stop_leaves_a_turn_at_its_server_and_the_next_start_takes_it_up(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    state.mkdir()
    with trio.fail_after(90):
        async with FakeBotApi.serve() as api, opencode_server(opencode_binary, opencode_project) as server:
            text = configuration(api, state, agent=remote(server.url, opencode_project))
            async with daemon(state, text) as gateway:
                api.user_sends(ALICE, f"run {COMMAND}")
                await api.wait_buttons(ALICE, "Allow once")
                await gateway.wait_status(lambda snapshot: snapshot.outbox.ready == snapshot.outbox.sending == 0)
                assert await gateway.stop() == 0
            async with server.client() as client:
                headers = {"x-opencode-directory": str(opencode_project.directory)}
                assert len((await client.get("/permission", headers=headers)).json()) == 1
            async with daemon(state, text):
                api.user_presses_button(ALICE, "Allow once")
                await api.wait_text(ALICE, "ran: ran")
            assert runs(opencode_project) == 1


@pytest.mark.skipif(EXECUTABLE is None, reason="there is no Chromium on this machine")
async def test_the_page_lets_a_command_run_once(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    text = f"[agents.assistant]\n{sidecar(opencode_binary, opencode_project)}[channels.webchat.accounts.main]\n"
    text = text.replace("telegram:1001", "webchat:owner")
    with trio.fail_after(90):
        async with daemon(tmp_path / "state", text) as server, open_tab() as tab:
            await tab.show_as(1280, 800)
            await tab.open(await login_link(server))
            await tab.wait_for(CONNECTED)
            await write(tab, f"run {COMMAND}")
            await tab.wait_for("document.querySelectorAll('#log .choice').length === 3", within=40)
            assert runs(opencode_project) == 0
            await tab.screenshot(tmp_path / "prompt.png")
            await tab.click("#log .choice")
            await tab.wait_for(f"{TEXTS}.some((text) => text.includes('ran: ran'))", within=30)
            assert runs(opencode_project) == 1
            await tab.screenshot(tmp_path / "answered.png")
