"""What strangers can make the process hold: 400 connections that each send nearly all of a large body."""

from pathlib import Path

import pytest
import trio

from gatewayd.web.server.request_memory import POOL_BYTES
from tests.web.client import dial, request
from tests.whole.process import daemon

CONNECTIONS = 400
# All of them come from one address here.
CONFIG = f"""\
[gateway]
max_connections_per_address = {CONNECTIONS + 10}
[agents.assistant]
core = "echo"
[channels.webchat.accounts.main]
"""
BODY = 1_048_576
MIB = 1024 * 1024


def memory_of(pid: int) -> int:
    """Bytes that are resident now (VmRSS of proc_pid_status(5))."""
    [line] = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:")]
    return int(line.split()[1]) * 1024


@pytest.mark.force
@pytest.mark.parametrize("target", ["/v1/webhooks/nothing/here", "/v1/webchat/login", "/v1/console/login", "/v1/chat/inbound"])
@pytest.mark.parametrize("knows_the_token", [False, True])
async def test_bodies_that_do_not_end_take_no_memory(tmp_path: Path, target: str, knows_the_token: bool) -> None:
    async with daemon(tmp_path / "state", CONFIG) as gateway:
        before, most = memory_of(gateway.process.pid), 0
        headers = {"Content-Length": str(BODY), "Content-Type": "application/json"}
        if knows_the_token:
            headers["Authorization"] = f"Bearer {gateway.token}"
        begun = request("POST", target, headers=headers, body=b" " * (BODY - 1))

        async def hold() -> None:
            async with dial(gateway.url) as client:
                await client.say(begun)
                await trio.sleep_forever()

        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(hold)
            for _ in range(30):
                await trio.sleep(0.1)
                most = max(most, memory_of(gateway.process.pid))
            async with gateway.client() as client:
                assert (await client.get("/health")).status_code == 200
            nursery.cancel_scope.cancel()
        # A body that is allowed is held twice for a moment, when its parts are put together.
        allowed = 2 * POOL_BYTES if knows_the_token else 0
        assert most - before < allowed + 64 * MIB
