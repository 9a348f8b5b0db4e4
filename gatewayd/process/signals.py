"""Signals: SIGTERM and SIGINT stop the daemon, SIGHUP reloads its configuration.

A SIGHUP also comes when the terminal of the daemon is closed (signal(7)). Then it stops the daemon. Where SIGHUP was ignored at
the start (nohup(1)), it stays ignored.
"""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import structlog
import trio

log = structlog.get_logger("gatewayd")


@contextmanager
def defer_hangups() -> Iterator[Callable[[], bool]]:
    """For the start, before ``watch_signals`` runs. The check of a large store takes minutes, and a SIGHUP would end the process.

    Yields a function that says whether a SIGHUP has come: the configuration was read before it. In a terminal a SIGHUP still ends
    the process."""
    came: set[int] = set()
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_DFL or has_terminal():
        yield lambda: False
        return
    signal.signal(signal.SIGHUP, lambda number, frame: came.add(number))
    try:
        yield lambda: bool(came)
    finally:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)


async def watch_signals(stop: trio.Event, *, at_once: Callable[[], None], reload: Callable[[], None]) -> None:
    """Until cancelled: the first stop signal sets ``stop``, a second one calls ``at_once``. Each SIGHUP calls ``reload``."""
    began_in_terminal = has_terminal()
    wanted = {signal.SIGTERM, signal.SIGINT}
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        wanted.add(signal.SIGHUP)
    with trio.open_signal_receiver(*wanted) as signals:
        async for number in signals:
            if number == signal.SIGHUP and not (began_in_terminal and not has_terminal()):
                reload()
                continue
            if stop.is_set():
                log.warning("stopping_immediately", signal=signal.Signals(number).name)
                at_once()
            stop.set()


def has_terminal() -> bool:
    """Whether the process has a controlling terminal that still exists: only then can /dev/tty be opened (tty(4))."""
    try:
        os.close(os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError:
        return False
    return True
