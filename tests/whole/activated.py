"""``python -m tests.whole.activated FD ARGUMENTS…``: gatewayd with a listening socket handed over, as systemd does it.

Like systemd's own socket unit, ``systemd-socket-activate`` waits for the first connection; but then it *becomes* the daemon
(systemd v252, src/socket-activate/socket-activate.c: it executes the program in its own place), so the socket would end with it.
Who starts this holds the socket, over any number of daemons, and hands it to the tool the way the tool hands it on.
Where the tool is not installed the daemon is started at once.
"""

import os
import shutil
import sys

TOOL = "systemd-socket-activate"


def main() -> None:
    os.dup2(int(sys.argv[1]), 3)
    os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "gatewayd.socket"}
    command = [sys.executable, "-W", "error", "-m", "gatewayd", *sys.argv[2:]]
    if shutil.which(TOOL):
        # It keeps nothing of the environment but HOME, PATH and the like.
        kept = [f"--setenv={name}" for name in os.environ if name.startswith(("PYTHON", "NOTIFY_"))]
        command = [TOOL, *kept, "--fdname=gatewayd.socket", *command]
    os.execvp(command[0], command)  # noqa: S606


main()
