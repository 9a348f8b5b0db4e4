"""Child processes that end with all of their own children: also those that left the group, also after a killed gatewayd.

Every process has ``GATEWAYD_PROCESS=<marker>`` in its environment, which its own children inherit: see ``kit.orphans``.

The leader of the group is reaped last: while it is a zombie, no other process gets its number, which is the group's, too.
"""

import errno
import os
import signal
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Literal

import anyio
import anyio.abc
import anyio.to_thread

from gatewayd.kit.network.lines import Lines, LineTooLong
from gatewayd.kit.orphans import KILLED_WITHIN_SECONDS, MARKER_VARIABLE, POLL_SECONDS, end_orphans, marked, signal_marked
from gatewayd.model.errors import GatewayError, NeedsOperator, TryAgain
from gatewayd.model.secret import Redactor, Secret

OOM_SCORE_ADJUSTMENT = 500
"""From -1000 to 1000: half of all memory is added to the process's when the kernel looks for one to end."""
OUTPUT_LINES = 100
"""Lines of a process's output that are kept."""
EXIT_SUMMARY_LINES = 6
EXIT_SUMMARY_MAX = 600
"""Lines, and characters of them, of the exit summary."""
OUTPUT_LINE_MAX = 1000
"""Characters of one line that are kept."""

_INHERITED = frozenset(
    ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LANGUAGE", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
)
_INHERITED_PREFIXES = ("LC_", "XDG_")
_CHUNK = 65_536
_FOR_OPERATOR = frozenset(
    (errno.ENOENT, errno.EACCES, errno.ENOEXEC, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.E2BIG)
)


class ChildProcess:
    """A running process. ``output`` is the end of its output, for the operator only."""

    def __init__(self, process: anyio.abc.Process, secrets: Iterable[Secret]) -> None:
        self._process = process
        self._redact = Redactor(secrets)
        self.pid = process.pid
        self.returncode: int | None = None
        """Set when the process has ended; -N: by signal N."""
        self._ended = anyio.Event()
        self._drains = 0
        self._drained = anyio.Event()
        self._output: deque[str] = deque(maxlen=OUTPUT_LINES)
        self._watchers: dict[anyio.Event, Callable[[str], bool]] = {}
        self._matches: dict[anyio.Event, str] = {}

    @property
    def stdin(self) -> anyio.abc.ByteSendStream:
        """Only with ``stdin=True``. The process owns it: leaving ``open_process`` closes it."""
        assert self._process.stdin is not None
        return self._process.stdin

    @property
    def stdout(self) -> anyio.abc.ByteReceiveStream:
        """Only with ``stdout="caller"``, who has to read it. Leaving ``open_process`` closes it."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def output(self) -> tuple[str, ...]:
        """The last lines of stderr, and of stdout unless the caller reads that."""
        return tuple(self._output)

    async def wait(self) -> int:
        """Wait for the end of the process. Returns its exit code; -N: by signal N. Its own children may still run. ``output`` is
        complete by then, unless there is so much that the rest is still in the pipe."""
        await self._ended.wait()
        assert self.returncode is not None
        return self.returncode

    async def wait_line(self, predicate: Callable[[str], bool]) -> str:
        """Wait for the first line of the output, old or new, for which ``predicate`` holds. There is no time limit.

        :raises TryAgain: the process ended without such a line.
        """
        for line in self._output:
            if predicate(line):
                return line
        said = anyio.Event()
        self._watchers[said] = predicate
        try:
            if not self._ended.is_set():
                await said.wait()
            if said in self._matches:
                return self._matches[said]
            raise TryAgain(self.exit_summary)
        finally:
            del self._watchers[said]
            self._matches.pop(said, None)

    @property
    def exit_summary(self) -> str:
        """How it ended, with the last lines of its output, in one line: a program seldom says its reason in the very last one."""
        words = [line.strip() for line in self._output if line.strip()][-EXIT_SUMMARY_LINES:]
        last = " | ".join(words)[-EXIT_SUMMARY_MAX:]
        return f"process {self.pid} {_ending(self.returncode)}" + (f"; its last output: {last}" if last else "")

    def note(self, line: str) -> None:
        """Add a line to the output, without the process's secrets, cut at ``OUTPUT_LINE_MAX`` characters."""
        line = self._redact(line[: 4 * OUTPUT_LINE_MAX])[:OUTPUT_LINE_MAX]
        self._output.append(line)
        for said, predicate in self._watchers.items():
            if said not in self._matches and predicate(line):
                self._matches[said] = line
                said.set()

    async def _watch(self) -> None:
        self.returncode = await _end_of(self._process)
        # Its last lines may still be in the pipe, but a grandchild can hold the pipe open.
        with anyio.move_on_after(POLL_SECONDS):
            await self._drained.wait()
        self._ended.set()
        for said in self._watchers:
            said.set()

    async def _drain(self, stream: anyio.abc.ByteReceiveStream) -> None:
        lines = Lines(4 * OUTPUT_LINE_MAX)  # enough, even if each character is four bytes
        self._drains += 1
        with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
            while True:
                for line in lines.feed(await stream.receive(_CHUNK)):
                    self.note(_text(line.beginning if isinstance(line, LineTooLong) else line))
        if rest := lines.rest():
            self.note(_text(rest))
        self._drains -= 1
        if not self._drains:
            self._drained.set()


@asynccontextmanager
async def open_process(
    command: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    marker: str,
    stdin: bool = False,
    stdout: Literal["caller", "output"] = "output",
    grace_seconds: float = 5.0,
    secrets: Iterable[Secret] = (),
) -> AsyncIterator[ChildProcess]:
    """Run a command in a process group of its own, in the directory ``cwd``, which must exist.

    Its environment is the harmless part of gatewayd's (PATH, HOME, LANG, XDG_*, …) with ``env`` over it, and never has gatewayd's
    secrets. ``marker`` is unique for this use in this state directory: processes that still run with it are ended first.
    ``stdout``: for the caller to read (a protocol), or kept as ``output`` with stderr. ``secrets`` are redacted in ``output``.

    Leaving closes stdin and sends SIGTERM to the group. After ``grace_seconds`` all processes that are left are killed, also
    those outside of the group. An error of the body arrives in an ExceptionGroup.

    :raises NeedsOperator: there is no such command or directory, or it may not be run. :raises TryAgain: it cannot be started.
    """
    await end_orphans(marker)
    environment = {**_inherited(), **env, MARKER_VARIABLE: marker}
    process = await _start(command, cwd, environment, stdin=PIPE if stdin else DEVNULL)
    child = ChildProcess(process, secrets)
    assert process.stdout is not None
    try:
        async with anyio.create_task_group() as group:
            attending = anyio.CancelScope(shield=True)  # also while a cancelled caller ends the process
            group.start_soon(_attend, child, process, stdout == "output", attending)
            try:
                yield child
            finally:
                with anyio.CancelScope(shield=True):
                    async with anyio.create_task_group() as ending:
                        if stdout == "caller":
                            ending.start_soon(_discard, process.stdout)
                        await _end(child, process, marker, grace_seconds)
                        ending.cancel_scope.cancel()
                attending.cancel()
    finally:
        with anyio.move_on_after(KILLED_WITHIN_SECONDS, shield=True):
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    await stream.aclose()
            await process.wait()


async def _start(command: Sequence[str], cwd: Path, env: Mapping[str, str], *, stdin: int) -> anyio.abc.Process:
    try:
        process = await anyio.open_process(
            list(command), cwd=cwd, env=env, stdin=stdin, stdout=PIPE, stderr=PIPE, start_new_session=True
        )
    except OSError as error:
        raise _start_error(error, command[0], cwd, env.get("PATH", "")) from error
    except ValueError as error:
        raise NeedsOperator(f"command {command[0]!r} cannot be run: {error}") from error
    _offer_to_the_oom_killer(process.pid)
    return process


def _offer_to_the_oom_killer(pid: int) -> None:
    """If memory runs out, the kernel should end this process and its children, not gatewayd (oom_score_adj of proc(5): anybody
    may raise it, and children inherit it). Without /proc nothing happens."""
    with suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(f"{OOM_SCORE_ADJUSTMENT}\n")


def _start_error(error: OSError, name: str, cwd: Path, path: str) -> GatewayError:
    if not cwd.is_dir():
        return NeedsOperator(f"the directory {cwd} does not exist: make it, or name another one", retries_slowly=True)
    if error.errno == errno.ENOENT:
        where = f"as seen from {cwd}" if "/" in name else f"in PATH ({path})"
        return NeedsOperator(f"there is no command {name!r} {where}: install it, or write its whole path", retries_slowly=True)
    if error.errno in _FOR_OPERATOR:
        return NeedsOperator(f"command {name!r} cannot be run: {error.strerror}", retries_slowly=True)
    return TryAgain(f"command {name!r} cannot be started now: {error.strerror}")


async def _attend(child: ChildProcess, process: anyio.abc.Process, keeps_stdout: bool, scope: anyio.CancelScope) -> None:
    """Wait for the end, and keep the output until then."""
    assert process.stdout is not None
    assert process.stderr is not None
    with scope:
        async with anyio.create_task_group() as group:
            group.start_soon(child._watch)
            group.start_soon(child._drain, process.stderr)
            if keeps_stdout:
                group.start_soon(child._drain, process.stdout)


async def _discard(stream: anyio.abc.ByteReceiveStream) -> None:
    """A process that is ending may still write, and would hang if nobody read."""
    with suppress(anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
        while True:
            await stream.receive(_CHUNK)


async def _end(child: ChildProcess, process: anyio.abc.Process, marker: str, grace_seconds: float) -> None:
    if process.stdin is not None:
        await process.stdin.aclose()
    # Each process gets one SIGTERM: a second one often means to end at once.
    _signal_group(child, signal.SIGTERM)
    await anyio.to_thread.run_sync(signal_marked, marker, signal.SIGTERM, child.pid)
    with anyio.move_on_after(grace_seconds):
        await child.wait()
        while await anyio.to_thread.run_sync(marked, marker):  # noqa: ASYNC110  nobody tells when another's child ends
            await anyio.sleep(POLL_SECONDS)
    _signal_group(child, signal.SIGKILL)
    with anyio.move_on_after(KILLED_WITHIN_SECONDS):
        await child.wait()
    await end_orphans(marker)


def _signal_group(child: ChildProcess, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):  # macOS says EPERM for a group of zombies
        os.killpg(child.pid, number)


async def _end_of(process: anyio.abc.Process) -> int:
    """Wait for the end; without reaping where the system can do that (Linux 5.3). Returns the exit code."""
    try:
        descriptor = os.pidfd_open(process.pid)
    except (AttributeError, OSError):
        return await process.wait()
    try:
        await anyio.wait_readable(descriptor)
    finally:
        os.close(descriptor)
    result = os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # noqa: ASYNC222  it has ended: this returns at once
    assert result is not None
    return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in _INHERITED or name.startswith(_INHERITED_PREFIXES)}


def _ending(code: int | None) -> str:
    if code is None:
        return "is running"
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        return f"was ended by {signal.Signals(-code).name}"
    except ValueError:
        return f"was ended by signal {-code}"


def _text(line: bytes) -> str:
    return line.rstrip(b"\r").decode(errors="replace")
