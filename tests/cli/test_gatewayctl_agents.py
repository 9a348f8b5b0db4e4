"""gatewayctl agents: what is asked, and what is shown."""

import json

import pytest

from gatewayd.model.status import AgentStatus
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, FakeGatewayd, error, of

CODER = AgentStatus(
    "coder",
    "opencode",
    "open",
    running=1,
    turns=12,
    failures=2,
    last_error="the model \x1b[31mrefused\n",
    last_error_at=NOW - 130,
    version="1.18.33",
    pid=4711,
    sessions=3,
    url="http://127.0.0.1:40001",
)
DOWN = AgentStatus("other", "acp", "parked", reason="command not found")


@pytest.mark.parametrize("args", [("agents",), ("agents", "list")], ids=" ".join)
def test_list(daemon: FakeGatewayd, ctl: Ctl, args: tuple[str, ...]) -> None:
    daemon.on("GET", "/v1/agents", of({"agents": [CODER, DOWN], "of_a_newer_release": 1}))
    assert ctl(*args) == (
        0,
        "AGENT  CORE      STATE   VERSION  PID   SESSIONS  RUNNING  TURNS  FAILURES\n"
        "coder  opencode  open    1.18.33  4711  3         1        12     2\n"
        "  last error (2 min ago): the model refused\n"
        "other  acp       parked  -        -     -         0        0      0\n"
        "  command not found; to continue: gatewayctl agents restart other\n",
        "",
    )
    assert json.loads(ctl("agents", "list", "--json").out)["of_a_newer_release"] == 1


def test_list_of_none(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/agents", of({"agents": []}))
    assert ctl("agents").out == "no agents are configured\n"


def test_show_with_the_output_of_the_process(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/agents/coder", of({"agent": CODER, "output": ["listening", "\x1b[2Jbad \u202e end"]}))
    assert ctl("agents", "show", "coder").out == (
        "agent       coder\n"
        "core        opencode\n"
        "state       open\n"
        "version     1.18.33\n"
        "process     4711\n"
        "url         http://127.0.0.1:40001\n"
        "sessions    3\n"
        "turns       12, 1 running, 2 failures\n"
        "last error  the model refused (2 min ago)\n"
        "\n"
        "last lines of its output:\n"
        "  listening\n"
        "  bad \\u202e end\n"
    )
    assert json.loads(ctl("agents", "show", "coder", "--json").out)["output"][0] == "listening"


def test_show_of_one_that_is_down(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/agents/other", of({"agent": DOWN, "output": []}))
    assert ctl("agents", "show", "other").out == (
        "agent       other\n"
        "core        acp\n"
        "state       parked: command not found\n"
        "continue    gatewayctl agents restart other\n"
        "turns       0, 0 running, 0 failures\n"
    )


def test_restart(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/agents/..%2Fx/restart", error(404, "not_found", "there is no agent '../x'"))
    daemon.on("POST", "/v1/agents/other/restart", of(AgentStatus("other", "acp", "opening")), of(DOWN))
    assert ctl("agents", "restart", "other") == (0, "other is opening\n", "")
    assert ctl("agents", "restart", "other") == (0, "other is parked: command not found\n", "")
    assert ctl("agents", "restart", "../x") == (
        1,
        "",
        "gatewayctl: there is no agent '../x' (404). See: gatewayctl agents list\n",
    )
