"""The real OpenCode client, attached to an agent through the daemon."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.agents.real.conftest import model, openagentic_project, opencode_binary, opencode_project
from tests.agents.real.installed import Project, oa_command
from tests.fakes.model_server import ModelServer
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.slow

__all__ = ["model", "openagentic_project", "opencode_binary", "opencode_project"]

COMMAND = "echo ran >> ran.txt; cat ran.txt"
MESSAGE = {
    "channel": "loopback",
    "account": "main",
    "peer": {"kind": "dm", "id": "7"},
    "sender": {"id": "7"},
    "text": f"run {COMMAND}",
}


def configuration(command: list[str], project: Project) -> str:
    environment = ", ".join(f'{name} = "{value}"' for name, value in project.env.items())
    return f"""
[agents.coder]
core = "opencode"
command = {command}
directory = "{project.directory}"
environment = {{ {environment} }}
[channels.loopback.accounts.main]
dm_policy = "open"
"""


def runs(project: Project) -> int:
    """How many times the command ran."""
    file = project.directory / "ran.txt"
    return file.read_text().count("ran") if file.exists() else 0


async def attached(binary: Path, project: Project, gateway: Daemon, password: str, prompt: str) -> tuple[int, str]:
    """``opencode run --attach``: its exit code and output. It refuses by itself whatever it is asked for."""
    home = project.directory.with_name("client")
    home.mkdir(exist_ok=True)
    kinds = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "STATE", "CACHE")}
    environment = {**project.env, **kinds, "HOME": str(home), "OPENCODE_SERVER_PASSWORD": password}
    # One argument for each word: it puts quotes around one with spaces.
    command = [str(binary), "run", "--attach", gateway.url, *prompt.split()]
    done = await trio.run_process(
        command, env=environment, cwd=home, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True, check=False
    )
    return done.returncode, (done.stdout + done.stderr).decode()


async def test_a_client_of_opencode_attaches(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    with trio.fail_after(150):
        async with daemon(tmp_path / "state", configuration([str(opencode_binary), "serve"], opencode_project)) as gateway:
            await gateway.wait_status(lambda snapshot: snapshot.ready)
            code, said = await attached(opencode_binary, opencode_project, gateway, gateway.token, "say hello there")
            assert code == 0, said
            async with gateway.client() as client:
                [session] = (await client.get("/session")).json()
                *_, last = (await client.get(f"/session/{session['id']}/message")).json()
                assert [part["text"] for part in last["parts"] if part["type"] == "text"] == ["hello there"]
            await attached(opencode_binary, opencode_project, gateway, gateway.token, f"run {COMMAND}")
            async with gateway.client() as client:
                [row] = (await client.get("/v1/approvals?state=all")).json()["approvals"]
            assert (row["state"], row["origin"], row["decided_by"], row["tool"]) == ("denied", "proxy", "operator:local", "bash")
            assert COMMAND in row["input"]
            code, said = await attached(opencode_binary, opencode_project, gateway, "not-the-token", "say hello there")
            assert code != 0
            assert runs(opencode_project) == 0


async def test_an_answer_by_the_server_s_own_path_counts_for_our_turn_once(
    opencode_binary: Path, opencode_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    with trio.fail_after(150):
        async with daemon(tmp_path / "state", configuration([str(opencode_binary), "serve"], opencode_project)) as gateway:
            await gateway.wait_status(lambda snapshot: snapshot.ready)
            async with gateway.client() as client:
                await client.post("/v1/chat/inbound", json=MESSAGE)
                await gateway.wait_status(lambda snapshot: snapshot.approvals_pending == 1)
                [asked] = (await client.get("/permission")).json()
                [row] = (await client.get("/v1/approvals")).json()["approvals"]
                assert row["ref"] == asked["id"]
                prompt = {"parts": [{"type": "text", "text": "me, too"}]}
                assert (await client.post(f"/session/{asked['sessionID']}/prompt_async", json=prompt)).status_code == 409
                assert (await client.post(f"/permission/{asked['id']}/reply", json={"reply": "always"})).json() is True
                assert (await client.post(f"/v1/approvals/{row['id']}", json={"decision": "deny"})).status_code == 409
                await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 0)
                assert runs(opencode_project) == 1
                late = await client.post(f"/permission/{asked['id']}/reply", json={"reply": "reject"})
                assert (late.status_code, late.json()["_tag"]) == (404, "PermissionNotFoundError")
                [row] = (await client.get("/v1/approvals?state=all")).json()["approvals"]
                assert (row["state"], row["decided_by"]) == ("allowed", "operator:local")
            done = await trio.run_process(
                [Path(sys.executable).with_name("gatewayctl"), "--state-dir", str(gateway.state_dir), "audit", "verify"],
                capture_stdout=True,
                env={"PATH": os.environ["PATH"], "HOME": str(tmp_path)},
            )
            assert done.stdout.decode().splitlines()[0].endswith("whole")


async def test_openagentic_s_requests_are_ours_by_what_they_say(
    openagentic_project: Project, model: ModelServer, tmp_path: Path
) -> None:
    """Its list has neither sessions nor unique ids."""
    with trio.fail_after(100):
        text = configuration([*oa_command(), "serve"], openagentic_project)
        async with daemon(tmp_path / "state", text) as gateway, gateway.client() as client:
            await gateway.wait_status(lambda snapshot: snapshot.ready)
            await client.post("/v1/chat/inbound", json=MESSAGE)
            await gateway.wait_status(lambda snapshot: snapshot.approvals_pending == 1)
            [asked] = (await client.get("/permission")).json()
            assert asked["tool"] == "Bash"
            theirs = (await client.post("/session", json={})).json()
            assert (await client.post(f"/session/{theirs['id']}/prompt_async", json={"text": "me, too"})).status_code == 409
            assert (await client.post(f"/permission/{asked['id']}/reply", json={"reply": "allow"})).json() is True
            await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 0)
            assert runs(openagentic_project) == 1
            late = await client.post(f"/permission/{asked['id']}/reply", json={"reply": "deny"})
            assert late.status_code == 404
            [row] = (await client.get("/v1/approvals?state=all")).json()["approvals"]
            assert (row["state"], row["decided_by"]) == ("allowed", "operator:local")
            sessions = (await client.get("/session/status")).json()
            assert len(sessions) == 2
