"""Finds and ends processes by a mark in their environment, which everything they start inherits.

A gatewayd that was ended by SIGKILL could not end its children; at its next start it finds them. PR_SET_PDEATHSIG would not do
in its place: it fires when the *thread* that forked ends (prctl(2)), and Trio forks in a worker thread.
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
    """Kill what still runs with this marker, and wait until it is gone (at most some seconds). Returns how many it found.

    Only on Linux, elsewhere it does nothing; and not those that overwrote their environment (setproctitle does).
    """
    found: set[int] = set()
    with anyio.move_on_after(KILLED_WITHIN_SECONDS, shield=True):
        # Again and again: one that was about to start another may have done so.
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
    """Our processes that have the marker and have not ended. A zombie's environment is empty."""
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
        return False  # it has ended meanwhile, or is not ours to look at


def signal_marked(marker: str, number: signal.Signals, except_group: int | None = None) -> list[int]:
    """Signal every process that has the marker, except those of one process group. Returns those that it found."""
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
        # Asked again under the descriptor: the number may have gone to another process in between.
        if _is_marked(pid, marker):
            signal.pidfd_send_signal(descriptor, number)
    finally:
        os.close(descriptor)
