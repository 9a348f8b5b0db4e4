"""A daemon whose loop is held up, stopped, or takes long to start, and what it tells its service manager."""

import re
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.whole.process import Daemon, daemon
from tests.whole.test_daemon import post

pytestmark = pytest.mark.slow

FED_EVERY = 0.1
STALL = 0.2
CONFIG = f"""\
[gateway]
stall_seconds = {STALL}
[agents.assistant]
core = "callable"
object = "tests.whole.scripted.blocker:hold_up"
[channels.webchat.accounts.main]
"""


class Manager:
    """The socket of a service manager that watches."""

    def __init__(self, path: Path, listening: trio.socket.SocketType) -> None:
        self.env = {"NOTIFY_SOCKET": str(path), "WATCHDOG_USEC": str(int(FED_EVERY * 2e6))}
        self._listening = listening

    async def hear(self) -> str:
        """The next message."""
        return (await self._listening.recv(4096)).decode()

    async def hear_until(self, message: str) -> list[str]:
        """Everything up to this message."""
        heard = [await self.hear()]
        while heard[-1].partition("\n")[0] != message:
            heard.append(await self.hear())
        return heard

    async def falls_silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long, after what lies here already."""
        for _ in range(50):
            with trio.move_on_after(seconds) as patience:
                await self.hear()
            if patience.cancelled_caught:
                return True
        return False


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[Manager]:
    path = tmp_path / "notify"
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        await listening.bind(str(path))
        yield Manager(path, listening)


async def wait_named(gateway: Daemon, times: int) -> None:
    """The agent has been found so often; a start on a machine that has much to do may hold up the loop, too."""
    with trio.fail_after(30):
        while sum("loop_stalled" in line and "blocker.py" in line for line in lines_of(gateway)) < times:  # noqa: ASYNC110
            await trio.sleep(0.01)


def lines_of(gateway: Daemon) -> list[str]:
    return gateway.log.read_text().splitlines()


async def test_an_agent_that_holds_up_the_loop_is_named_and_the_manager_can_end_it(tmp_path: Path, manager: Manager) -> None:
    async with daemon(tmp_path / "state", CONFIG, env=manager.env) as gateway:
        with trio.fail_after(30):
            heard = await manager.hear_until("READY=1")
            assert heard[0] == "EXTEND_TIMEOUT_USEC=60000000"
            assert "WATCHDOG=1" not in heard  # a start that hangs is ended by its own time-out
            await manager.hear_until("WATCHDOG=1")
            await manager.hear_until("WATCHDOG=1")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(post, gateway, f"until {tmp_path / 'found'}", "short")
                await wait_named(gateway, 1)
                (tmp_path / "found").touch()
            snapshot = await gateway.status()
        [problem] = [problem for problem in snapshot.problems if problem.code == "loop_stalled"]
        assert snapshot.ready
        assert "blocker.py" in problem.text
        assert "hold_up" in problem.text
        await manager.hear_until("WATCHDOG=1")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(post, gateway, f"until {tmp_path / 'never'}", "long")
            await wait_named(gateway, 2)
            nursery.cancel_scope.cancel()  # perhaps its answer is held up, too
        assert await manager.falls_silent(FED_EVERY * 4)
        gateway.process.send_signal(signal.SIGABRT)
        assert await gateway.wait() == -signal.SIGABRT
        said = gateway.log.read_text()
    assert "Fatal Python error: Aborted" in said
    (main,) = (part for part in said.partition("Fatal Python error")[2].split("\n\n") if "hold_up" in part)
    assert re.search(r'blocker\.py", line \d+ in hold_up', main)
    assert said.count("Thread 0x") >= 2


@pytest.mark.force
async def test_a_process_that_is_stopped_is_no_stall(tmp_path: Path, manager: Manager) -> None:
    async with daemon(tmp_path / "state", CONFIG, env=manager.env) as gateway:
        gateway.process.send_signal(signal.SIGSTOP)
        assert await manager.falls_silent(3.0)
        gateway.process.send_signal(signal.SIGCONT)
        await gateway.wait_logged("process_paused")
        with trio.fail_after(30):
            await manager.hear_until("WATCHDOG=1")
        assert await gateway.stop() == 0
        resumed = "".join(lines_of(gateway)).partition("process_paused")[2]
        assert "loop_stalled" not in resumed
        assert "loop_resumed" not in resumed
