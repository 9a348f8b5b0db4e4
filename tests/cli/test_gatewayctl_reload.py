"""gatewayctl reload: what is asked, what is shown, and the exit codes."""

import json

from gatewayd.model.errors import ConfigProblem
from gatewayd.model.reload import Change, ReloadReport
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import FakeGatewayd, error, of

REPORT = ReloadReport(
    "/etc/gatewayd/gatewayd.toml",
    (
        Change("changed", "[channels.telegram.accounts.main]", ("token",), "reconnected; its waiting replies are kept"),
        Change("added", "[agents.new]"),
        Change("removed", "[auth.tokens.\x1b[31mci]"),
    ),
    (Change("changed", "[gateway]", ("bind",), "the daemon listens on the old address"),),
    unchanged_accounts=1,
    unchanged_agents=2,
    pending=("telegram/main", "coder"),
    warnings=("the file can be read by every user",),
)


def test_what_it_did_is_shown(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/gateway/reload", of(REPORT))
    assert ctl("reload") == (
        0,
        "/etc/gatewayd/gatewayd.toml: in force\n"
        "  ~ [channels.telegram.accounts.main] token: reconnected; its waiting replies are kept\n"
        "  + [agents.new]\n"
        "  - [auth.tokens.ci]\n"
        "  ~ [gateway] bind: the daemon listens on the old address: NEEDS A RESTART, the old value is still in force\n"
        "  not touched: 1 account and 2 agents\n"
        "  still ending: telegram/main, coder\n"
        "  warning: the file can be read by every user\n",
        "",
    )
    assert json.loads(ctl("reload", "--json").out)["pending"] == ["telegram/main", "coder"]


def test_nothing_to_do_is_said(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/gateway/reload", of(ReloadReport(None, (), (), 1, 1)))
    assert ctl("reload").out == "no file, the embedded default: nothing to apply\n  not touched: 1 account and 1 agent\n"


def test_all_that_is_wrong_is_told(daemon: FakeGatewayd, ctl: Ctl) -> None:
    problems = [ConfigProblem("[limits].bogus", "unknown key", "x.toml", 3, allowed="turns"), ConfigProblem("", "and that")]
    body = {"error": {"code": "invalid_config", "message": "it is refused"}, "problems": problems}
    daemon.on("POST", "/v1/gateway/reload", of(body, 422))
    assert ctl("reload") == (
        1,
        "",
        "gatewayctl: it is refused (422):\n  x.toml:3: [limits].bogus: unknown key; allowed: turns\n  and that\n",
    )
    daemon.on("POST", "/v1/gateway/reload", error(422, "invalid_config", "it is refused"))
    assert "no reason that can be read" in ctl("reload").err


def test_a_daemon_that_stops_is_not_reloaded(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/gateway/reload", error(409, "conflict", "the daemon is draining"))
    assert ctl("reload") == (1, "", "gatewayctl: the daemon is draining (409).\n")
