"""The daemon's own life: starting with nothing, refusing what it must refuse, stopping, and telling the service manager."""

import json
import os
import signal
import socket
import stat
import sys
from pathlib import Path

import pytest
import trio

from gatewayd.daemon import EXIT_CRASHED, EXIT_REFUSED
from tests.whole.process import Daemon, daemon, run_to_end

SLOW = '[agents.assistant]\ncore = "echo"\nword_delay_seconds = 0.2\n[channels.webchat.accounts.main]\n'


async def post(gateway: Daemon, text: str, key: str, *, wait: int = 0) -> dict[str, object]:
    """A message from a connector."""
    body = {
        "channel": "webchat",
        "account": "main",
        "event_key": key,
        "peer": {"kind": "dm", "id": "bob"},
        "sender": {"id": "bob"},
        "text": text,
    }
    async with gateway.client() as client:
        response = await client.post("/v1/chat/inbound", params={"wait": wait} if wait else None, json=body)
    assert response.status_code in (200, 202), response.text
    answer: dict[str, object] = response.json()
    return answer


async def test_with_nothing_configured_it_answers(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state") as gateway:
        health = await gateway.get("/health")
        assert health["ok"] is True
        assert health["channels_running"] == 1
        assert health["agentcore_mode"] == "echo"
        answer = await post(gateway, "hello", "k1", wait=20)
        assert answer["payloads"] == [{"text": "hello"}]
        assert "#code=" not in gateway.log.read_text()
        assert gateway.log.read_text().count("gatewayctl webchat link") == 1
        assert await gateway.stop() == 0
        assert not (gateway.state_dir / "endpoint.json").exists()


@pytest.mark.slow
async def test_what_it_writes_is_for_its_owner_only(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state") as gateway:
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in gateway.state_dir.iterdir() if path.name != "log"}
        assert {name for name, mode in modes.items() if mode & 0o077} == set()
        assert {"gatewayd.db", "token", "endpoint.json"} <= modes.keys()


@pytest.mark.slow
async def test_a_state_directory_that_others_can_write_is_refused_and_one_they_can_read_warned_of(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o755)
    (tmp_path / "state").chmod(0o777)
    code, said = await run_to_end(tmp_path / "state")
    assert code == EXIT_REFUSED
    assert f"others can write in the state directory {tmp_path / 'state'} (mode 0777): chmod 700" in said
    assert "Traceback" not in said
    assert list((tmp_path / "state").iterdir()) == []
    (tmp_path / "state").chmod(0o755)
    async with daemon(tmp_path / "state") as gateway:
        await gateway.wait_logged("state_dir_readable")


@pytest.mark.slow
async def test_links_in_the_state_directory_are_not_followed(tmp_path: Path) -> None:
    state, other = tmp_path / "state", tmp_path / "other"
    state.mkdir(mode=0o700)
    other.write_text("of somebody else")
    for name in ("endpoint.json", ".endpoint.json", ".endpoint.json.part", ".token.part"):
        (state / name).symlink_to(other)
    async with daemon(state) as gateway:
        assert await gateway.stop() == 0
    assert other.read_text() == "of somebody else"
    assert stat.S_IMODE((state / "token").lstat().st_mode) == 0o600


@pytest.mark.slow
async def test_a_second_daemon_on_the_same_state_is_refused_in_words(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state") as gateway:
        code, said = await run_to_end(tmp_path / "state")
        assert code == EXIT_REFUSED
        assert str(gateway.process.pid) in said
        assert (await gateway.get("/health"))["ok"] is True


async def test_a_taken_port_is_refused_in_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, said = await run_to_end(tmp_path / "state", "--bind", address)
    assert code == EXIT_REFUSED
    assert address in said
    assert "in use" in said


@pytest.mark.slow
@pytest.mark.parametrize("garbage", [b"", b"garbage" * 1000])
async def test_a_damaged_store_is_refused_and_left_as_it_is(tmp_path: Path, garbage: bytes) -> None:
    state = tmp_path / "state"
    async with daemon(state) as gateway:
        await post(gateway, "hello", "k1", wait=20)
        await gateway.stop()
    (state / "gatewayd.db").write_bytes(garbage)
    code, said = await run_to_end(state)
    assert code == EXIT_REFUSED
    assert "gatewayd.db" in said
    assert (state / "gatewayd.db").read_bytes() == garbage


async def test_a_stop_lets_the_running_turn_finish(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state", SLOW) as gateway:
        await post(gateway, "one two three four", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1)
        assert await gateway.stop() == 0
    async with daemon(tmp_path / "state", SLOW) as gateway:
        repeated = await post(gateway, "one two three four", "k1", wait=20)
        assert (repeated["duplicate"], repeated["state"]) == (True, "done")
        assert (await gateway.status()).agents[0].turns == 0, "it was answered before the stop"


@pytest.mark.slow
async def test_a_stop_that_cannot_wait_for_the_turn_leaves_it_for_the_next_start(tmp_path: Path) -> None:
    impatient = "[gateway]\ndrain_seconds = 0.5\n" + SLOW.replace("0.2", "30.0")
    async with daemon(tmp_path / "state", impatient) as gateway:
        await post(gateway, "one two", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1)
        assert await gateway.stop() == 0
    async with daemon(tmp_path / "state", SLOW) as gateway:
        answer = await post(gateway, "one two", "k1", wait=20)
        assert (answer["duplicate"], answer["payloads"]) == (True, [{"text": "one two"}])


@pytest.mark.slow
async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state", SLOW.replace("0.2", "60.0")) as gateway:
        await post(gateway, "one two", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1)
        gateway.process.send_signal(signal.SIGTERM)
        await gateway.wait_logged("stopping")
        gateway.process.send_signal(signal.SIGINT)
        with trio.fail_after(10):
            await gateway.wait()


@pytest.mark.slow
async def test_an_approval_survives_kill_and_counts_once(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state") as gateway:
        await post(gateway, "/demo-tool tidy up", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.approvals_pending == 1)
        gateway.kill()
        await gateway.wait()
    async with daemon(tmp_path / "state") as gateway:
        listed = await gateway.get("/v1/approvals")
        assert isinstance(listed["approvals"], list)
        [approval] = listed["approvals"]
        async with gateway.client() as client:
            path = f"/v1/approvals/{approval['id']}"
            assert (await client.post(path, json={"decision": "allow"})).status_code == 200
            assert (await client.post(path, json={"decision": "allow"})).status_code == 409
        answer = await post(gateway, "/demo-tool tidy up", "k1", wait=20)
        payloads = answer["payloads"]
        assert isinstance(payloads, list)
        assert payloads[-1]["text"] == "Done, with the permission of operator:local: tidy up"


async def test_it_tells_the_service_manager_and_keeps_the_way_in_out_of_the_journal(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.setblocking(False)
        async with daemon(tmp_path / "state", env={"NOTIFY_SOCKET": str(tmp_path / "notify")}) as gateway:
            await gateway.wait_status(lambda snapshot: snapshot.ready)
            assert await gateway.stop() == 0
            assert "#code=" not in gateway.log.read_text()
        said = b"\n".join(_datagrams(manager)).decode().splitlines()
    assert said.index("READY=1") < said.index("STOPPING=1")
    assert "STATUS=1 of 1 accounts connected" in said


def _datagrams(manager: socket.socket) -> list[bytes]:
    found = []
    while True:
        try:
            found.append(manager.recv(4096))
        except BlockingIOError:
            return found


@pytest.mark.slow
async def test_log_lines_are_json_with_the_ids(tmp_path: Path) -> None:
    async with daemon(tmp_path / "state") as gateway:
        await post(gateway, "hello", "k1", wait=20)
        await gateway.stop()
        lines = [json.loads(line) for line in gateway.log.read_text().splitlines() if line.startswith("{")]
    ready = next(line for line in lines if line["event"] == "ready")
    assert ready["url"] == gateway.url
    assert {"time", "level", "logger"} <= ready.keys()
    turn = next(line for line in lines if line["event"] == "turn_ended")
    assert (turn["channel"], turn["account"], turn["turn_id"], turn["event_key"]) == ("webchat", "main", "turn-1", "via:local:k1")
    assert (turn["session_key"], turn["reason"]) == ("assistant:webchat:main:dm:bob", "answered")


@pytest.mark.slow
async def test_a_hundred_idle_accounts_start_and_stop(tmp_path: Path) -> None:
    accounts = "".join(f"[channels.loopback.accounts.a{number}]\n" for number in range(100))
    async with daemon(tmp_path / "state", accounts) as gateway:
        snapshot = await gateway.wait_status(lambda s: all(account.state == "connected" for account in s.accounts))
        assert [account.account for account in snapshot.accounts] == [f"a{number}" for number in range(100)]
        assert await gateway.stop() == 0
        assert not os.path.exists(f"/proc/{gateway.process.pid}")


OWN_CORE = """
from contextlib import asynccontextmanager
import trio
from msgspec import Struct
from gatewayd.hub.turns.engine import ReplyEngine
from gatewayd.model.errors import AgentFailed
from gatewayd.ports.agent import AgentPlugin, Final

PLUGIN = AgentPlugin(id="own", label="Own", settings="own_core:Settings", open="own_core:open_core")

class Settings(Struct, frozen=True):
    pass

class Core:
    def __init__(self):
        self.closed = trio.Event()

    async def new_session(self, session_key):
        return session_key

    async def turn_state(self, session_id, turn_id):
        return "unknown"

    async def run(self, turn):
        if turn.request.attempt > 1:
            return Final("the second time")
        if turn.request.text == "stubborn":
            with trio.CancelScope(shield=True):
                await trio.sleep_forever()
        if turn.request.text == "crash":
            async def broken(*args):
                raise RuntimeError("a bug of gatewayd's own")
            ReplyEngine._end = broken
            return Final("")
        await self.closed.wait()
        raise AgentFailed("closed under its turn")

@asynccontextmanager
async def open_core(agent, services):
    core = Core()
    try:
        yield core
    finally:
        core.closed.set()
        with trio.CancelScope(shield=True):
            await trio.sleep(0.2)
"""
IMPATIENT = '[gateway]\ndrain_seconds = 0.5\n[agents.assistant]\ncore = "own"\n[channels.webchat.accounts.main]\n'


@pytest.fixture
def own_core(tmp_path: Path) -> dict[str, str]:
    """The environment in which an installed distribution offers the core ``own``."""
    folder = tmp_path / "site"
    info = folder / "own_core-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: own-core\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[gatewayd.agents]\nown = own_core:PLUGIN\n")
    (folder / "own_core.py").write_text(OWN_CORE)
    return {"PYTHONPATH": str(folder)}


@pytest.mark.slow
async def test_a_turn_that_meets_the_deadline_is_cut_before_its_agent_closes(tmp_path: Path, own_core: dict[str, str]) -> None:
    async with daemon(tmp_path / "state", IMPATIENT, env=own_core) as gateway:
        await post(gateway, "slow", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.agents[0].running == 1)
        assert await gateway.stop() == 0
    async with daemon(tmp_path / "state", IMPATIENT, env=own_core) as gateway:
        answer = await post(gateway, "slow", "k1", wait=20)
        assert (answer["state"], answer["payloads"]) == ("done", [{"text": "the second time"}])


@pytest.mark.slow
async def test_an_agent_that_ignores_its_cancellation_does_not_hold_up_the_stop(tmp_path: Path, own_core: dict[str, str]) -> None:
    async with daemon(tmp_path / "state", IMPATIENT, env=own_core) as gateway:
        await post(gateway, "stubborn", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.agents[0].running == 1)
        assert await gateway.stop() == 0
        assert "tasks_abandoned_at_exit" in gateway.log.read_text()
    async with daemon(tmp_path / "state", IMPATIENT, env=own_core) as gateway:
        assert (await post(gateway, "stubborn", "k1", wait=20))["payloads"] == [{"text": "the second time"}]


@pytest.mark.slow
async def test_a_crash_ends_the_process_whatever_was_abandoned(tmp_path: Path, own_core: dict[str, str]) -> None:
    async with daemon(tmp_path / "state", IMPATIENT, env=own_core) as gateway:
        await post(gateway, "stubborn", "k1")
        await gateway.wait_status(lambda snapshot: snapshot.agents[0].running == 1)
        eve = {"peer": {"kind": "dm", "id": "eve"}, "sender": {"id": "eve"}}
        body = {"channel": "webchat", "account": "main", "event_key": "k2", "text": "crash", **eve}
        async with gateway.client() as client:
            await client.post("/v1/chat/inbound", json=body)
        assert await gateway.wait() == EXIT_CRASHED
        assert '"event":"crashed"' in gateway.log.read_text()
    async with daemon(tmp_path / "state", IMPATIENT, env=own_core) as gateway, gateway.client() as client:
        assert (await client.post("/v1/chat/inbound?wait=20", json=body)).json()["state"] == "done"


@pytest.mark.slow
async def test_a_hang_up_is_a_reload_unless_it_was_to_be_ignored(tmp_path: Path) -> None:
    # The daemon inherits from us whether it is ignored, and we may run under nohup ourselves.
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    try:
        for ignored in (False, True):
            signal.signal(signal.SIGHUP, signal.SIG_IGN if ignored else signal.SIG_DFL)
            async with daemon(tmp_path / "state") as gateway:
                gateway.process.send_signal(signal.SIGHUP)
                if not ignored:
                    await gateway.wait_logged("reloaded")
                assert (await post(gateway, "hello", f"k{ignored}", wait=20))["payloads"] == [{"text": "hello"}]
                assert await gateway.stop() == 0
        assert gateway.log.read_text().count('"event":"reloaded"') == 1
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["a file", "no directory can be made"])
async def test_a_state_directory_that_is_none_is_refused_in_words(tmp_path: Path, what: str) -> None:
    file = tmp_path / "file"
    file.touch()
    state = file if what == "a file" else file / "below"
    command = [sys.executable, "-m", "gatewayd", "--state-dir", str(state), "--bind", "127.0.0.1:0"]
    with trio.fail_after(30):
        done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False)
    assert done.returncode == EXIT_REFUSED
    assert str(file).encode() in done.stderr
    assert b"Traceback" not in done.stderr
