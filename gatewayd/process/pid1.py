"""The duties of process 1 in a container: it reaps processes that have ended, and forwards signals.

Orphans become children of process 1 (pid_namespaces(7)), and stay zombies until it waits for them. Trio, ``subprocess`` and
third-party code wait for children of their own, so the daemon cannot tell an orphan from a child whose exit code somebody else
needs. Where gatewayd is process 1 it therefore forks: the parent is a small init process, the child is the daemon.
"""

import os
import signal
from contextlib import suppress
from typing import Final

FORWARDED: Final = frozenset(
    (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
)
_SI_KERNEL: Final = 0x80
"""si_code of sigaction(2) for a signal of the terminal. The terminal sends it to the daemon, too, which must not get it twice."""
_PID_VARIABLES: Final = ("LISTEN_PID", "WATCHDOG_PID")
"""Variables of sd_listen_fds(3) and sd_watchdog_enabled(3) that hold the pid of their recipient."""


def fork_below_init() -> None:
    """Returns at once, unless this is process 1. Then it returns in a child, and process 1 ends with the child's exit code.

    Call it before the first thread starts and before signals are handled.
    """
    if os.getpid() != 1:
        return
    # Blocked: process 1 has no default actions, so a signal that comes before the child exists would be lost.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    child = os.fork()
    if child:
        os._exit(_run_init(child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for name in _PID_VARIABLES:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())


def _run_init(child: int) -> int:
    """Forward signals and reap until the child has ended. Returns its exit code, or 128 + N where signal N ended it."""
    while (code := _reap(child)) is None:
        came = signal.sigwaitinfo({*FORWARDED, signal.SIGCHLD})
        if came.si_signo != signal.SIGCHLD and came.si_code != _SI_KERNEL:
            with suppress(ProcessLookupError):
                os.kill(child, came.si_signo)
    return code if code >= 0 else 128 - code


def _reap(child: int) -> int | None:
    """Wait for every process that has ended. Returns the child's exit code, if it is among them."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return os.waitstatus_to_exitcode(status)
            if not pid:
                break
    return None
