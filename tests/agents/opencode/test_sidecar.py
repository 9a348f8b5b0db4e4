"""Servers of our own, as real processes: started, waited for, watched, ended. In real time."""

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
import trio

from gatewayd.agents.opencode.core import OpencodeCore
from gatewayd.agents.opencode.server.sidecar import command_line, permission_rules
from gatewayd.model.errors import AgentFailed, NeedsOperator, TryAgain
from gatewayd.model.secret import Secret
from gatewayd.ports.agent import Final
from tests.agents.opencode.going import go
from tests.agents.opencode.house import ALLOWED, DictState, FakeTurn, open_core

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
MODULE = "tests.fakes.opencode_server"
KINDS = pytest.mark.parametrize("kind", ["opencode", "openagentic"])


@asynccontextmanager
async def sidecar(tmp_path: Path, *words: str, kept: DictState | None = None, **settings: Any) -> AsyncIterator[OpencodeCore]:
    command = (sys.executable, "-m", MODULE, *words)
    environment = {"PYTHONPATH": str(ROOT), **settings.pop("environment", {})}
    with trio.fail_after(60):
        async with open_core(None, kept, command=command, environment=environment, state=tmp_path / "state", **settings) as core:
            yield core


def gone(pid: int) -> bool:
    """Whether the process has ended; nobody may have reaped it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@KINDS
async def test_it_serves_and_is_gone_with_all_it_started(tmp_path: Path, kind: str) -> None:
    async with sidecar(tmp_path, kind) as core:
        session = await core.new_session("k")
        assert await core.run(FakeTurn(session, "hi")) == Final("echo: hi")
        child = int((await core.run(FakeTurn(session, "child", turn_id="t2"))).text)
        facts = core.facts()
        assert facts.pid is not None
        assert not gone(facts.pid)
        assert facts.url is not None
        assert facts.url.startswith("http://127.0.0.1:")
        assert core.endpoint().url == facts.url
    assert gone(facts.pid)
    assert gone(child)


async def test_it_has_a_place_and_an_environment_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GATEWAYD_CANARY", "ours")
    key = Secret("the key of the model")
    async with sidecar(
        tmp_path, "opencode", environment={"SET": "x"}, secrets={"MODEL_KEY": key}, auto_approve=("read",)
    ) as core:
        session = await core.new_session("k")
        work = tmp_path / "state" / "work"
        assert await core.run(FakeTurn(session, "directory")) == Final(str(work))
        assert (work.stat().st_mode & 0o777, work.parent.stat().st_mode & 0o777) == (0o700, 0o700)
        names = (await core.run(FakeTurn(session, "environment", turn_id="t2"))).text.split()
        assert {"SET", "MODEL_KEY", "PORT", "OPENCODE_SERVER_PASSWORD"} <= set(names)
        assert "GATEWAYD_CANARY" not in names
        rules = (await core.run(FakeTurn(session, "value of OPENCODE_PERMISSION", turn_id="t3"))).text
        assert msgspec.json.decode(rules)["*"] == "ask"
        assert "the key" not in repr(core.facts())


async def test_its_end_fails_the_turn_and_the_core(tmp_path: Path, nursery: trio.Nursery) -> None:
    with pytest.RaisesGroup(
        pytest.RaisesExc(TryAgain, match="exit code 3; its last output: .*out of memory"), flatten_subgroups=True
    ):
        async with sidecar(tmp_path, "opencode") as core:
            going = go(nursery, core, FakeTurn(await core.new_session("k"), "die"))
            await trio.sleep_forever()
    with pytest.raises(
        AgentFailed,
        match=r"restarted in the middle of the turn: process \d+ ended with exit code 3; its last output: .*out of memory",
    ):
        await going.wait()


async def test_a_request_that_waits_is_void_when_it_is_killed(tmp_path: Path, nursery: trio.Nursery) -> None:
    kept = DictState()
    with pytest.RaisesGroup(pytest.RaisesExc(TryAgain, match="SIGKILL"), flatten_subgroups=True):
        async with sidecar(tmp_path, "opencode", kept=kept) as core:
            session = await core.new_session("k")
            going = go(nursery, core, FakeTurn(session, "ask"))
            await going.turn.wait_requests()
            pid = core.facts().pid
            assert pid is not None
            os.kill(pid, 9)
            await trio.sleep_forever()
    with pytest.raises(AgentFailed, match="restarted in the middle"):
        await going.wait()
    going.turn.decide(0, ALLOWED)


@pytest.mark.parametrize(
    ("words", "settings", "error", "reason"),
    [
        (("opencode", "dies"), {}, TryAgain, "exit code 7; its last output: no model is configured"),
        (("opencode", "silent"), {"start_timeout_seconds": 2.0}, TryAgain, "did not answer within 2 s of its start"),
        (("opencode",), {"directory": "/no/such/place"}, NeedsOperator, "/no/such/place does not exist"),
    ],
)
async def test_it_cannot_be_started(
    tmp_path: Path, words: tuple[str, ...], settings: dict[str, Any], error: type[Exception], reason: str
) -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(error, match=reason), flatten_subgroups=True, allow_unwrapped=True):
        async with sidecar(tmp_path, *words, **settings):
            pass


async def test_a_command_that_is_not_there_needs_the_operator(tmp_path: Path) -> None:
    with pytest.raises(NeedsOperator, match="there is no command 'no-such-program'"):
        async with open_core(None, command=("no-such-program",), state=tmp_path / "state"):
            pass


def test_where_the_port_goes() -> None:
    assert command_line(("oa", "serve"), 5) == ["oa", "serve", "--port", "5"]
    assert command_line(("x", "--listen=127.0.0.1:{port}"), 5) == ["x", "--listen=127.0.0.1:5"]


def test_what_is_not_named_has_to_be_asked_for() -> None:
    rules = msgspec.json.decode(permission_rules(("read", "glob")), type=dict[str, object])
    assert list(rules) == ["*", "read", "glob"], "the last that matches counts"
    assert rules == {
        "*": "ask",
        "read": {"*": "allow", "*.env": "ask", "*.env.*": "ask", "*.env.example": "allow"},
        "glob": "allow",
    }
