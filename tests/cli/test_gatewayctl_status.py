import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from gatewayd.cli.ctl.commands.status import follow_status
from gatewayd.cli.ctl.connection.options import Options
from gatewayd.cli.ctl.output.status_view import status_lines, verdict
from gatewayd.model.records.dead_letter import DeadLetterCounts
from gatewayd.model.status import AccountStatus, AgentStatus, InboxStatus, LaneStatus, OutboxStatus, Problem, Snapshot
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, FakeGatewayd, error, of

PATH = "/v1/gateway/status"

REVOKED = Problem("account_down", "failing", "slack/ops", NOW - 720, "slack/ops is parked: the token was revoked")
FULL = Problem("store_unwritable", "failing", "", NOW - 60, "the disk is full")
UNKNOWN = Problem("unknown_sends", "warning", "", NOW - 7_300, "2 replies may or may not have been delivered")

HEALTHY = Snapshot(
    version="0.1.0",
    pid=4711,
    state="ready",
    started_at=NOW - 3_700,
    uptime_s=3_700.0,
    ready=True,
    problems=(),
    accounts=(
        AccountStatus("telegram", "main", "connected", NOW - 3_690, last_inbound_at=NOW - 130, last_outbound_at=NOW - 125),
        AccountStatus("webchat", "default", "connected", NOW - 3_699),
    ),
    lanes=LaneStatus(live=3, running=1, waiting=2),
    outbox=OutboxStatus(ready=1, sending=1),
    approvals_pending=0,
    pairings_pending=0,
    agents=(AgentStatus("assistant", "echo", state="open", turns=12),),
    counters={},
)

OPEN_GROUPS = tuple(f"-100{number}" for number in range(7))

DEGRADED = msgspec.structs.replace(
    HEALTHY,
    ready=False,
    problems=(UNKNOWN, REVOKED),
    accounts=(
        *HEALTHY.accounts,
        AccountStatus(
            "slack",
            "ops",
            "parked",
            NOW - 720,
            reason="the token was [bold red]revoked[/] \x1b[31m(401 invalid_auth): put a new one\ninto the configuration",
            restarts=5,
            outbox_depth=3,
            oldest_pending_at=NOW - 700,
        ),
        AccountStatus(
            "discord",
            "the-one-with-the-long-name",
            "waiting",
            NOW - 72,
            reason="connection refused",
            attempt=4,
            next_attempt_at=NOW + 30,
        ),
        AccountStatus("matrix", "old", "disabled", NOW - 3_699),
    ),
    outbox=OutboxStatus(ready=3, unknown=2, parked=1, dead=1),
    approvals_pending=2,
    pairings_pending=1,
    inbox=InboxStatus(waiting=12, limit=1000, oldest_at=NOW - 300, limited_senders=1),
    dead_letters=DeadLetterCounts(in_dead=3, out_unknown=2, out_parked=1, out_dead=1),
    agents=(
        AgentStatus(
            "assistant", "echo", state="open", turns=12, running=1, failures=2, last_error="boom", last_error_at=NOW - 200
        ),
        AgentStatus("coder", "callable", state="parked", reason="no module named 'mine'"),
    ),
)

HEALTHY_TEXT = """\
healthy: 2 accounts connected

ACCOUNT          STATE      SINCE  LAST IN  LAST OUT  PENDING  RESTARTS
telegram/main    connected  1 h    2 min    2 min     0        0
webchat/default  connected  1 h    -        -         0        0

lanes         3 live, 1 running, 2 messages waiting
outbox        1 ready, 1 sending
agents        assistant (echo) open: 12 turns
gatewayd      0.1.0, running, up 1 h 1 min, pid 4711
"""

DEGRADED_TEXT = """\
degraded: 2 of 4 accounts are not connected
  - slack/ops is parked: the token was revoked (for 12 min)
  - 2 replies may or may not have been delivered (for 2 h)

ACCOUNT               STATE      SINCE   LAST IN  LAST OUT  PENDING     RESTARTS
telegram/main         connected  1 h     2 min    2 min     0           0
webchat/default       connected  1 h     -        -         0           0
slack/ops             parked     12 min  -        -         3 (11 min)  5
  the token was [bold red]revoked[/] (401 invalid_auth): put a new one into the
  configuration
discord/the-one-wit…  waiting    1 min   -        -         0           0
  connection refused; next attempt in 30 s, after 4 failures
matrix/old            disabled   1 h     -        -         0           0

lanes         3 live, 1 running, 2 messages waiting
inbox         12 of 1000 waiting, the oldest for 5 min
              1 sender at the limit of waiting messages (limits.sender_backlog)
outbox        3 ready, 0 sending
              2 unknown: cut off while sending, perhaps delivered. Look into the
              chat first
              1 parked: too old to be sent late (outbox.stale_after_seconds)
              1 dead: given up
dead letters  7 waiting: gatewayctl dead-letters list
approvals     2 waiting: gatewayctl approvals list
pairings      1 waiting: gatewayctl pairing list
agents        assistant (echo) open: 12 turns, 1 running, 2 failures; last
              failure 3 min ago: boom
              coder (callable) parked (no module named 'mine'): 0 turns
gatewayd      0.1.0, running, up 1 h 1 min, pid 4711
"""


def test_who_an_account_is() -> None:
    slack = AccountStatus("slack", "main", "connected", NOW - 3_690, identity="@gatebot in \x1b[31mHome")
    snapshot = msgspec.structs.replace(HEALTHY, accounts=(slack, *HEALTHY.accounts))
    for width, shown in ((120, "@gatebot in Home"), (80, "@gatebot"), (40, "")):
        [line] = [line.plain for line in status_lines(snapshot, width) if "slack/main" in line.plain]
        assert shown in line
        assert cell_len(line) <= width


def test_healthy(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, of(HEALTHY))
    assert ctl("status") == (0, HEALTHY_TEXT, "")


def test_degraded_says_what_why_and_what_to_do(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, of(DEGRADED))
    code, out, err = ctl("status")
    assert (code, err) == (1, "")
    assert out == DEGRADED_TEXT


@pytest.mark.parametrize("columns", [22, 40, 60, 79, 200])
def test_no_line_is_wider_than_the_terminal(columns: int) -> None:
    lines = [line.plain for line in status_lines(DEGRADED, columns)]
    assert max(cell_len(line) for line in lines) <= columns
    assert any(line.startswith("slack/ops") for line in lines)


def test_at_60_columns_the_least_important_columns_go() -> None:
    rows = [line.plain.split() for line in status_lines(DEGRADED, 60)]
    assert ["ACCOUNT", "STATE", "SINCE", "LAST", "IN", "PENDING"] in rows


@given(st.text(), st.text(), st.integers(10, 120))
def test_foreign_text_neither_breaks_lines_nor_styles(reason: str, name: str, width: int) -> None:
    account = AccountStatus("telegram", name, "parked", NOW, reason=reason)
    agent = AgentStatus(name, "echo", last_error=reason)
    problem = Problem("account_down", "failing", name, NOW, reason)
    warning = msgspec.structs.replace(problem, level="warning")
    snapshot = msgspec.structs.replace(HEALTHY, ready=False, problems=(problem, warning), accounts=(account,), agents=(agent,))
    for line in status_lines(snapshot, width):
        assert cell_len(line.plain) <= max(width, 22)
        assert line.plain.isprintable()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"ready": False, "problems": (FULL,)}, "degraded: the disk is full (for 1 min)"),
        ({"ready": False, "problems": (UNKNOWN, FULL, REVOKED)}, "degraded: the disk is full (for 1 min), and 1 more"),
        ({"state": "draining", "ready": False, "problems": (FULL,)}, "degraded: gatewayd is draining"),
        ({"problems": (UNKNOWN,)}, "healthy: 2 accounts connected, 1 warning"),
        ({"accounts": (AccountStatus("a", "b", "waiting", NOW), *HEALTHY.accounts)}, "healthy: 2 of 3 accounts connected"),
        ({"ready": False}, "degraded: gatewayd is not ready"),
        ({"accounts": ()}, "healthy: 0 accounts connected"),
        (
            {"accounts": (AccountStatus("a", "b", "stopped", NOW), AccountStatus("a", "c", "connected", NOW))},
            "healthy: 1 account connected, 1 stopped by an operator",
        ),
        (
            {"ready": False, "problems": (FULL,), "accounts": (AccountStatus("a", "b", "starting", NOW),)},
            "degraded: 1 of 1 account is not connected",
        ),
    ],
)
def test_verdict(change: dict[str, object], words: str) -> None:
    snapshot = msgspec.convert({**msgspec.structs.asdict(HEALTHY), **change}, Snapshot, from_attributes=True)
    assert verdict(snapshot) == words


def test_json_is_the_snapshot_as_it_is_with_keys_of_a_newer_daemon(daemon: FakeGatewayd, ctl: Ctl) -> None:
    newer = json.loads(msgspec.json.encode(DEGRADED)) | {"moods": ["\u202e", "\x9b"]}
    newer["accounts"][0]["mood"] = "new"
    daemon.on("GET", PATH, of(newer))
    code, out, err = ctl("status", "--json")
    assert (code, json.loads(out), err) == (1, newer, "")
    assert "\u202e" not in out
    assert "\x9b" not in out
    assert ctl("status").out == DEGRADED_TEXT


def test_a_snapshot_that_is_not_understood_is_said(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, of({"version": "9.9", "state": "levitating"}))
    code, out, err = ctl("status")
    assert (code, out) == (2, "")
    assert err.startswith("unreachable: gatewayd 9.9 gives an answer that is not understood here (")
    assert "Use the gatewayctl of the daemon's release" in err


def test_unreachable_is_one_sentence_and_2(ctl: Ctl) -> None:
    code, out, err = ctl("status")
    assert (code, out) == (2, "")
    assert err.startswith("unreachable: No running gatewayd found")
    assert err.count("\n") == 1


def test_a_refused_token_is_1(daemon: FakeGatewayd, ctl: Ctl, state_dir: Path) -> None:
    (state_dir / "token").write_text("another-token-0123456789")
    code, _, err = ctl("status")
    assert code == 1
    assert "refused the token from" in err


def test_seconds_without_watch_and_watch_with_json_are_misuse(ctl: Ctl) -> None:
    assert ctl("status", "5").code == 64
    assert ctl("status", "--watch", "--json").code == 64


def test_watch_survives_a_restart(daemon: FakeGatewayd, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    daemon.on("GET", PATH, of(HEALTHY), error(503, "draining", "stopping"), of(DEGRADED))
    endpoint = (state_dir / "endpoint.json").read_text()
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        match len(pauses):
            case 2:
                (state_dir / "endpoint.json").unlink()
            case 3:
                (state_dir / "endpoint.json").write_text(endpoint)
            case 4:
                raise KeyboardInterrupt

    follow_status(Options(), 3.0, pause=pause)
    seen = capsys.readouterr().out
    expected = ["healthy: 2", "gatewayd is stopping (503)", "unreachable: No running gatewayd", "degraded: 2"]
    assert sorted(expected, key=seen.index) == expected
    assert pauses == [3.0] * 4


def test_a_watch_ends_where_the_daemon_is_of_another_release(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, of(HEALTHY), of({"version": "9.9", "state": "levitating"}))
    code, out, err = ctl("status", "--watch", "0.1")
    assert (code, out) == (2, HEALTHY_TEXT + "\n")
    assert err.startswith("gatewayctl: gatewayd 9.9 gives an answer that is not understood here (")


def test_warnings_are_yellow_beneath_a_healthy_verdict(daemon: FakeGatewayd, ctl: Ctl) -> None:
    warned = msgspec.structs.replace(HEALTHY, problems=(UNKNOWN,), dead_letters=DeadLetterCounts(out_unknown=2))
    daemon.on("GET", PATH, of(warned))
    code, out, err = ctl("status")
    assert (code, err) == (0, "")
    assert out.startswith(
        "healthy: 2 accounts connected, 1 warning\n  - 2 replies may or may not have been delivered (for 2 h)\n\n"
    )
    assert "dead letters  2 waiting: gatewayctl dead-letters list\n" in out
    styles = [[span.style for span in line.spans if span.style] for line in status_lines(warned, 80)[:2]]
    assert styles == [["bold green"], ["yellow"]]


def read_until(terminal: int, mark: bytes) -> bytes:
    """What a terminal gets until ``mark`` is in it; at most 20 s, however much else comes."""
    seen = b""
    until = time.monotonic() + 20
    while mark not in seen:
        assert select.select([terminal], [], [], max(0.0, until - time.monotonic()))[0], seen[-2000:]
        assert time.monotonic() < until, seen[-2000:]
        seen += os.read(terminal, 65536)
    return seen


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal_watch_draws_in_colour_until_ctrl_c(daemon: FakeGatewayd, no_color: str) -> None:
    daemon.on("GET", PATH, of(HEALTHY), of(DEGRADED))
    terminal, end = pty.openpty()
    env = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "COLUMNS": "80", "LINES": "50"}
    watching = subprocess.Popen(
        [sys.executable, "-c", "import sys; from gatewayd.cli.gatewayctl import main; sys.exit(main())", "status", "-w", "0.1"],
        stdin=end,
        stdout=end,
        stderr=end,
        env=env,
    )
    os.close(end)
    try:
        seen = read_until(terminal, b"pid 4711") + read_until(terminal, b"degraded")
        watching.send_signal(signal.SIGINT)
        assert watching.wait(20) == 0
    finally:
        watching.kill()
        watching.wait(20)
        os.close(terminal)
    assert b"connected" in seen
    assert (b"\x1b[32mconnected" in seen) is not bool(no_color)
    assert b"Traceback" not in seen


def test_the_status_names_groups_where_everybody_may_talk() -> None:
    open_one = AccountStatus("telegram", "main", "connected", NOW, open_groups=("*",))
    many = AccountStatus("telegram", "other", "connected", NOW, open_groups=OPEN_GROUPS)
    lines = [line.plain for line in status_lines(msgspec.structs.replace(HEALTHY, accounts=(open_one, many)), 200)]
    [first, second] = [line.partition("telegram/")[2] for line in lines if "everybody" in line]
    assert first == "main: everybody in any group may talk"
    assert second == "other: everybody in -1000, -1001, -1002, -1003, -1004 and 2 more may talk"
