"""sd_notify over real datagram sockets, and the unit file under systemd's own tools."""

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from gatewayd.systemd import MAX_STATUS, Notifier


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
    assert [manager.ready(), manager.status("x"), manager.stopping()] == [False, False, False]


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
