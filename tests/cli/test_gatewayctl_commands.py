"""channels, approvals, pairing, route, webchat: what is asked, and what is shown."""

import json

import msgspec
import pytest

from gatewayd.cli.ctl.commands.approvals import follow_approvals
from gatewayd.cli.ctl.connection.options import Options
from gatewayd.model.message.envelope import Peer
from gatewayd.model.message.route import Explained, Route
from gatewayd.model.records.approval import Approval
from gatewayd.model.records.pairing import PairingRow
from gatewayd.model.status import AccountStatus
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, FakeGatewayd, error, of

MAIN = AccountStatus("telegram", "main", "starting", NOW - 61)

SHELL = Approval(
    id="ap-7",
    agent="assistant",
    session_key="assistant:telegram:main:dm:4711",
    turn_id="t1",
    ordinal=0,
    tool="shell",
    input='{"command":"rm -rf \u202e/ [red]\x9b2J"}' + " " * 3 + "x" * 300,
    input_hash="h",
    state="pending",
    created_at=NOW - 130,
    expires_at=NOW + 630,
    origin="telegram/main dm 4711",
)
ALLOWED = msgspec.structs.replace(
    SHELL, state="allowed", decided_at=NOW, decided_by="operator:alice", note="go\non", input='{"command":"ls"}'
)

STRANGER = PairingRow(
    code="K7QX",
    channel="telegram",
    account="main",
    sender_id="4711",
    sender_name="[bold]Eve\x1b[2J",
    peer=Peer("dm", "4711"),
    state="pending",
    created_at=NOW - 60,
    expires_at=NOW + 630,
)
FRIEND = msgspec.structs.replace(
    STRANGER, code="A", sender_id="99", sender_name=None, state="approved", decided_at=NOW - 86_500, decided_by="operator:alice"
)


def test_channels_list(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/channels", of({"accounts": [MAIN], "of_a_newer_release": 1}))
    assert ctl("channels", "list").out == (
        "ACCOUNT        STATE     SINCE  LAST IN  LAST OUT  PENDING  RESTARTS\n"
        "telegram/main  starting  1 min  -        -         0        0\n"
    )
    assert json.loads(ctl("channels", "list", "--json").out)["of_a_newer_release"] == 1


@pytest.mark.parametrize("verb", ["start", "stop", "restart"])
@pytest.mark.parametrize(("name", "body"), [("telegram/main", {"account_id": "main"}), ("telegram", {})])
def test_channels_orders(daemon: FakeGatewayd, ctl: Ctl, verb: str, name: str, body: object) -> None:
    daemon.on("POST", f"/v1/channels/telegram/{verb}", of({"accounts": [MAIN]}))
    code, out, err = ctl("channels", verb, name)
    assert (code, err) == (0, "")
    assert "telegram/main  starting" in out
    (asked,) = daemon.asked
    assert asked.json() == body
    assert asked.headers["content-type"] == "application/json"


def test_a_name_cannot_leave_its_place_in_the_path(daemon: FakeGatewayd, ctl: Ctl) -> None:
    assert ctl("channels", "stop", "..%2f?x#y/main").code == 1
    assert daemon.asked[0].path == "/v1/channels/..%252f%3Fx%23y/stop"


def test_what_does_not_exist_is_said_in_the_daemon_s_words(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/channels/telegram/start", error(404, "not_found", "there is no account telegram/nobody."))
    assert ctl("channels", "start", "telegram/nobody") == (
        1,
        "",
        "gatewayctl: there is no account telegram/nobody (404). See: gatewayctl channels list\n",
    )


def test_approvals_list(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/approvals", of({"approvals": [SHELL]}), of({"approvals": []}), of({"approvals": [SHELL]}))
    code, out, _ = ctl("approvals", "list")
    assert code == 0
    assert out == (
        "ID    AGE    EXPIRES    AGENT      TOOL   INPUT\n"
        'ap-7  2 min  in 10 min  assistant  shell  {"command":"rm -rf \\u202e/ [red]\\x9b2…\n'
        "\n"
        "see one in full: gatewayctl approvals show ID   answer it: gatewayctl approvals allow|deny ID\n"
    )
    assert daemon.asked[0].query == {"state": "pending", "limit": "1000"}
    assert ctl("approvals", "list").out == "no approvals are waiting\n"
    assert json.loads(ctl("approvals", "list", "--json").out)["approvals"][0]["input"] == SHELL.input


def test_approvals_show_hides_nothing(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/approvals/ap-7", of(SHELL), of(ALLOWED), of(SHELL))
    out = ctl("approvals", "show", "ap-7").out
    assert max(map(len, out.splitlines())) == 80, "no line is left to the terminal to break"
    assert out.replace(f"\n{' ' * 9}x", "x") == (
        "id       ap-7\n"
        "agent    assistant\n"
        "session  assistant:telegram:main:dm:4711\n"
        "tool     shell\n"
        'input    {"command":"rm -rf \\u202e/ [red]\\x9b2J"}   ' + "x" * 300 + "\n"
        "asked    2026-09-21 14:11:10 (2 min ago), from telegram/main dm 4711\n"
        "state    pending, expires in 10 min\n"
        "answer   gatewayctl approvals allow ap-7\n"
        "         gatewayctl approvals deny ap-7\n"
    )
    assert ctl("approvals", "show", "ap-7").out.splitlines()[-3:] == [
        "state    allowed by operator:alice, 2026-09-21 14:13:20",
        "note     go",
        "         on",
    ]
    assert json.loads(ctl("approvals", "show", "--json", "ap-7").out)["id"] == "ap-7"


@pytest.mark.parametrize(
    ("args", "body"),
    [
        (["allow", "ap-7"], {"decision": "allow"}),
        (["deny", "ap-7", "--note", "not on Fridays"], {"decision": "deny", "note": "not on Fridays"}),
    ],
)
def test_approvals_decisions(daemon: FakeGatewayd, ctl: Ctl, args: list[str], body: object) -> None:
    daemon.on("POST", "/v1/approvals/ap-7", of(ALLOWED), error(409, "conflict", "ap-7 is allowed already"))
    assert ctl("approvals", *args) == (0, 'ap-7 allowed by operator:alice: shell {"command":"ls"}\n', "")
    assert daemon.asked[0].json() == body
    assert ctl("approvals", *args) == (1, "", "gatewayctl: ap-7 is allowed already (409).\n")


def test_a_token_without_the_scope_is_told_which(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/approvals/ap-7", error(403, "forbidden", "this token lacks the scope 'approvals'"))
    assert "lacks the scope 'approvals'" in ctl("approvals", "allow", "ap-7").err


def test_approvals_watch_tells_what_comes_and_how_it_ends(daemon: FakeGatewayd, capsys: pytest.CaptureFixture[str]) -> None:
    second = msgspec.structs.replace(SHELL, id="ap-8", input="{}")
    none, one, two = (of({"approvals": rows}) for rows in ((), (SHELL,), (second,)))
    stopping = error(503, "draining", "x")
    daemon.on("GET", "/v1/approvals", none, stopping, stopping, one, one, two)
    daemon.on("GET", "/v1/approvals/ap-7", of(ALLOWED))
    looks = []

    def pause(seconds: float) -> None:
        looks.append(seconds)
        if len(looks) == 6:
            raise KeyboardInterrupt

    follow_approvals(Options(), pause=pause)
    out, err = capsys.readouterr()
    assert err == "gatewayd is stopping (503). Try again when it has started. Waiting for it to come back.\n"
    assert [line for line in out.splitlines() if line.startswith(("id ", "ap-"))] == [
        "id       ap-7",
        'ap-7 allowed by operator:alice: shell {"command":"ls"}',
        "id       ap-8",
    ]


def test_pairing_list(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/pairing", of({"pending": [STRANGER], "paired": [FRIEND]}), of({"pending": [], "paired": []}))
    assert ctl("pairing", "list").out == (
        "CODE  ACCOUNT        SENDER  NAME              EXPIRES\n"
        "K7QX  telegram/main  4711    [bold]Eve\\x1b[2J  in 10 min\n"
        "\n"
        "admit a person who gave you this code: gatewayctl pairing approve CODE\n"
        "\n"
        "admitted:\n"
        "ACCOUNT        SENDER  NAME  SINCE  BY\n"
        "telegram/main  99      -     1 d    operator:alice\n"
    )
    assert ctl("pairing", "list").out == "nobody is waiting\n"


@pytest.mark.parametrize(("verb", "done"), [("approve", "admitted"), ("deny", "refused")])
def test_pairing_decisions(daemon: FakeGatewayd, ctl: Ctl, verb: str, done: str) -> None:
    daemon.on("POST", "/v1/pairing/k7qx", of(STRANGER), error(404, "not_found", "there is no code k7qx"))
    assert ctl("pairing", verb, "k7qx") == (0, f"{done}: 4711 ([bold]Eve\\x1b[2J) on telegram/main\n", "")
    assert daemon.asked[0].json() == {"decision": verb}
    assert ctl("pairing", verb, "k7qx") == (1, "", "gatewayctl: there is no code k7qx (404). See: gatewayctl pairing list\n")


def test_pairing_revoke(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/pairing/revoke", of({}))
    assert ctl("pairing", "revoke", "telegram", "main", "4711").out == "4711 may not talk to telegram/main any more\n"
    assert daemon.asked[0].json() == {"channel": "telegram", "account": "main", "sender_id": "4711"}


def test_route(daemon: FakeGatewayd, ctl: Ctl) -> None:
    path = "/v1/gateway/route"
    daemon.on("GET", path, of(Route("coder", "coder:slack:ops:group:c1", "team", binding=0)), of(Explained("a", "k", "default")))
    args = ["route", "--channel", "slack", "--account", "ops", "--peer", "group:C1:x", "--team", "T&1"]
    assert ctl(*args).out == (
        "agent        coder\nsession key  coder:slack:ops:group:c1\nrule         team (number 1 of [[bindings]])\n"
    )
    assert daemon.asked[0].query == {"channel": "slack", "account": "ops", "peer": "group:C1:x", "team": "T&1"}
    assert ctl(*args).out.splitlines()[-1] == "rule         default: no binding matches"
    assert json.loads(ctl(*args, "--json").out) == {"agent_id": "a", "session_key": "k", "rule": "default"}


@pytest.mark.parametrize(
    ("found", "lines"),
    [
        (
            Explained("coder", "k", "group", who="everybody in the group (groups)"),
            ["rule         group: its own agent", "may talk     everybody in the group (groups)"],
        ),
        (
            Explained("coder", "k", "default", who="x", verdict="admit", decided_by="operators", reason="admitted"),
            ["sender       7: may talk, by operators"],
        ),
        (
            Explained("coder", "k", "default", who="x", verdict="drop", decided_by="groups", reason="group_not_on_allow_list"),
            ["sender       7: may not talk (group_not_on_allow_list), by groups"],
        ),
        (
            Explained("coder", "k", "default", who="x", verdict="pair", decided_by="pairing", reason="pairing_required"),
            ["sender       7: is asked to pair, by pairing"],
        ),
    ],
)
def test_route_says_who_may_talk(daemon: FakeGatewayd, ctl: Ctl, found: Explained, lines: list[str]) -> None:
    daemon.on("GET", "/v1/gateway/route", of(found))
    out = ctl("route", "--channel", "telegram", "--account", "main", "--peer", "group:-100", "--sender", "7").out
    assert out.splitlines()[-len(lines) :] == lines
    assert daemon.asked[0].query["sender"] == "7"


def test_webchat_link_is_alone_on_stdout(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/webchat/links", of({"url": "http://127.0.0.1:1/#code=x", "code": "x", "expires_at": NOW + 901}))
    assert ctl("webchat", "link", "--name", "alice") == (
        0,
        "http://127.0.0.1:1/#code=x\n",
        "for alice, works once, within 15 min\n",
    )
    assert ctl("webchat", "link").err.startswith("for owner,")
    assert json.loads(ctl("webchat", "link", "--json").out)["code"] == "x"
    assert [asked.json() for asked in daemon.asked] == [{"name": "alice"}, {}, {}]


SESSION = {"id": "0123456789ab", "name": "alice", "created_at": NOW - 61, "expires_at": NOW + 86_500, "pages": 2}


def test_webchat_sessions(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", "/v1/webchat/sessions", of({"sessions": [SESSION], "links": 1}), of({"sessions": [], "links": 0}))
    assert ctl("webchat", "sessions") == (
        0,
        "ID            NAME   SINCE  ENDS    PAGES\n0123456789ab  alice  1 min  in 1 d  2\n",
        "1 link not used yet\n",
    )
    assert ctl("webchat", "sessions") == (0, "nobody is logged in\n", "")


def test_webchat_revoke(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("POST", "/v1/webchat/revoke", of({"sessions": [SESSION], "links": 0}), of({"sessions": [SESSION], "links": 2}))
    assert ctl("webchat", "revoke", "0123456789ab") == (0, "ended: 0123456789ab (alice)\n", "")
    assert ctl("webchat", "revoke", "--name", "alice") == (0, "ended: 0123456789ab (alice)\nrevoked: 2 links\n", "")
    assert [asked.json() for asked in daemon.asked] == [{"id": "0123456789ab"}, {"name": "alice"}]


@pytest.mark.parametrize("args", [[], ["0123456789ab", "--name", "alice"]])
def test_webchat_revoke_wants_to_know_whose(daemon: FakeGatewayd, ctl: Ctl, args: list[str]) -> None:
    code, out, err = ctl("webchat", "revoke", *args)
    assert (code, out) == (64, "")
    assert err.startswith("gatewayctl: Which login?")
    assert daemon.asked == []


@pytest.mark.parametrize(
    ("args", "body"),
    [
        (["console"], {}),
        (["console", "approvals"], {}),
        (["approvals", "page"], {}),
        (["console", "dead-letters"], {"page": "dead-letters"}),
        (["console", "trace"], {"page": "trace"}),
    ],
)
def test_a_console_link_is_alone_on_stdout(daemon: FakeGatewayd, ctl: Ctl, args: list[str], body: object) -> None:
    daemon.on("POST", "/v1/console/links", of({"url": "http://127.0.0.1:1/x#code=y", "expires_at": NOW + 901}))
    assert ctl(*args) == (0, "http://127.0.0.1:1/x#code=y\n", "works once, within 15 min\n")
    assert json.loads(ctl(*args, "--json").out)["expires_at"] == NOW + 901
    assert [asked.json() for asked in daemon.asked] == [body, body]
