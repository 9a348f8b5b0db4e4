"""A daemon whose port somebody floods: others are answered, and its operator gets in."""

import json
import socket
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio

from tests.whole.process import daemon
from tests.whole.test_activation import SocketUnit

CONFIG = """\
[gateway]
max_connections = 8
max_connections_per_address = 8
[channels.webchat.accounts.main]
[agents.assistant]
core = "echo"
"""


@pytest.fixture
def flood() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


async def status(state_dir: Path) -> dict[str, object]:
    """What gatewayctl says, which finds the daemon by its state directory."""
    command = [str(Path(sys.executable).with_name("gatewayctl")), "--state-dir", str(state_dir), "status", "--json"]
    done = await trio.run_process(command, capture_stdout=True, capture_stderr=True, check=False, env={})
    assert done.returncode == 0, done.stderr
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


@pytest.mark.slow
async def test_an_operator_gets_in_while_the_port_is_flooded(tmp_path: Path, flood: ExitStack) -> None:
    async with daemon(tmp_path / "s", CONFIG) as gateway:
        port = urlsplit(gateway.url).port
        for _ in range(20):
            flood.enter_context(socket.create_connection(("127.0.0.1", port))).sendall(b"GET /health")
        with trio.fail_after(8):  # all of it within the ten seconds that such a head may take
            assert (await status(gateway.state_dir))["ready"]
        assert stat.S_IMODE((gateway.state_dir / "gatewayd.sock").lstat().st_mode) == 0o600
        gateway.kill()
        await gateway.wait()
    assert (tmp_path / "s/gatewayd.sock").is_socket(), "nobody has removed it"
    async with daemon(tmp_path / "s", CONFIG) as gateway:
        assert (await status(gateway.state_dir))["ready"]
        assert await gateway.stop() == 0
        assert not (gateway.state_dir / "gatewayd.sock").exists()


@pytest.mark.slow
async def test_it_is_there_beside_a_socket_of_the_service_manager(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=100) as held:
        unit = SocketUnit(held, tmp_path / "s")
        for _ in range(2):
            # The first connection starts it.
            with socket.create_connection(held.getsockname()):
                async with unit.service() as gateway:
                    assert json.loads((gateway.state_dir / "endpoint.json").read_text())["socket"] == "gatewayd.sock"
                    async with await trio.open_unix_socket(gateway.state_dir / "gatewayd.sock") as stream:
                        await stream.send_all(b"GET /health HTTP/1.0\r\n\r\n")
                        assert (await stream.receive_some(100)).startswith(b"HTTP/1.1 200")
                    assert await gateway.stop() == 0
                    assert not (gateway.state_dir / "gatewayd.sock").exists()
