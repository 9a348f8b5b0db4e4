"""sd_notify over real datagram sockets, and the unit file under systemd's own tools."""

import fcntl
import json
import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.cli.gatewayd import MISCONFIGURED
from gatewayd.model.config import GatewaySection
from gatewayd.model.errors import NeedsOperator
from gatewayd.process.systemd import MAX_STATUS, MORE_SECONDS, Notifier, take_listen_fds


@pytest.fixture
def manager_socket() -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.settimeout(5)
        yield listening


def test_messages_reach_a_socket_in_the_file_system(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    manager = Notifier({"NOTIFY_SOCKET": path})
    assert manager.ready()
    assert manager_socket.recv(4096) == b"READY=1"
    assert manager.ready("2 of 2 accounts connected")
    assert manager_socket.recv(4096) == b"READY=1\nSTATUS=2 of 2 accounts connected"
    assert manager.status("telegram/main: waiting…")
    assert manager_socket.recv(4096) == "STATUS=telegram/main: waiting…".encode()
    assert manager.stopping("draining")
    assert manager_socket.recv(4096) == b"STOPPING=1\nSTATUS=draining"


def test_a_reload_is_announced_with_the_time_and_ended_by_ready(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    manager = Notifier({"NOTIFY_SOCKET": path}, monotonic_ns=lambda: 12_345_678_901)
    assert manager.reloading("applying the difference")
    assert manager_socket.recv(4096) == b"RELOADING=1\nMONOTONIC_USEC=12345678\nSTATUS=applying the difference"
    assert manager.ready()
    assert manager_socket.recv(4096) == b"READY=1"


def test_the_time_of_a_reload_is_that_of_the_managers_clock(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    before = time.clock_gettime(time.CLOCK_MONOTONIC)
    assert Notifier({"NOTIFY_SOCKET": path}).reloading()
    _, _, usec = manager_socket.recv(4096).decode().partition("\nMONOTONIC_USEC=")
    assert before - 0.001 <= int(usec) / 1e6 <= time.clock_gettime(time.CLOCK_MONOTONIC)


def test_signs_of_life_and_more_time(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    manager = Notifier({"NOTIFY_SOCKET": path})
    assert manager.alive()
    assert manager_socket.recv(4096) == b"WATCHDOG=1"
    assert manager.extend(1.5)
    assert manager_socket.recv(4096) == b"EXTEND_TIMEOUT_USEC=1500000"


@pytest.mark.parametrize(
    ("env", "seconds"),
    [
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "17"}, 60.0),
        ({"WATCHDOG_USEC": "500000"}, 0.5),
        ({"WATCHDOG_USEC": "500000", "WATCHDOG_PID": ""}, 0.5),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "18"}, None),
        ({"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "x"}, None),
        ({"WATCHDOG_USEC": "0", "WATCHDOG_PID": "17"}, None),
        ({"WATCHDOG_USEC": "-5"}, None),
        ({"WATCHDOG_USEC": "1e6"}, None),
        ({"WATCHDOG_USEC": "²"}, None),
        ({"WATCHDOG_USEC": "9" * 5000}, None),
        ({}, None),
    ],
)
def test_only_the_process_that_is_meant_feeds_the_watchdog(env: dict[str, str], seconds: float | None) -> None:
    assert Notifier(env, pid=17).watchdog_seconds == seconds


def test_messages_reach_an_abstract_socket(manager_socket: socket.socket) -> None:
    name = f"gatewayd-test-{os.getpid()}"
    manager_socket.bind(f"\0{name}")
    assert Notifier({"NOTIFY_SOCKET": f"@{name}"}).ready()
    assert manager_socket.recv(4096) == b"READY=1"


def test_a_status_is_one_bounded_line_and_cannot_smuggle_in_an_assignment(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    manager = Notifier({"NOTIFY_SOCKET": path})
    assert manager.status("one\nMAINPID=1\n\n" + "x" * 10_000)
    message = manager_socket.recv(65_536).decode()
    assert message.startswith("STATUS=one MAINPID=1 xxx")
    assert "\n" not in message
    assert len(message) == len("STATUS=") + MAX_STATUS
    assert manager.status("half a surrogate \udc80")
    assert manager_socket.recv(4096) == b"STATUS=half a surrogate ?"


@pytest.mark.parametrize(
    "address", ["", "relative/path", "vsock:2:1234", "/nowhere/at/all", "@nobody-listens-here", "/" + "x" * 300]
)
def test_without_a_manager_nothing_happens(address: str) -> None:
    manager = Notifier({"NOTIFY_SOCKET": address} if address else {})
    assert [manager.ready(), manager.status("x"), manager.stopping(), manager.alive(), manager.reloading()] == [False] * 5


def test_an_empty_status_is_not_sent(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    assert not Notifier({"NOTIFY_SOCKET": path}).status(" \n ")


def test_a_manager_that_does_not_read_never_makes_us_wait(manager_socket: socket.socket, tmp_path: Path) -> None:
    path = str(tmp_path / "notify")
    manager_socket.bind(path)
    manager = Notifier({"NOTIFY_SOCKET": path})
    sent = [manager.status("x" * MAX_STATUS) for _ in range(5000)]
    assert sent[0]
    assert not sent[-1]


# Sockets that are handed over.


@pytest.fixture
def first() -> Iterator[int]:
    """Two descriptors in a row, as the manager gives them from 3 on: the first."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = fcntl.fcntl(listening, fcntl.F_DUPFD, 200)
        os.dup2(one, one + 1, inheritable=True)
        yield one
    os.close(one)
    os.close(one + 1)


def test_sockets_are_taken_once_and_closed_in_children(first: int) -> None:
    env = {"LISTEN_PID": "17", "LISTEN_FDS": "2", "LISTEN_FDNAMES": "gatewayd.socket:unix", "PATH": "/bin"}
    assert take_listen_fds(env, pid=17, first=first) == {first: "gatewayd.socket", first + 1: "unix"}
    assert env == {"PATH": "/bin"}
    assert not os.get_inheritable(first)
    assert not os.get_inheritable(first + 1)
    assert take_listen_fds(env, pid=17, first=first) == {}


def test_sockets_need_no_names(first: int) -> None:
    assert take_listen_fds({"LISTEN_PID": "17", "LISTEN_FDS": "1"}, pid=17, first=first) == {first: ""}


@pytest.mark.parametrize("env", [{}, {"LISTEN_PID": "18"}, {"LISTEN_PID": "x"}, {"LISTEN_PID": ""}, {"LISTEN_PID": "9" * 5000}])
def test_what_is_meant_for_another_process_is_left_to_it(env: dict[str, str]) -> None:
    env = {**env, "LISTEN_FDS": "2", "LISTEN_FDNAMES": "a:b"}
    assert take_listen_fds(env, pid=17) == {}
    assert env == {}, "our children would take it for theirs"


@pytest.mark.parametrize("count", ["-1", "x", "1e3", "1000000", "9" * 5000, "²"])
def test_a_count_that_makes_no_sense_is_refused_in_words(count: str) -> None:
    with pytest.raises(NeedsOperator, match=r"\$LISTEN_FDS is '.*', not a number up to 16"):
        take_listen_fds({"LISTEN_PID": "17", "LISTEN_FDS": count}, pid=17)


def test_a_descriptor_that_is_not_there_is_said(first: int) -> None:
    with pytest.raises(NeedsOperator, match=r"but descriptor \d+ is not open: Bad file descriptor"):
        take_listen_fds({"LISTEN_PID": "17", "LISTEN_FDS": "16"}, pid=17, first=first)


UNIT = Path(__file__).parents[2] / "systemd" / "gatewayd.service"
SOCKET = UNIT.with_suffix(".socket")
needs_systemd = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")


def analyze(*arguments: str | Path) -> "subprocess.CompletedProcess[str]":
    command = ["systemd-analyze", "--no-pager", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def settings(unit: Path = UNIT) -> dict[str, str]:
    """The last value of each setting; there are no continuation lines."""
    lines = [line for line in unit.read_text().splitlines() if "=" in line and not line.startswith("#")]
    return {name: value for name, _, value in (line.partition("=") for line in lines)}


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """The root of a machine on which the units and the drop-ins are installed, with programs to start and systemd's own units."""
    folder = tmp_path / "etc" / "systemd" / "system"
    folder.mkdir(parents=True)
    shutil.copy(UNIT, folder)
    shutil.copy(SOCKET, folder)
    shutil.copytree(UNIT.with_name("gatewayd.service.d"), folder / "gatewayd.service.d")
    units = next(path for path in (Path("/usr/lib/systemd/system"), Path("/lib/systemd/system")) if path.is_dir())
    shutil.copytree(units, tmp_path / "usr" / "lib" / "systemd" / "system", symlinks=True)
    for command in (settings()["ExecStart"], settings()["ExecReload"]):
        program = tmp_path / command.split()[0].lstrip("/")
        program.parent.mkdir(parents=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    return tmp_path


@needs_systemd
@pytest.mark.parametrize(
    "units", [["gatewayd.service", "gatewayd.socket"], ["gatewayd.service"]], ids=["with the socket", "alone"]
)
def test_systemd_has_nothing_to_say_about_the_units(machine: Path, units: list[str]) -> None:
    if "gatewayd.socket" not in units:
        (machine / "etc/systemd/system/gatewayd.socket").unlink()
    result = analyze("verify", f"--root={machine}", *units)
    assert (result.returncode, result.stderr) == (0, "")


@needs_systemd
def test_the_check_would_find_a_wrong_line(machine: Path) -> None:
    drop_in = machine / "etc/systemd/system/gatewayd.service.d/wrong.conf"
    drop_in.write_text("[Service]\nProtectHom=yes\n")
    assert "ProtectHom" in analyze("verify", f"--root={machine}", "gatewayd.service").stderr


@needs_systemd
def test_the_check_would_find_a_wrong_line_of_the_socket(machine: Path) -> None:
    unit = machine / "etc/systemd/system/gatewayd.socket"
    unit.write_text(unit.read_text().replace("Backlog=", "Backlok="))
    assert "Backlok" in analyze("verify", f"--root={machine}", "gatewayd.socket").stderr


# It talks to the Internet, wherever the platforms are; nothing else of weight is open.
OPEN = {"PrivateNetwork", "RestrictAddressFamilies_AF_INET_INET6", "IPAddressDeny"}


@needs_systemd
@pytest.mark.parametrize(
    ("drop_ins", "more"), [((), set()), (("agents.conf",), {"SystemCallFilter_privileged", "SystemCallFilter_resources"})]
)
def test_the_unit_exposes_little(tmp_path: Path, drop_ins: tuple[str, ...], more: set[str]) -> None:
    unit = Path(shutil.copy(UNIT, tmp_path))
    folder = tmp_path / f"{unit.name}.d"
    folder.mkdir()
    for name in drop_ins:
        shutil.copy(UNIT.with_name(folder.name) / name, folder)
    result = analyze("security", "--offline=true", "--threshold=15", unit)
    assert (result.returncode, result.stderr) == (0, "")
    rows = json.loads(analyze("security", "--offline=true", "--json=short", unit).stdout)
    assert {row["json_field"] for row in rows if row["set"] is False and float(row["exposure"] or 0) >= 0.2} == OPEN | more


def test_a_stop_has_time_to_drain() -> None:
    assert float(settings()["TimeoutStopSec"]) >= GatewaySection().drain_seconds + 20


def test_the_watchdog_lets_pass_what_is_only_slow() -> None:
    """It ends what is told as a stall, long after; and a stop by it, with every stack written, is not cut short."""
    found = settings()
    assert float(found["WatchdogSec"]) >= GatewaySection().stall_seconds * 10
    assert found["WatchdogSignal"] == "SIGABRT"
    assert float(found["TimeoutAbortSec"]) >= 10
    assert found["Restart"] == "on-failure"  # systemd.service(5): a watchdog's end is one
    assert found["LimitCORE"] == "0"


def test_a_long_start_is_asked_for_in_time() -> None:
    assert float(settings()["TimeoutStartSec"]) > MORE_SECONDS


def test_the_socket_has_the_address_that_gatewayd_would_bind() -> None:
    assert settings(SOCKET)["ListenStream"] == GatewaySection().bind
    assert "gatewayd.socket" in settings()["Wants"].split()
    assert "gatewayd.socket" in settings()["After"].split()


def test_a_configuration_that_cannot_be_used_is_not_tried_again() -> None:
    assert int(settings()["RestartPreventExitStatus"]) == MISCONFIGURED


def test_the_example_gives_the_credential_that_the_configuration_names() -> None:
    text = UNIT.with_name("gatewayd.service.d").joinpath("telegram-token.conf").read_text()
    (given,) = re.findall(r"^LoadCredential=([^:]+):", text, re.MULTILINE)
    (named,) = re.findall(r'credential = "([^"]+)"', text)
    assert given == named


def test_an_agent_that_takes_too_much_memory_does_not_end_the_service() -> None:
    unit = (UNIT.parent / "gatewayd.service").read_text()
    agents = (UNIT.parent / "gatewayd.service.d/agents.conf").read_text()
    assert "\nOOMPolicy=continue\n" in unit
    for text in (unit, agents):
        high, most = (_mebibytes(text, name) for name in ("MemoryHigh", "MemoryMax"))
        assert 256 < high < most


def _mebibytes(text: str, name: str) -> int:
    found = re.search(rf"^{name}=(\d+)([MG])$", text, re.M)
    assert found is not None, name
    return int(found[1]) * (1024 if found[2] == "G" else 1)
