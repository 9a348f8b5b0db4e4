"""Third-party code in the daemon as a process: an agent that raises everything there is, and plug-ins that cannot be used."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import trio

from gatewayd.hub.turns.outcome import SORRY_FAILED
from tests.third_party.kinds import KINDS, OUTAGES
from tests.whole.process import daemon
from tests.whole.test_daemon import post

pytestmark = pytest.mark.slow

ROOT = str(Path(__file__).parents[2])
CONFIG = """
[agents.wild]
core = "callable"
object = "tests.whole.scripted.wild:raise_it"
[channels.webchat.accounts.main]
"""
BROKEN = CONFIG + "[channels.broken.accounts.main]\n"


def install(folder: Path, code: str) -> dict[str, str]:
    """A distribution with a channel whose module is ``code``; the environment in which it is installed."""
    info = folder / "broken-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gatewayd.channels]\nbroken = broken_channel:PLUGIN\n")
    (folder / "broken_channel.py").write_text(code)
    return {"PYTHONPATH": f"{folder}:{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}


async def test_the_process_outlives_whatever_an_agent_raises(tmp_path: Path) -> None:
    with trio.fail_after(60):
        async with daemon(tmp_path / "state", CONFIG) as gateway:
            for kind in KINDS:
                if kind in OUTAGES:
                    continue  # it would be tried again for minutes
                answer = await post(gateway, kind, kind, wait=20)
                assert answer["payloads"] == [{"text": SORRY_FAILED}], kind
                [agent] = (await gateway.status()).agents
                assert "cannot be loaded" not in (agent.last_error or ""), agent.last_error
            assert (await post(gateway, "hello", "k", wait=20))["payloads"] == [{"text": "I shall see."}]
            assert await gateway.stop() == 0


async def test_a_plugin_that_cannot_be_used_parks_its_own_account_until_a_reload_finds_it_mended(tmp_path: Path) -> None:
    env = install(tmp_path / "site", "raise KeyboardInterrupt('while it is imported')")
    with trio.fail_after(60):
        async with daemon(tmp_path / "state", BROKEN, env=env) as gateway:
            assert (await post(gateway, "hello", "k1", wait=20))["payloads"] == [{"text": "I shall see."}]
            status = await gateway.status()
            assert [(account.channel, account.state) for account in status.accounts] == [
                ("webchat", "connected"),
                ("broken", "parked"),
            ]
            [problem] = [problem for problem in status.problems if problem.code == "account_down"]
            assert problem.subject == "broken/main"
            assert "cannot be imported: KeyboardInterrupt: while it is imported" in problem.text
            (tmp_path / "site" / "broken_channel.py").write_text(
                "from gatewayd.channels.loopback import PLUGIN as it\n"
                "from msgspec.structs import replace\n"
                "PLUGIN = replace(it, id='broken')\n"
            )
            async with gateway.client() as client:
                assert (await client.post("/v1/gateway/reload")).status_code == 200
            status = await gateway.wait_status(lambda status: status.ready)
            assert [account.state for account in status.accounts] == ["connected", "connected"]
            assert await gateway.stop() == 0


def test_check_config_calls_it_an_error(tmp_path: Path) -> None:
    env = install(tmp_path / "site", "raise SystemExit(0)")
    file = tmp_path / "gatewayd.toml"
    file.write_text(BROKEN)
    command = [sys.executable, "-m", "gatewayd", "check-config", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, timeout=60)
    assert done.returncode == 1
    assert "[channels.broken]" in done.stderr
    assert "(broken 1.0)" in done.stderr
    assert "cannot be imported: SystemExit: 0" in done.stderr


@pytest.mark.parametrize("command", [["check-config"], []])
def test_a_real_interrupt_is_not_taken_for_one_that_a_plugin_raises(tmp_path: Path, command: list[str]) -> None:
    env = install(tmp_path / "site", "import time; print('importing', flush=True); time.sleep(60)")
    file = tmp_path / "gatewayd.toml"
    file.write_text(BROKEN)
    arguments = [sys.executable, "-m", "gatewayd", "--config", str(file), *command]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "importing\n"
        began = time.monotonic()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == -signal.SIGINT
        assert time.monotonic() - began < 30
