"""Real processes, real pipes, real time: the fake clock jumps while a process works."""

import os
import signal
import sys
from pathlib import Path

import anyio
import pytest

from gatewayd.actor.border import leaves
from gatewayd.kit.process import OOM_SCORE_ADJUSTMENT, OUTPUT_LINE_MAX, OUTPUT_LINES, ChildProcess, open_process
from gatewayd.model.errors import NeedsOperator, TryAgain

FAILS_AFTER = 20.0


def python(program: str) -> list[str]:
    return [sys.executable, "-c", program]


def exists(pid: int) -> bool:
    """Whether there is such a process, a zombie included: nobody but its parent could reap it."""
    return Path(f"/proc/{pid}").exists()


async def gone(pid: int) -> bool:
    """Whether it is gone soon. An orphan has to be reaped by init, which takes a moment."""
    with anyio.move_on_after(5):
        while exists(pid) and Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z":  # noqa: ASYNC110
            await anyio.sleep(0.01)
        return True
    return False


@pytest.fixture
def marker(tmp_path: Path) -> str:
    return f"test:{tmp_path}"


async def test_gives_the_streams_and_the_exit_code(tmp_path: Path, marker: str) -> None:
    program = "import sys; line = sys.stdin.readline(); print(line.upper(), end=''); sys.exit(3)"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={}, marker=marker, stdin=True, stdout="caller") as process:
            await process.stdin.send(b"hello\n")
            assert await process.stdout.receive() == b"HELLO\n"
            assert await process.wait() == 3
            assert process.returncode == 3
    assert not exists(process.pid)


async def test_keeps_the_end_of_the_output_with_bounded_lines(tmp_path: Path, marker: str) -> None:
    program = (
        "import sys\n"
        # All on one stream: two streams have no order.
        "for n in range(5000): print('line', n, file=sys.stderr)\n"
        "sys.stderr.flush()\n"
        "sys.stderr.buffer.write(b'\\xff' + b'x' * 3_000_000 + b'\\nlast\\r\\nunended')"
    )
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={}, marker=marker) as process:
            await process.wait_line(lambda line: line == "unended")
    assert len(process.output) == OUTPUT_LINES
    assert "line 4999" in process.output
    assert process.output[-2:] == ("last", "unended")
    assert max(len(line) for line in process.output) == OUTPUT_LINE_MAX
    assert next(line for line in process.output if len(line) == OUTPUT_LINE_MAX).startswith("\N{REPLACEMENT CHARACTER}xxx")


async def test_output_that_is_the_callers_is_not_kept(tmp_path: Path, marker: str) -> None:
    program = "import sys; print('protocol', flush=True); print('log', file=sys.stderr, flush=True); sys.stdin.read()"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={}, marker=marker, stdin=True, stdout="caller") as process:
            await process.wait_line(lambda line: line == "log")
            assert await process.stdout.receive() == b"protocol\n"
    assert process.output == ("log",)


async def test_waits_for_a_line_among_many(tmp_path: Path, marker: str) -> None:
    program = "import time\nfor n in range(2000): print('ready on 4711' if n == 1000 else n)\nprint(flush=True)\ntime.sleep(60)"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={}, marker=marker) as process:
            assert await process.wait_line(lambda line: line.startswith("ready")) == "ready on 4711"


async def test_a_line_said_already_is_found(tmp_path: Path, marker: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python("print('one'); print('two')"), cwd=tmp_path, env={}, marker=marker) as process:
            await process.wait_line(lambda line: line == "two")
            assert await process.wait_line(lambda line: line == "one") == "one"


async def test_a_process_that_ends_before_it_is_ready_is_an_outage_with_its_last_output(tmp_path: Path, marker: str) -> None:
    program = "import sys; sys.exit('no such database')"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={}, marker=marker) as process:
            with pytest.raises(
                TryAgain, match=rf"process {process.pid} ended with exit code 1; its last output: no such database"
            ):
                await process.wait_line(lambda line: line == "ready")


async def test_the_signal_that_ended_it_is_named(tmp_path: Path, marker: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python("import time; time.sleep(60)"), cwd=tmp_path, env={}, marker=marker) as process:
            assert process.exit_summary.endswith("is running")
            os.kill(process.pid, signal.SIGKILL)
            assert await process.wait() == -signal.SIGKILL
            assert "was ended by SIGKILL" in process.exit_summary


DEAF = "signal.signal(signal.SIGTERM, signal.SIG_IGN)"


def parent(*, child: str = "pass", own: str = "pass", leaves_group: bool = False, lives: float = 600) -> list[str]:
    """A process with a child, whose pid it says. ``child`` and ``own`` is what the two do first."""
    program = f"import signal, time; {child}; print('up', flush=True); time.sleep(600)"
    return python(
        f"""
import signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", {program!r}], stdout=subprocess.PIPE, start_new_session={leaves_group})
assert child.stdout.readline() == b"up\\n"
{own}
print(child.pid, flush=True)
time.sleep({lives})
"""
    )


async def _child_of(process: ChildProcess) -> int:
    return int(await process.wait_line(str.isdigit))


async def test_ends_the_whole_group(tmp_path: Path, marker: str) -> None:
    command = parent()
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(command, cwd=tmp_path, env={}, marker=marker) as process:
            child = await _child_of(process)
        assert process.returncode == -signal.SIGTERM
        assert not exists(process.pid)
        assert await gone(child)


async def test_kills_those_that_ignore_the_request_to_end(tmp_path: Path, marker: str) -> None:
    command = parent(child=DEAF, own=DEAF)
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(command, cwd=tmp_path, env={}, marker=marker, grace_seconds=0.2) as process:
            child = await _child_of(process)
        assert process.returncode == -signal.SIGKILL
        assert not exists(process.pid)
        assert await gone(child)


async def test_kills_what_left_the_group_and_outlived_its_parent(tmp_path: Path, marker: str) -> None:
    command = parent(leaves_group=True, lives=0)
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(command, cwd=tmp_path, env={}, marker=marker, grace_seconds=0.2) as process:
            child = await _child_of(process)
            assert await process.wait() == 0
            assert exists(child)
        assert await gone(child)


async def test_what_writes_its_files_after_the_request_to_end_is_given_the_time(tmp_path: Path, marker: str) -> None:
    """Also when it is a grandchild: `npx` and its like end at once and leave the real program behind."""
    child = f"signal.signal(signal.SIGTERM, lambda *_: (time.sleep(0.3), open({str(tmp_path / 'saved')!r}, 'w').close(), exit()))"
    command = parent(child=child)
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(command, cwd=tmp_path, env={}, marker=marker) as process:
            await _child_of(process)
    assert (tmp_path / "saved").exists()


async def test_what_left_the_group_is_asked_to_end_too(tmp_path: Path, marker: str) -> None:
    child = f"signal.signal(signal.SIGTERM, lambda *_: (open({str(tmp_path / 'asked')!r}, 'a').write('x'), exit()))"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(parent(child=child, leaves_group=True), cwd=tmp_path, env={}, marker=marker) as process:
            await _child_of(process)
    assert (tmp_path / "asked").read_text() == "x"


async def test_ends_it_when_the_caller_is_cancelled(tmp_path: Path, marker: str) -> None:
    with anyio.fail_after(FAILS_AFTER):
        async with anyio.create_task_group() as group:
            pids: list[int] = []

            async def hold() -> None:
                async with open_process(python("import time; time.sleep(600)"), cwd=tmp_path, env={}, marker=marker) as process:
                    pids.append(process.pid)
                    group.cancel_scope.cancel()
                    await anyio.sleep_forever()

            group.start_soon(hold)
    assert pids
    assert not exists(pids[0])


async def test_one_that_writes_while_it_ends_is_not_held_up(tmp_path: Path, marker: str) -> None:
    """More than a pipe holds, on both streams, and nobody reads its stdout any more."""
    program = (
        "import os, signal, time\n"
        "def end(*_):\n"
        "    for stream in 1, 2: os.write(stream, b'x' * 300_000)\n"
        "    os._exit(7)\n"
        "signal.signal(signal.SIGTERM, end); os.write(2, b'up\\n'); time.sleep(600)"
    )
    with anyio.fail_after(FAILS_AFTER):
        with anyio.CancelScope() as scope:
            async with open_process(python(program), cwd=tmp_path, env={}, marker=marker, stdout="caller") as process:
                await process.wait_line(lambda line: line == "up")
                scope.cancel()
    assert process.returncode == 7


async def test_an_error_of_the_caller_ends_it_and_arrives(tmp_path: Path, marker: str) -> None:
    with anyio.fail_after(FAILS_AFTER), pytest.raises(ExceptionGroup) as caught:
        async with open_process(python("import time; time.sleep(600)"), cwd=tmp_path, env={}, marker=marker) as process:
            raise LookupError("mine")
    assert [str(leaf) for leaf in leaves(caught.value)] == ["mine"]
    assert not exists(process.pid)


async def test_gets_what_was_asked_for_and_none_of_our_secrets(
    tmp_path: Path, marker: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("CREDENTIALS_DIRECTORY", "NOTIFY_SOCKET", "GATEWAYD_TOKEN", "MY_API_KEY", "PYTHONPATH"):
        monkeypatch.setenv(name, "secret")
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("LANG", "ours")
    program = "import os\nfor name, value in sorted(os.environ.items()): print(name + '=' + value)\nprint('.')"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={"LANG": "theirs", "A": "1"}, marker=marker) as process:
            await process.wait_line(lambda line: line == ".")
    said = dict(line.split("=", 1) for line in process.output[:-1])
    assert said["PATH"] == os.environ["PATH"]
    assert (said["LC_ALL"], said["LANG"], said["A"]) == ("C.UTF-8", "theirs", "1")
    assert said["GATEWAYD_PROCESS"] == marker
    assert "secret" not in said.values()


async def test_a_command_that_is_not_there_needs_the_operator(tmp_path: Path, marker: str) -> None:
    with pytest.raises(NeedsOperator, match=r"there is no command 'no-such-agent' in PATH \(.*\): install it"):
        async with open_process(["no-such-agent"], cwd=tmp_path, env={}, marker=marker):
            pass
    with pytest.raises(NeedsOperator, match=r"there is no command './agent' as seen from "):
        async with open_process(["./agent"], cwd=tmp_path, env={}, marker=marker):
            pass


async def test_a_command_that_cannot_be_run_needs_the_operator(tmp_path: Path, marker: str) -> None:
    file = tmp_path / "agent"
    file.write_text("no program")
    with pytest.raises(NeedsOperator, match=r"cannot be run: Permission denied"):
        async with open_process([str(file)], cwd=tmp_path, env={}, marker=marker):
            pass
    file.chmod(0o700)
    with pytest.raises(NeedsOperator, match=r"cannot be run: Exec format error"):
        async with open_process([str(file)], cwd=tmp_path, env={}, marker=marker):
            pass
    with pytest.raises(NeedsOperator, match=r"cannot be run: embedded null byte"):
        async with open_process(["a\0b"], cwd=tmp_path, env={}, marker=marker):
            pass


async def test_a_directory_that_is_not_there_needs_the_operator(tmp_path: Path, marker: str) -> None:
    with pytest.raises(NeedsOperator, match=r"the directory /.*/nowhere does not exist"):
        async with open_process(python(""), cwd=tmp_path / "nowhere", env={}, marker=marker):
            pass


async def test_a_machine_that_is_full_is_an_outage(tmp_path: Path, marker: str) -> None:
    import resource

    old = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = len(os.listdir("/proc/self/fd"))
    resource.setrlimit(resource.RLIMIT_NOFILE, (used, old[1]))
    try:
        with pytest.raises(TryAgain, match="cannot be started now: Too many open files"):
            async with open_process(["true"], cwd=tmp_path, env={}, marker=marker):
                pass
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, old)


async def test_the_kernel_is_offered_the_agent_and_not_us(tmp_path: Path, marker: str) -> None:
    """Where memory runs out; what the agent starts is offered, too."""
    ours = Path("/proc/self/oom_score_adj").read_text()
    grandchild = "import subprocess; print(subprocess.check_output(['cat', '/proc/self/oom_score_adj'], text=True))"
    program = f"import sys; sys.stdin.readline(); {grandchild}"
    with anyio.fail_after(FAILS_AFTER):
        async with open_process(python(program), cwd=tmp_path, env={}, marker=marker, stdin=True, stdout="caller") as process:
            assert int(Path(f"/proc/{process.pid}/oom_score_adj").read_text()) == OOM_SCORE_ADJUSTMENT
            await process.stdin.send(b"go\n")
            assert int(await process.stdout.receive()) == OOM_SCORE_ADJUSTMENT
            await process.wait()
    assert Path("/proc/self/oom_score_adj").read_text() == ours
