"""What process 1 of a container owes to the others: it takes up whatever has ended, and passes signals on.

Orphans become children of process 1 (pid_namespaces(7)), and stay zombies until it waits for them. Beside Trio and
``subprocess``, which wait for children of their own, also in code of third parties, nobody could tell an orphan from a child
whose exit code is somebody else's. So where gatewayd is process 1 it becomes two: one that does this and nothing else, and the
daemon as its child.
"""

import os
import signal
from contextlib import suppress
from typing import Final

FORWARDED: Final = frozenset(
    (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2),
)
_SI_KERNEL: Final = 0x80
"""si_code of sigaction(2) of what a terminal sends; it has sent that to the daemon, too, which must not get it twice."""
_PID_VARIABLES: Final = ("LISTEN_PID", "WATCHDOG_PID")
"""Variables of sd_listen_fds(3) and sd_watchdog_enabled(3) that name the process which they are for."""


def fork_below_init() -> None:
    """Returns at once, unless this is process 1: then it returns in a child of it, and process 1 ends with the child's exit code.

    To be called before there are threads, and before signals are handled.
    """
    if os.getpid() != 1:
        return
    # Blocked: else what comes before there is somebody to pass it to would be lost, as process 1 has no default actions.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*FORWARDED, signal.SIGCHLD})
    child = os.fork()
    if child:
        os._exit(_run_init(child))
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    for name in _PID_VARIABLES:
        if os.environ.get(name) == "1":
            os.environ[name] = str(os.getpid())


def _run_init(child: int) -> int:
    """Until the child has ended. Returns its exit code; 128 + N: by signal N."""
    while (code := _reap(child)) is None:
        came = signal.sigwaitinfo({*FORWARDED, signal.SIGCHLD})
        if came.si_signo != signal.SIGCHLD and came.si_code != _SI_KERNEL:
            with suppress(ProcessLookupError):
                os.kill(child, came.si_signo)
    return code if code >= 0 else 128 - code


def _reap(child: int) -> int | None:
    """Wait for all that has ended. Returns the child's exit code, if it is among them."""
    with suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == child:
                return os.waitstatus_to_exitcode(status)
            if not pid:
                break
    return None
