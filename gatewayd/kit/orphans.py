"""Finds and ends orphan processes by a marker in their environment, which their own children inherit.

A gatewayd that SIGKILL ended could not end its children; its next start finds them. PR_SET_PDEATHSIG does not help: it fires when
the *thread* that forked ends (prctl(2)), and Trio forks in a worker thread.
"""

import errno
import os
import signal
from contextlib import suppress
from typing import Final

import anyio
import anyio.to_thread

MARKER_VARIABLE: Final = "GATEWAYD_PROCESS"
KILLED_WITHIN_SECONDS: Final = 5.0
"""Only a process that hangs in the kernel outlives a SIGKILL for so long."""
POLL_SECONDS: Final = 0.05


async def end_orphans(marker: str) -> int:
    """Kill all processes with this marker, and wait until they have ended (at most some seconds). Returns their number.

    On Linux only. A process that has overwritten its environment (setproctitle does) is not found.
    """
    found: set[int] = set()
    with anyio.move_on_after(KILLED_WITHIN_SECONDS, shield=True):
        # Again and again: a process may have started another one meanwhile.
        while pids := await anyio.to_thread.run_sync(signal_marked, marker, signal.SIGKILL):
            found.update(pids)
            await anyio.sleep(POLL_SECONDS)
    return len(found)


async def end_all_orphans(directory: str) -> int:
    """As :func:`end_orphans`, for every marker that is a path below ``directory`` (absolute), or a word and such a path."""
    ended = 0
    for marker in await anyio.to_thread.run_sync(_markers_below, directory):
        ended += await end_orphans(marker)
    return ended


def _markers_below(directory: str) -> set[str]:
    found: set[str] = set()
    below = f"{directory.rstrip('/')}/"
    for pid in filter(str.isdigit, os.listdir("/proc") if os.path.isdir("/proc") else ()):
        with suppress(OSError), open(f"/proc/{pid}/environ", "rb") as file:
            for entry in file.read().split(b"\0"):
                name, _, marker = entry.decode("utf-8", "replace").partition("=")
                if name == MARKER_VARIABLE and (marker.startswith(below) or marker.partition(" ")[2].startswith(below)):
                    found.add(marker)
    return found


def marked(marker: str) -> list[int]:
    """This user's processes that have the marker and have not ended. A zombie's environment is empty."""
    try:
        entries = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []
    return [pid for pid in entries if pid != os.getpid() and _is_marked(pid, marker)]


def _is_marked(pid: int, marker: str) -> bool:
    try:
        if os.stat(f"/proc/{pid}").st_uid != os.geteuid():
            return False
        with open(f"/proc/{pid}/environ", "rb") as file:
            return f"{MARKER_VARIABLE}={marker}".encode() in file.read().split(b"\0")
    except OSError:
        return False  # it has ended meanwhile, or is another user's


def signal_marked(marker: str, number: signal.Signals, except_group: int | None = None) -> list[int]:
    """Signal every process with the marker, except those of one process group. Returns their numbers."""
    pids = [pid for pid in marked(marker) if except_group is None or _group_of(pid) != except_group]
    for pid in pids:
        with suppress(OSError):
            _signal_if_marked(pid, marker, number)
    return pids


def _group_of(pid: int) -> int | None:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return None


def _signal_if_marked(pid: int, marker: str, number: signal.Signals) -> None:
    try:
        descriptor = os.pidfd_open(pid)
    except OSError as error:
        if error.errno == errno.ENOSYS:  # some sandboxes
            os.kill(pid, number)
        return
    try:
        # Checked again with the descriptor open: another process may have got the number in between.
        if _is_marked(pid, marker):
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
