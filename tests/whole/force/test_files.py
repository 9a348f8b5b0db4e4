"""No file descriptors are left: nothing is accepted nor connected; the daemon lives, says so, does not spin, and recovers."""

import os
import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import trio

from tests.whole.force.force import Bench
from tests.whole.process import Daemon
from tests.whole.walks import WALKS, WalkName, until, walk_by

ALICE = 1001
LEFT = 3
SECONDS = 3.0
MOST_OF_ONE_CORE = 0.5


@contextmanager
def few_files(gateway: Daemon, more: int) -> Iterator[None]:
    """It may open so many more than it has, if there is no gap among their numbers."""
    pid = gateway.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = max(int(name) for name in os.listdir(f"/proc/{pid}/fd")) + 1
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (used + more, hard))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (soft, hard))


def processor_seconds(pid: int) -> float:
    """Of all its threads since it was started (proc(5): utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.force
@pytest.mark.parametrize("way", WALKS)
async def test_no_descriptors_left(tmp_path: Path, way: WalkName) -> None:
    with trio.fail_after(120):
        async with walk_by(way, tmp_path) as walk:
            bench = Bench(walk, tmp_path)
            async with bench.start() as gateway:
                walk.say(ALICE, "first")
                await bench.wait_quiet(gateway)
                # Whoever has a connection keeps it: an operator with an open page can look.
                async with gateway.client() as operator:
                    assert (await operator.get("/v1/gateway/status")).status_code == 200
                    host, _, port = gateway.url.removeprefix("http://").partition(":")
                    with few_files(gateway, LEFT), ExitStack() as crowd:
                        for _ in range(20):
                            stream = await trio.open_tcp_stream(host, int(port))
                            crowd.callback(stream.socket.close)
                        await until(lambda: '"event":"accept_failed"' in bench.log.read_text())
                        walk.say(ALICE, "second")
                        before = processor_seconds(gateway.process.pid)
                        await trio.sleep(SECONDS)
                        share = (processor_seconds(gateway.process.pid) - before) / SECONDS
                        assert share < MOST_OF_ONE_CORE
                        assert gateway.process.poll() is None
                        told = (await operator.get("/v1/gateway/status")).json()["problems"]
                        assert "no_descriptors" in [problem["code"] for problem in told]
                    walk.say(ALICE, "third")
                    snapshot = await bench.wait_quiet(gateway)
                    assert snapshot.ready
                    assert await bench.check(gateway, {ALICE: ["first", "second", "third"]}) == []
                assert await gateway.stop() == 0
