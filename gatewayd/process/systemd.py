"""The service manager: notifications (sd_notify(3), one datagram for each message to $NOTIFY_SOCKET), and the sockets that it
hands over (sd_listen_fds(3))."""

import os
import socket
import time
from collections.abc import Callable, Mapping, MutableMapping
from typing import Final

import trio

from gatewayd.model.errors import NeedsOperator

START_SECONDS: Final = 1800.0
"""The longest start for which more time is requested."""
MORE_SECONDS: Final = 60.0
"""The time of one request."""
MAX_SOCKETS: Final = 16
_LISTEN_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "LISTEN_PIDFDID")
_CURE: Final = "Start gatewayd from its .socket unit, or without this variable"
MAX_STATUS: Final = 500
"""Characters of the status line that ``systemctl status`` shows. A datagram has a size limit, too."""


class Notifier:
    """Sends messages to the manager at $NOTIFY_SOCKET. Without that variable every method does nothing.

    A method returns whether the message was sent. It never waits and never raises: the daemon must not depend on its manager.
    ``monotonic_ns`` is CLOCK_MONOTONIC, which the manager compares with its own.
    """

    def __init__(
        self,
        env: Mapping[str, str],
        *,
        pid: int | None = None,
        monotonic_ns: Callable[[], int] = lambda: time.clock_gettime_ns(time.CLOCK_MONOTONIC),
    ) -> None:
        address = env.get("NOTIFY_SOCKET", "")
        # "@" stands for the NUL byte of an abstract address. vsock addresses are for machines, not for services.
        self._address = "\0" + address[1:] if address.startswith("@") else address if address.startswith("/") else None
        self._monotonic_ns = monotonic_ns
        self.watchdog_seconds: float | None = _watchdog_seconds(env, os.getpid() if pid is None else pid)
        """The manager ends the process when :meth:`alive` is not called for so long. None: it has no watchdog."""

    def ready(self, status: str = "") -> bool:
        """READY=1: the start, or the reload, is complete."""
        return self._send("READY=1" + _line(status))

    def reloading(self, status: str = "") -> bool:
        """RELOADING=1: a reload has begun. :meth:`ready` must follow, also when it failed. MONOTONIC_USEC is what
        Type=notify-reload (systemd 253) needs beside it; older ones ignore it."""
        return self._send(f"RELOADING=1\nMONOTONIC_USEC={self._monotonic_ns() // 1000}" + _line(status))

    def stopping(self, status: str = "") -> bool:
        """STOPPING=1: the stop has begun."""
        return self._send("STOPPING=1" + _line(status))

    def status(self, text: str) -> bool:
        """STATUS=…: one line for a person."""
        return self._send(_line(text).lstrip("\n"))

    def alive(self) -> bool:
        """WATCHDOG=1: within ``watchdog_seconds`` of the last one, or of READY=1."""
        return self._send("WATCHDOG=1")

    def extend(self, seconds: float) -> bool:
        """EXTEND_TIMEOUT_USEC=…: the running start or stop takes up to ``seconds`` more, from now. It has no effect while the
        manager's own time-out is later."""
        return self._send(f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, message: str) -> bool:
        if self._address is None or not message:
            return False
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK) as channel:
                channel.connect(self._address)
                channel.send(message.encode("utf-8", "replace"))
        except OSError:
            return False
        return True


def take_listen_fds(env: MutableMapping[str, str], *, pid: int | None = None, first: int = 3) -> dict[int, str]:
    """The descriptors that the manager handed over, from ``first`` on, by number, with their names (by default those of the
    .socket units). Removes the variables from ``env``, and makes child processes not inherit the descriptors: both are for this
    process only.

    :raises NeedsOperator: the variables are for this process and cannot be used.
    """
    owner, count, names = [env.pop(name, "") for name in _LISTEN_VARIABLES][:3]
    if not count or not _is_number(owner) or int(owner) != (os.getpid() if pid is None else pid):
        return {}
    if not _is_number(count) or int(count) > MAX_SOCKETS:
        raise NeedsOperator(f"$LISTEN_FDS is {count[:40]!r}, not a number up to {MAX_SOCKETS}. {_CURE}")
    known = names[: MAX_SOCKETS * 256].split(":")
    taken: dict[int, str] = {}
    for index in range(int(count)):
        fd = first + index
        try:
            os.set_inheritable(fd, False)
        except OSError as error:
            what = f"$LISTEN_FDS is {count}, but descriptor {fd} is not open: {error.strerror}"
            raise NeedsOperator(f"{what}. {_CURE}") from None
        taken[fd] = known[index] if index < len(known) else ""
    return taken


async def extend_start_timeout(notifier: Notifier, ready: trio.Event) -> None:
    """Request more time until ``ready``, for half an hour: the check and migration of a large store exceed TimeoutStartSec."""
    with trio.move_on_after(START_SECONDS):
        while not ready.is_set():
            notifier.extend(MORE_SECONDS)
            with trio.move_on_after(MORE_SECONDS / 3):
                await ready.wait()


async def feed_watchdog(notifier: Notifier) -> None:
    """Feed the watchdog from the event loop, until cancelled, twice in each interval (sd_watchdog_enabled(3)). Run it in the task
    group of the server: a failure there cancels it, so that a stop which hangs does not look alive."""
    if notifier.watchdog_seconds is not None:
        while True:
            notifier.alive()
            await trio.sleep(notifier.watchdog_seconds / 2)


def _line(status: str) -> str:
    """A message separates its assignments by newlines, so the text must hold none."""
    text = " ".join(status.split())[:MAX_STATUS]
    return f"\nSTATUS={text}" if text else ""


def _watchdog_seconds(env: Mapping[str, str], pid: int) -> float | None:
    """sd_watchdog_enabled(3): $WATCHDOG_USEC is for the process in $WATCHDOG_PID, or for any process where that is not set."""
    usec, owner = env.get("WATCHDOG_USEC", ""), env.get("WATCHDOG_PID", "")
    if not _is_number(usec) or int(usec) == 0 or (owner and not (_is_number(owner) and int(owner) == pid)):
        return None
    return int(usec) / 1e6


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 20
