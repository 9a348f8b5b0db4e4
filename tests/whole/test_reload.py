"""Reloads of the daemon as a process: what did not change keeps its very connection, its turns and its messages."""

import json
import os
import pty
import signal
import socket
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
import trio

from gatewayd.model.reload import ReloadReport
from gatewayd.model.status import Snapshot
from tests.fakes.bot_api import FakeBotApi
from tests.whole.process import Daemon, daemon

pytestmark = pytest.mark.slow

ALICE, BOB = 1001, 1002
SECRETS = {"second": "1234567:AAsecond-bot-of-the-test-000000000000", "third": "7654321:AAthird-bot-of-the-test-0000000000000"}


@pytest.fixture(autouse=True)
def bounded(nursery: trio.Nursery) -> None:
    """No test of this module may take longer than a minute."""
    nursery.start_soon(_fail_after_a_minute)


async def _fail_after_a_minute() -> None:
    await trio.sleep(60)
    raise AssertionError("the test took longer than a minute")


@pytest.fixture(autouse=True)
def hears_hang_ups() -> Iterator[None]:
    """The daemon inherits from us whether SIGHUP is ignored, and we may run under nohup ourselves."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


class Bench:
    """A daemon, its configuration file, and bots on one fake server."""

    def __init__(self, api: FakeBotApi, tmp_path: Path) -> None:
        self.api = api
        self.bots = {"main": api} | {name: api.add_bot(token, f"{name}_bot") for name, token in SECRETS.items()}
        self.folder = tmp_path
        self.gateway: Daemon
        for name, bot in self.bots.items():
            self.put_token(name, bot)

    def put_token(self, name: str, bot: FakeBotApi) -> None:
        file = self.folder / f"{name}.token"
        file.touch(mode=0o600)
        file.write_text(bot.token)

    def account(self, name: str, more: str = "") -> str:
        return f"""
[channels.telegram.accounts.{name}]
token = {{ file = "{self.folder / name}.token" }}
api_base = "{self.api.url}"
dm_policy = "open"
{more}
"""

    def write(self, *accounts: str, agent: str = 'core = "echo"\nword_delay_seconds = 0.5', more: str = "") -> str:
        text = f"[agents.assistant]\n{agent}\n{more}\n" + "\n".join(self.account(name) for name in accounts)
        (self.folder / "gatewayd.toml").write_text(text)
        return text

    async def reload(self) -> ReloadReport:
        async with self.gateway.client() as client:
            answer = await client.post("/v1/gateway/reload")
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=ReloadReport)

    def hang_up(self) -> None:
        self.gateway.process.send_signal(signal.SIGHUP)

    def logged(self, event: str) -> int:
        return self.gateway.log.read_text().count(f'"event":"{event}"')

    async def wait_logged(self, event: str, count: int) -> None:
        while self.logged(event) < count:  # noqa: ASYNC110 -- another process
            await trio.sleep(0.01)


@asynccontextmanager
async def open_bench(tmp_path: Path, *accounts: str) -> AsyncIterator[Bench]:
    async with FakeBotApi.serve() as api:
        bench = Bench(api, tmp_path)
        bench.write(*accounts)
        async with daemon(tmp_path / "state", arguments=("--config", str(tmp_path / "gatewayd.toml"))) as bench.gateway:
            await bench.gateway.wait_status(connected(*accounts))
            yield bench


def connected(*accounts: str) -> Callable[[Snapshot], bool]:
    return lambda snapshot: {a.account for a in snapshot.accounts if a.state == "connected"} == set(accounts)


def counts(bot: FakeBotApi) -> tuple[int, int]:
    """How often a bot was asked who it is, and for updates: a connection that is kept asks neither anew."""
    return len(bot.calls("getMe")), len(bot.calls("getUpdates"))


@pytest.mark.slow
async def test_everything_changes_around_an_account_that_does_not(tmp_path: Path) -> None:
    async with open_bench(tmp_path, "main", "second") as bench:
        api, gateway = bench.api, bench.gateway
        api.user_sends(ALICE, "one two three four five six seven eight")
        await gateway.wait_status(lambda snapshot: snapshot.lanes.running == 1 and snapshot.counters["inbound_waiting"] == 0)
        await api.wait_delivered()
        poll = await api.wait_poll()
        kept, pid = counts(api), (await gateway.status()).pid
        # The second account gets another bot's token, a third one comes, rules and groups change.
        bench.put_token("second", api.add_bot("1112223:AAfourth-bot-of-the-test-00000000000", "fourth_bot"))
        rules = '[agents.assistant.approvals]\nrules = [{ action = "deny", tool = "shell" }]\nask = ["team"]'
        bench.write("main", "second", "third", more=rules + '\n[approvals.groups.team]\npeople = ["telegram:1001"]')
        report = await bench.reload()
        assert [str(change) for change in report.applied] == [
            "[approvals.groups.team] added",
            "[agents.assistant]: approvals changed",
            "[channels.telegram.accounts.second]: token changed: reconnected; its waiting replies are kept",
            "[channels.telegram.accounts.third] added",
        ]
        assert (report.unchanged_accounts, report.needs_restart) == (1, ())
        assert api.texts(ALICE) == [], "the turn still runs"
        await gateway.wait_status(connected("main", "second", "third"))
        assert api.waiting_poll is poll
        assert counts(api) == kept, "its very poll still waits"
        bench.write("main", "third")
        assert [change.kind for change in (await bench.reload()).applied] == ["removed", "changed", "removed"]
        await gateway.wait_status(connected("main", "third"))
        assert await api.wait_texts(ALICE, 1) == ["one two three four five six seven eight"]
        assert counts(api) == kept
        api.user_sends(ALICE, "still there?")
        await api.wait_texts(ALICE, 2)
        snapshot = await gateway.status()
        assert (snapshot.pid, snapshot.problems, snapshot.accounts[0].restarts) == (pid, (), 0)
        assert not api.violations


@pytest.mark.force
async def test_a_token_file_with_another_token_is_another_bot(tmp_path: Path) -> None:
    async with open_bench(tmp_path, "second") as bench:
        other = bench.bots["third"]
        bench.put_token("second", other)
        bench.hang_up()
        await other.wait_call("getMe")
        other.user_sends(BOB, "hello third")
        assert await other.wait_texts(BOB, 1) == ["hello third"]
        log = bench.gateway.log.read_text()
        assert not any(token in log for token in SECRETS.values())


async def test_a_bad_file_changes_nothing_until_a_good_one_comes(tmp_path: Path) -> None:
    async with open_bench(tmp_path, "main") as bench:
        api, gateway = bench.api, bench.gateway
        await api.wait_poll()
        kept = counts(api)
        text = bench.write("main", more="bogus = 1\n[limits]\nturns = 0")
        async with gateway.client() as client:
            answer = await client.post("/v1/gateway/reload")
        assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_config")
        assert len(answer.json()["problems"]) == 2
        done = await trio.run_process(_ctl(gateway, "reload"), capture_stdout=True, capture_stderr=True, check=False)
        assert (done.returncode, done.stderr.count(b"\n")) == (1, 3)
        bench.hang_up()
        await bench.wait_logged("reload_refused", 3)
        snapshot = await gateway.status()
        assert [problem.code for problem in snapshot.problems] == ["config_refused"]
        assert snapshot.ready
        (tmp_path / "gatewayd.toml").unlink()
        bench.hang_up()
        await bench.wait_logged("reload_refused", 4)
        assert counts(api) == kept
        (tmp_path / "gatewayd.toml").write_text(text.replace("bogus = 1\n[limits]\nturns = 0", ""))
        bench.hang_up()
        await gateway.wait_status(lambda snapshot: not snapshot.problems)
        assert counts(api) == kept
        async with gateway.client() as client:
            entries = (await client.get("/v1/audit")).json()["entries"]
        acts = [(entry["actor"], entry["action"]) for entry in entries if entry["action"].startswith("gateway.")]
        assert acts == [
            ("operator:local", "gateway.reload.refused"),
            ("operator:local", "gateway.reload.refused"),
            ("signal:SIGHUP", "gateway.reload.refused"),
            ("signal:SIGHUP", "gateway.reload.refused"),
            ("signal:SIGHUP", "gateway.reload"),
        ]


def _ctl(gateway: Daemon, *arguments: str) -> list[str]:
    command = [sys.executable, "-c", "from gatewayd.cli.gatewayctl import main; raise SystemExit(main())"]
    return [*command, "--state-dir", str(gateway.state_dir), *arguments]


@pytest.mark.force
async def test_ten_hang_ups_while_messages_flow_lose_and_double_nothing(tmp_path: Path) -> None:
    chats, quick = range(2000, 2010), 'core = "echo"'
    async with open_bench(tmp_path, "main", "second") as bench:
        api = bench.api
        said = {chat: [f"m{number}" for number in range(10)] for chat in chats}
        for number in range(10):
            for chat in chats:
                api.user_sends(chat, f"m{number}")
            accounts = ("main", "third") if number % 2 else ("main", "second")
            slow = "\nword_delay_seconds = 0.01" if number % 3 else ""
            bench.write(*accounts, agent=quick + slow, more=f"[limits]\nturns = {1 + number}")
            bench.hang_up()
            await trio.sleep(0.02)
        for chat in chats:
            assert await api.wait_texts(chat, 10) == said[chat]
        await bench.gateway.wait_status(lambda s: not (s.lanes.live or s.outbox.ready or s.outbox.sending))
        assert {chat: api.texts(chat) for chat in chats} == said, "and nothing came after it"
        snapshot = await bench.gateway.wait_status(connected("main", "third"))
        assert (snapshot.accounts[0].restarts, snapshot.outbox.unknown, snapshot.outbox.dead) == (0, 0, 0)
        assert snapshot.counters["inbound_received"] == 100


@pytest.mark.force
async def test_a_service_manager_hears_of_a_reload(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        listening = trio.socket.from_stdlib_socket(manager)
        env = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        (tmp_path / "gatewayd.toml").write_text('[agents.a]\ncore = "echo"\n')
        arguments = ("--config", str(tmp_path / "gatewayd.toml"))
        async with daemon(tmp_path / "state", arguments=arguments, env=env) as gateway:

            async def next_with(word: str) -> str:
                while word not in (text := (await listening.recv(4096)).decode()):
                    pass
                return text

            await next_with("READY=1")
            for good in (True, False):
                (tmp_path / "gatewayd.toml").write_text('[agents.a]\ncore = "echo"\n' + ("" if good else "bogus = 1\n"))
                gateway.process.send_signal(signal.SIGHUP)
                reloading = await next_with("RELOADING=1")
                assert int(reloading.partition("MONOTONIC_USEC=")[2].split("\n")[0]) > 0
                await next_with("READY=1")
            assert await gateway.stop() == 0


@pytest.mark.force
async def test_a_terminal_that_is_closed_ends_it(tmp_path: Path) -> None:
    """In a terminal of its own, as a person runs it: the kernel sends SIGHUP when that is gone (signal(7))."""
    master, slave = pty.openpty()
    script = (
        "import fcntl, os, sys, termios\n"
        "os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0)\n"
        "os.execv(sys.executable, [sys.executable, '-m', 'gatewayd', *sys.argv[1:]])"
    )
    state = tmp_path / "state"
    state.mkdir()
    command = [sys.executable, "-c", script, "--state-dir", str(state), "--bind", "127.0.0.1:0"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAYD_", "XDG_", "NOTIFY"))}
    with (tmp_path / "log").open("wb") as log:
        process = await trio.lowlevel.open_process(
            command, stdin=slave, stdout=log, stderr=log, env=environment | {"HOME": str(tmp_path)}
        )
    os.close(slave)
    try:
        while not (state / "endpoint.json").exists():  # noqa: ASYNC110 -- another process
            await trio.sleep(0.02)
        process.send_signal(signal.SIGHUP)
        while b'"event":"reloaded"' not in (tmp_path / "log").read_bytes():  # noqa: ASYNC110
            await trio.sleep(0.02)
        os.close(master)
        with trio.fail_after(20):
            assert await process.wait() == 0
    finally:
        if process.poll() is None:
            process.kill()
            await process.wait()
    assert json.loads((tmp_path / "log").read_bytes().splitlines()[-1])["event"] == "stopped"
