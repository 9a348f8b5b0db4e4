"""Logs as they arrive at the other end of a real pipe."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from gatewayd.model.secret import REDACTED, Redactor, Secret
from gatewayd.process.logs import (
    BURST,
    BURST_SECONDS,
    MAX_DEPTH,
    MAX_ENTRIES,
    MAX_EVENT,
    MAX_KINDS,
    MAX_LOOKED_AT,
    MAX_TEXT,
    MAX_TRACE,
    SHORT_TEXT,
    Level,
    LineWriter,
    LogStatistics,
    configure,
)

TOKEN = "123456:AAE-canary_x"


class Wire:
    """A configured logger and the pipe its lines come out of."""

    def __init__(self) -> None:
        self.reader, self.fd = os.pipe()
        os.set_blocking(self.reader, False)
        self.redactor = Redactor([Secret(TOKEN)])

    def configure(self, level: Level = "info", *, readable: bool = False) -> LineWriter:
        return configure(level, redactor=self.redactor, fd=self.fd, readable=readable, now=lambda: 1_795_341_600.5)

    def text(self) -> str:
        found = b""
        try:
            while piece := os.read(self.reader, 1_000_000):
                found += piece
        except BlockingIOError:
            pass
        return found.decode()

    def events(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.text().splitlines()]

    def event(self) -> dict[str, object]:
        (event,) = self.events()
        return event

    def close(self) -> None:
        for fd in (self.reader, self.fd):
            try:
                os.close(fd)
            except OSError:
                continue


@contextmanager
def wired() -> Iterator[Wire]:
    """A wire, and the logging of the test run as it was afterwards."""
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    wire = Wire()
    try:
        yield wire
    finally:
        logging.captureWarnings(False)
        structlog.reset_defaults()
        structlog.contextvars.clear_contextvars()
        root.handlers[:] = handlers
        root.setLevel(level)
        wire.close()


@pytest.fixture
def wire() -> Iterator[Wire]:
    with wired() as wire:
        yield wire


def test_an_event_is_one_line_of_json(wire: Wire) -> None:
    wire.configure()
    structlog.get_logger("gatewayd.web").bind(account="main").warning("connection cut", bytes=7, ok=False, peer=None)
    line = wire.text()
    assert line == (
        '{"time":"2026-11-22T10:00:00.500Z","level":"warning","logger":"gatewayd.web","event":"connection cut",'
        '"account":"main","bytes":7,"ok":false,"peer":null}\n'
    )


def test_context_variables_are_in_every_line_while_they_hold(wire: Wire) -> None:
    wire.configure()
    log = structlog.get_logger()
    with structlog.contextvars.bound_contextvars(session_key="a:b", turn_id="t1"):
        log.info("inside")
    log.info("outside")
    inside, outside = wire.events()
    assert (inside["session_key"], inside["turn_id"]) == ("a:b", "t1")
    assert "turn_id" not in outside
    assert inside["logger"] == "gatewayd"


@pytest.mark.parametrize(("level", "expected"), [("debug", 4), ("info", 3), ("warning", 2), ("error", 1)])
def test_the_level_holds_for_both_kinds_of_loggers(wire: Wire, level: Level, expected: int) -> None:
    wire.configure(level)
    for log in (structlog.get_logger("ours"), logging.getLogger("theirs")):
        log.debug("x")
        log.info("x")
        log.warning("x")
        log.error("x")
    events = wire.events()
    assert [len([event for event in events if event["logger"] == name]) for name in ("ours", "theirs")] == [expected, expected]


def test_a_key_cannot_replace_the_head_of_the_line(wire: Wire) -> None:
    wire.configure()
    structlog.get_logger("x").info("event", level="liar", time=0, logger="liar")
    event = wire.event()
    assert (event["level"], event["logger"]) == ("info", "x")
    assert (event["level_"], event["time_"], event["logger_"]) == ("liar", 0, "liar")


def test_the_standard_librarys_records_go_the_same_way(wire: Wire) -> None:
    wire.configure()
    log = logging.getLogger("quart.app")
    log.info("GET %s 100%%", f"/bot{TOKEN}/getMe")
    log.log(25, "between the levels")
    log.log(70, "above them")
    log.error("%d", "not a number")
    events = wire.events()
    assert [event["level"] for event in events] == ["info", "info", "critical", "error"]
    assert events[0]["event"] == f"GET /bot{REDACTED}/getMe 100%"
    assert events[0]["logger"] == "quart.app"
    assert events[3]["event"] == "'%d'"


def test_the_requests_of_a_client_library_are_not_logged_at_info(wire: Wire) -> None:
    wire.configure("info")
    logging.getLogger("httpx2").info("HTTP Request: GET …")
    logging.getLogger("httpx2").warning("worth knowing")
    assert [event["event"] for event in wire.events()] == ["worth knowing"]


def test_python_warnings_become_lines(wire: Wire) -> None:
    wire.configure()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.warn("an old thing", UserWarning, stacklevel=1)
    event = wire.event()
    assert event["logger"] == "py.warnings"
    assert "an old thing" in str(event["event"])


def raise_with(text: str) -> None:
    raise ValueError(text)


@pytest.mark.parametrize("how", ["exception", "exc_info=error", "exc_info=True", "stdlib"])
def test_a_traceback_is_in_the_line_without_the_secret(wire: Wire, how: str) -> None:
    wire.configure()
    log = structlog.get_logger("x")
    try:
        raise_with(f"cannot reach https://host/bot{TOKEN}/")
    except ValueError as error:
        match how:
            case "exception":
                log.exception("failed")
            case "exc_info=error":
                log.error("failed", exc_info=error)
            case "exc_info=True":
                log.error("failed", exc_info=True)
            case _:
                logging.getLogger("x").exception("failed")
    event = wire.event()
    assert event["level"] == "error"
    trace = str(event["exception"])
    assert "in raise_with" in trace
    assert trace.endswith(f"ValueError: cannot reach https://host/bot{REDACTED}/")


def test_exc_info_without_an_exception_is_no_failure(wire: Wire) -> None:
    wire.configure()
    structlog.get_logger().info("one", exc_info=True)
    structlog.get_logger().info("two", exc_info=None)
    assert ["exception" in event for event in wire.events()] == [False, False]


def test_an_exception_group_and_its_causes_are_told_and_clean(wire: Wire) -> None:
    wire.configure()
    inner = ValueError(f"token {TOKEN}")
    inner.__cause__ = KeyError(TOKEN)
    group = ExceptionGroup("both", [inner, OSError(TOKEN)])
    for depth in range(20):
        group = ExceptionGroup(f"{depth}", [group])
    structlog.get_logger().error("failed", exc_info=group)
    trace = str(wire.event()["exception"])
    assert "canary" not in trace
    assert all(name in trace for name in ("ValueError", "KeyError", "OSError"))


class Settings(msgspec.Struct):
    password: str


class Broken:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def test_the_secret_is_found_wherever_it_stands(wire: Wire) -> None:
    wire.configure()
    structlog.get_logger().info(
        f"event {TOKEN}",
        text=TOKEN,
        url=f"https://h/bot{TOKEN.replace(':', '%3A')}/x",
        listed=["a", TOKEN, ("b", {TOKEN})],
        table={TOKEN: {"deep": {"deeper": {"deepest": {"bottom": TOKEN}}}}},
        raw=TOKEN.encode(),
        struct=Settings(password=TOKEN),
        error=ValueError(TOKEN),
        secret=Secret(TOKEN),
    )
    line = wire.text()
    assert "canary" not in line
    assert line.count(REDACTED) >= 9


def test_a_secret_learnt_later_counts_from_then_on(wire: Wire) -> None:
    wire.configure()
    wire.redactor.add(Secret("made-at-first-start"))
    structlog.get_logger().info("token made-at-first-start")
    assert wire.event()["event"] == f"token {REDACTED}"


def test_values_of_any_kind_are_told(wire: Wire) -> None:
    wire.configure()
    structlog.get_logger().info("x", broken=Broken(), huge=10**400, small=-(2**63), nan=float("nan"), half="a\udc80b", kind=int)
    event = wire.event()
    assert event["broken"] == "<a Broken whose repr raises RuntimeError>"
    assert str(event["huge"]).startswith("0x")
    assert event["small"] == -(2**63)
    assert event["half"] == "a\\udc80b"
    assert event["kind"] == "<class 'int'>"


def test_long_values_are_cut_with_a_mark(wire: Wire) -> None:
    wire.configure()
    endless: list[object] = []
    for _ in range(1000):
        endless = [endless]
    structlog.get_logger().info("x" * 5000, many=list(range(1000)), wide={str(n): n for n in range(1000)}, deep=endless)
    event = wire.event()
    assert event["event"] == "x" * MAX_TEXT + "… [5000 characters]"
    many = event["many"]
    assert isinstance(many, list)
    assert many[MAX_ENTRIES:] == [f"… [+{1000 - MAX_ENTRIES} entries]"]
    assert isinstance(event["wide"], dict)
    assert len(event["wide"]) == MAX_ENTRIES
    assert len(json.dumps(event["deep"])) < MAX_TEXT + 100
    assert MAX_DEPTH < 10


def test_of_a_long_traceback_the_end_is_kept(wire: Wire) -> None:
    wire.configure()
    structlog.get_logger().error("x", exc_info=ValueError("y" * 1_000_000 + TOKEN + " the end"))
    trace = str(wire.event()["exception"])
    assert trace.endswith(f"{REDACTED} the end")
    assert trace.startswith("[1000")
    assert len(trace) < MAX_TRACE + 100


@given(before=st.integers(0, 3 * MAX_TEXT), near=st.integers(-30, 30), edge=st.sampled_from([0, MAX_TEXT, MAX_LOOKED_AT]))
def test_no_cut_lets_a_part_of_a_secret_through(before: int, near: int, edge: int) -> None:
    prefix = "." * max((edge or before) + near, 0)
    with wired() as wire:
        wire.configure()
        structlog.get_logger().error("e", text=prefix + TOKEN + "." * 100, exc_info=ValueError(TOKEN + prefix))
        shown = wire.text()
    assert shown.endswith("}\n")
    assert [part for part in ("123456", "canary", "AAE-", TOKEN[-4:]) if part in shown] == []


def test_readable_lines_for_a_person(wire: Wire) -> None:
    wire.configure(readable=True)
    log = structlog.get_logger("gatewayd.web")
    log.info("listening", url="http://127.0.0.1:1")
    log.warning("odd\nname\x1b[2J", sender="\x9b31mEve\u202e", exc_info=ValueError("first\nsecond"))
    assert wire.text() == (
        "10:00:00 info     gatewayd.web: listening  url=http://127.0.0.1:1\n"
        "10:00:00 warning  gatewayd.web: odd\\nname\\x1b[2J  sender=\\x9b31mEve\\u202e\n"
        "ValueError: first\nsecond\n"
    )


def test_a_pipe_gets_json_without_being_asked(wire: Wire) -> None:
    configure("info", redactor=wire.redactor, fd=wire.fd)
    structlog.get_logger().info("x")
    assert wire.event()["event"] == "x"


def test_a_terminal_gets_readable_lines_without_being_asked(wire: Wire) -> None:
    leader, terminal = os.openpty()
    try:
        configure("info", redactor=wire.redactor, fd=terminal)
        structlog.get_logger().info("hello")
        assert os.read(leader, 1000).decode().strip().endswith("info     gatewayd: hello")
    finally:
        os.close(leader)
        os.close(terminal)


def test_a_reader_that_is_gone_is_no_failure(wire: Wire) -> None:
    writer = wire.configure()
    os.close(wire.reader)
    for _ in range(3):
        structlog.get_logger().info("into the void")
        logging.getLogger("theirs").error("into the void")
    assert (writer.statistics().written, writer.statistics().dropped) == (0, 6)


def test_a_closed_descriptor_is_no_failure(wire: Wire) -> None:
    writer = wire.configure()
    os.close(wire.fd)
    structlog.get_logger().info("into the void")
    assert writer.statistics().dropped == 1


@pytest.mark.parametrize("kind", ["pipe", "stream socket"])
def test_a_reader_that_stops_reading_never_makes_us_wait(kind: str) -> None:
    if kind == "pipe":
        reader, fd = os.pipe()
    else:
        ours, theirs = socket.socketpair()
        reader, fd = theirs.detach(), ours.detach()
    writer = LineWriter(fd)
    for number in range(3000):
        writer.write(json.dumps({"number": number, "text": "x" * 6000}))
    statistics = writer.statistics()
    assert statistics.dropped > 0
    assert statistics.written + statistics.dropped == 3000
    os.set_blocking(reader, False)
    received = os.read(reader, 10_000_000)
    writer.write('{"number": "last"}')
    received += os.read(reader, 10_000_000)
    lines = received.decode().splitlines()
    assert lines[-1] == '{"number": "last"}'
    whole = [line for line in lines if line.endswith("}")]
    assert len(whole) == statistics.written + 1
    os.close(reader)
    os.close(fd)


def test_lines_of_several_threads_do_not_mix(wire: Wire) -> None:
    writer = LineWriter(wire.fd)

    def write_ten(text: str) -> None:
        for _ in range(10):
            writer.write(text)

    threads = [threading.Thread(target=write_ten, args=(str(number) * 700,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(wire.text().splitlines()) == sorted([str(number) * 700 for number in range(4)] * 10)


def test_a_process_lives_on_when_its_stderr_is_closed() -> None:
    code = (
        "import structlog, sys\n"
        "from gatewayd.process.logs import configure\n"
        "from gatewayd.model.secret import Redactor\n"
        "configure('info', Redactor())\n"
        "sys.stdin.readline()\n"
        "for _ in range(100): structlog.get_logger().error('x' * 1000)\n"
        "print('alive')\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stderr
        assert process.stdout
        process.stderr.close()
        process.stdin.write("go\n")
        process.stdin.flush()
        assert process.stdout.read() == "alive\n"
        assert process.wait(30) == 0


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds


def flood(wire: Wire, clock: Clock, level: Level = "info") -> LineWriter:
    return configure(level, redactor=wire.redactor, fd=wire.fd, readable=False, monotonic=clock)


def test_the_same_warning_over_and_over_is_written_a_few_times_and_counted(wire: Wire) -> None:
    clock = Clock()
    writer = flood(wire, clock)
    log = structlog.get_logger("gatewayd.channels").bind(channel="telegram", account="main")
    for _ in range(1000):
        log.warning("account_failed", reason="no route to host")
    log.bind(account="other").warning("account_failed")
    log.info("account_state_changed")
    assert [event["event"] for event in wire.events()] == ["account_failed"] * (BURST + 1) + ["account_state_changed"]
    assert writer.statistics() == LogStatistics(written=BURST + 2, dropped=0, suppressed=1000 - BURST)
    clock.seconds += BURST_SECONDS / BURST
    for _ in range(2):
        log.warning("account_failed")
    assert wire.event()["suppressed_before"] == 1000 - BURST
    clock.seconds += 10 * BURST_SECONDS
    for _ in range(BURST + 5):
        log.error("account_failed")
    assert [event.get("suppressed_before") for event in wire.events()] == [1, *[None] * (BURST - 1)]


@pytest.mark.parametrize(("event", "field"), [("configuration_warning", "warning"), ("configuration_needs_restart", "change")])
def test_every_line_about_the_configuration_is_written(wire: Wire, event: str, field: str) -> None:
    flood(wire, Clock())
    log = structlog.get_logger("gatewayd")
    for number in range(3 * BURST):
        log.warning(event, **{field: f"account {number} lets everybody in"})
    assert len({line[field] for line in wire.events()}) == 3 * BURST


def test_what_is_no_warning_is_never_left_out(wire: Wire) -> None:
    flood(wire, Clock(), "debug")
    for _ in range(3 * BURST):
        structlog.get_logger().info("turn_ended")
        structlog.get_logger().critical("crashed")
    assert len(wire.events()) == 6 * BURST


def test_kinds_of_warnings_that_never_end_are_not_kept_for_ever(wire: Wire) -> None:
    flood(wire, Clock())
    for number in range(MAX_KINDS + 100):
        logging.getLogger("theirs").warning("request %d failed", number)
        wire.text()
    limit = next(p for p in structlog.get_config()["processors"] if type(p).__name__ == "_RateLimit")
    assert len(limit._kinds) == MAX_KINDS


def test_many_values_that_fit_are_cut_when_they_are_too_much_together(wire: Wire) -> None:
    wire.configure()
    many = {f"key{number}": "x" * MAX_TEXT for number in range(20)}
    try:
        raise RuntimeError("y" * 5000)
    except RuntimeError:
        structlog.get_logger("gatewayd.web").warning("too_much", count=7, nested={"a": ["z" * 1000]}, exc_info=True, **many)
    line = wire.text()
    assert len(line) <= MAX_EVENT
    event = json.loads(line)
    assert (event["event"], event["count"]) == ("too_much", 7)
    assert event["key3"] == "x" * SHORT_TEXT + f"… [{MAX_TEXT} characters]"
    assert event["nested"].startswith('{"a":["zzz')
    assert event["exception"].endswith("yyy")


@given(st.dictionaries(st.text(max_size=20), st.text() | st.lists(st.text(), max_size=60) | st.integers(), max_size=60))
def test_an_event_is_bounded_whatever_is_in_it(fields: dict[str, object]) -> None:
    big = {key: value * 3000 if isinstance(value, str) else value for key, value in fields.items()}
    with wired() as wire:
        wire.configure()
        structlog.get_logger().warning("event", values=big, **{f"k{number}": value for number, value in enumerate(big.values())})
        line = wire.text()
    # Each of at most fifty values may be escaped to six times its length.
    assert len(line) <= MAX_EVENT + MAX_ENTRIES * 6 * (SHORT_TEXT + 40)
