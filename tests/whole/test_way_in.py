"""A way in is shown to a terminal, and to nothing else; and what is printed or logged never lands in the store."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import trio

from gatewayd.stores.sqlite import open_store, run_inline

PATIENCE = 30.0


@contextmanager
def started(state_dir: Path, behind: str = "", stdout: int = subprocess.DEVNULL) -> Iterator["subprocess.Popen[bytes]"]:
    """A daemon by a shell, with ``behind`` behind the command."""
    command = f'exec "{sys.executable}" -W error -m gatewayd --state-dir "{state_dir}" --bind 127.0.0.1:0 {behind}'
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("GATEWAYD_", "XDG_", "NOTIFY"))}
    environment["HOME"] = str(state_dir.parent)
    with subprocess.Popen(["/bin/sh", "-c", command], stdout=stdout, stderr=subprocess.DEVNULL, env=environment) as process:
        try:
            yield process
        finally:
            process.kill()


async def until_ready(state_dir: Path) -> None:
    with trio.fail_after(PATIENCE):
        while not (state_dir / "endpoint.json").exists():  # noqa: ASYNC110 -- another process
            await trio.sleep(0.02)


async def test_a_terminal_is_shown_a_link(tmp_path: Path) -> None:
    master, slave = os.openpty()
    shown = b""
    with started(tmp_path / "state", stdout=slave) as process, trio.fail_after(PATIENCE):
        os.close(slave)
        while not shown.endswith(b"\r\n\r\n"):
            shown += await trio.to_thread.run_sync(os.read, master, 4096)
        process.send_signal(signal.SIGTERM)
        assert await trio.to_thread.run_sync(process.wait) == 0
    os.close(master)
    assert re.search(rb"Talk to your agent .*http://127\.0\.0\.1:\d+/#code=[a-z2-7-]+", shown, re.S)


@pytest.mark.parametrize(
    "behind", ["<&- >&- 2>&-", *(pytest.param(each, marks=pytest.mark.slow) for each in ("> /dev/full 2>&1", "| true"))]
)
async def test_it_runs_whatever_its_streams_are(tmp_path: Path, behind: str) -> None:
    state = tmp_path / "state"
    with started(state, behind) as process:
        await until_ready(state)
        if behind != "| true":  # there the shell is what was started
            process.send_signal(signal.SIGTERM)
            with trio.fail_after(PATIENCE):
                assert await trio.to_thread.run_sync(process.wait) == 0
        else:
            os.kill(int((state / "gatewayd.lock").read_text().split()[0]), signal.SIGTERM)
            with trio.fail_after(PATIENCE):
                while (state / "endpoint.json").exists():  # noqa: ASYNC110 -- another process
                    await trio.sleep(0.02)
                await trio.to_thread.run_sync(process.wait)
    async with open_store(state, now=lambda: 0.0, run_blocking=run_inline) as store:
        assert store.statistics().checked_whole
        assert [row for row in await store.list_tokens("login_code") if row.role == "webchat"] == []
