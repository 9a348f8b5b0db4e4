import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from gatewayd.cli.ctl.commands.events import follow_events
from gatewayd.cli.ctl.connection.options import Options
from gatewayd.cli.ctl.exit_codes import ApiError, IncompatibleResponse, Unreachable
from gatewayd.model.records.event import Event
from tests.cli.conftest import Ctl
from tests.cli.fake_gatewayd import NOW, Answer, FakeGatewayd, error

PATH = "/v1/events"
PAST_ALL = 2**63 - 1


def gap(after: int, next_one: int) -> str:
    return f'id: {next_one - 1}\nevent: gateway.gap\ndata: {{"after":{after},"next":{next_one}}}\n\n'


def event(seq: int, kind: str = "inbound.received", **data: object) -> str:
    line = json.dumps({"seq": seq, "at": NOW, "kind": kind, "data": data})
    return f"id: {seq}\nevent: {kind}\ndata: {line}\n\n"


def stream(*parts: str) -> Answer:
    """As gatewayd begins, followed by ``parts``; then the connection is closed."""
    return Answer(200, ("retry: 2000\n\n: heartbeat\n\n" + "".join(parts)).encode(), "text/event-stream", stream=True)


def newest(seq: int) -> Answer:
    return stream(gap(PAST_ALL, seq + 1))


def test_without_follow_it_ends_where_the_log_ended(daemon: FakeGatewayd, ctl: Ctl) -> None:
    told = stream(
        gap(0, 4),
        event(4, id="in-4", channel="telegram", again=False, reason=None, n=1),
        event(5, "outbound.sent", text="two words\x1b[31m\u202e", empty=""),
        "id: 6\n\n",
        event(7, "late"),
    )
    daemon.on("GET", PATH, newest(6), told)
    assert ctl("events", "--kind", "inbound.*", "--kind", "outbound.sent") == (
        0,
        "     4  2026-09-21 14:13:20  inbound.received        id=in-4 channel=telegram again=no reason=- n=1\n"
        '     5  2026-09-21 14:13:20  outbound.sent           text="two words\\u202e" empty=""\n',
        "numbers 1 to 3 are not stored any more\n",
    )
    first, second = daemon.asked
    assert first.headers["last-event-id"] == str(PAST_ALL)
    assert second.query == {"kinds": "inbound.*,outbound.sent"}
    assert second.headers["last-event-id"] == "0"


def test_json_is_one_object_per_line(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, newest(5), stream(event(5, text="\u202e\x9b")))
    out = ctl("events", "--json", "--after", "4").out
    assert json.loads(out) == {"seq": 5, "at": NOW, "kind": "inbound.received", "data": {"text": "\u202e\x9b"}}
    assert out.isascii()
    assert out.count("\n") == 1


@pytest.mark.parametrize("after", ["5", "6"])
def test_nothing_new_is_nothing(daemon: FakeGatewayd, ctl: Ctl, after: str) -> None:
    daemon.on("GET", PATH, newest(5))
    assert ctl("events", "--after", after) == (0, "", "")
    assert len(daemon.asked) == 1


def test_a_stream_that_ends_too_early_is_said(daemon: FakeGatewayd, ctl: Ctl) -> None:
    daemon.on("GET", PATH, newest(9), stream(event(3)))
    code, out, err = ctl("events")
    assert (code, len(out.splitlines())) == (2, 1)
    assert err == "gatewayctl: gatewayd ended the stream after number 3 of 9. For the rest: gatewayctl events --after 3.\n"


@pytest.mark.parametrize(
    ("answers", "code", "said"),
    [
        ([error(403, "forbidden", "no")], 1, "lacks the scope 'read'"),
        ([error(400, "bad_request", "kinds are names")], 1, "kinds are names (400)."),
        ([stream()], 2, "gatewayd ended the stream of events at once"),
        ([Answer(200, b"{}")], 2, "is not gatewayd"),
        ([newest(5), stream("id: 5\ndata: {}\n\n")], 2, "An event of gatewayd cannot be decoded"),
        ([newest(5), stream("id: x\n\n")], 2, "they are not numbered"),
        ([stream("event: gateway.gap\ndata: [\n\n")], 2, "An event of gatewayd cannot be decoded"),
    ],
)
def test_errors(daemon: FakeGatewayd, ctl: Ctl, answers: list[Answer], code: int, said: str) -> None:
    daemon.on("GET", PATH, *answers)
    ran = ctl("events", "--kind", "x")
    assert (ran.code, ran.out) == (code, "")
    assert said in ran.err
    assert ran.err.count("\n") == 1


class Enough(Exception):
    pass


def after(pauses: int, then: Callable[[int], None] = lambda number: None) -> Callable[[float], None]:
    """A pause that takes no time, calls ``then`` with its number, and ends the reading at the last one."""
    taken: list[float] = []

    def pause(seconds: float) -> None:
        assert 0 < seconds <= 5
        taken.append(seconds)
        then(len(taken))
        if len(taken) == pauses:
            raise Enough

    return pause


def test_follow_resumes_after_what_it_has_seen(daemon: FakeGatewayd, state_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[Event] = []
    daemon.on(
        "GET",
        PATH,
        newest(3),
        stream(event(4), "id: 9\n\n"),
        error(503, "draining", "stopping"),
        stream(event(10)),
        stream(gap(10, 3), event(3)),
    )
    with pytest.raises(Enough):
        follow_events(Options(), {"kinds": "inbound.*"}, seen.append, pause=after(4))
    assert [one.seq for one in seen] == [4, 10, 3]
    assert [asked.headers["last-event-id"] for asked in daemon.asked] == [str(PAST_ALL), "3", "9", "9", "10"]
    said = capsys.readouterr().err
    assert said.count("Connecting again.") == 3
    assert "gatewayd has another store than before: numbers go on at 3" in said


def test_follow_survives_a_restart_on_another_port(daemon: FakeGatewayd, state_dir: Path) -> None:
    """Also before the first event: what happens while nobody is connected is not missed."""
    seen: list[Event] = []
    daemon.on("GET", PATH, newest(3), stream(), stream(event(4, "gateway.started")))
    endpoint = (state_dir / "endpoint.json").read_text()

    def restart(number: int) -> None:
        if number == 1:
            (state_dir / "endpoint.json").unlink()
        elif number == 5:
            (state_dir / "endpoint.json").write_text(endpoint)

    with pytest.raises(Enough):
        follow_events(Options(), {}, seen.append, pause=after(6, restart))
    assert [one.seq for one in seen] == [4]
    assert [asked.headers["last-event-id"] for asked in daemon.asked[1:]] == ["3", "3"]


def test_follow_does_not_wait_for_a_daemon_that_was_never_there(state_dir: Path) -> None:
    with pytest.raises(Unreachable, match="No running gatewayd"):
        follow_events(Options(), {}, lambda event: None, pause=after(1))


def test_follow_ends_when_the_token_is_refused(daemon: FakeGatewayd, state_dir: Path) -> None:
    daemon.on("GET", PATH, newest(3), stream(event(4)), error(401, "unauthorized", "no"))
    with pytest.raises(ApiError, match="refused the token"):
        follow_events(Options(), {}, lambda event: None, pause=after(5))


def test_ctrl_c_ends_follow_cleanly(daemon: FakeGatewayd) -> None:
    daemon.on("GET", PATH, newest(0), stream(event(1)), stream())
    code = "from gatewayd.cli.gatewayctl import main; raise SystemExit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", code, "events", "-f"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as reader:
        assert reader.stdout is not None
        assert reader.stderr is not None
        assert "inbound.received" in reader.stdout.readline()
        reader.send_signal(2)
        assert "Traceback" not in reader.stderr.read()
    assert reader.returncode == 0


def test_an_event_that_is_not_understood_ends_it(daemon: FakeGatewayd) -> None:
    daemon.on("GET", PATH, newest(5), stream("id: 6\nevent: inbound.done\ndata: {}\n\n"))
    with pytest.raises(IncompatibleResponse, match="of another release"):
        follow_events(Options(), {}, lambda event: None, pause=lambda seconds: pytest.fail("it would ask for ever"))
