"""The limits of the server, its barrier against bugs, and where it listens."""

import resource
import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd.model.config import GatewaySection
from gatewayd.model.errors import NeedsOperator
from gatewayd.web.server.listen import open_listeners
from tests.web.client import RawClient, chunked, request
from tests.web.hook import SECRET
from tests.web.server.traffic import HEALTH, WEBHOOK
from tests.web.site import configuration, open_site

# Bounds.


async def test_above_the_limit_clients_wait_and_are_served_later(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    section = GatewaySection(max_connections=2)
    async with open_site(tmp_path, configuration(gateway=section)) as site:
        async with site.dial() as one, site.dial() as two, site.dial() as three:
            for client in (one, two):
                assert (await client.ask(HEALTH)).status == 200
            await three.say(HEALTH)
            with trio.move_on_after(5) as scope:
                await three.answer()
            assert scope.cancelled_caught
            assert site.server.statistics().open == site.server.statistics().limit == 2
            await two.stream.aclose()
            assert (await three.answer()).status == 200
        assert [entry["limit"] for entry in logged if entry["event"] == "connection_limit_reached"] == [2]


async def test_a_process_without_free_descriptors_goes_on_accepting_later(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with open_site(tmp_path) as site, site.dial() as known:
        await known.ask(HEALTH)
        address = known.stream.socket.getpeername()
        with trio.socket.socket() as sock:
            resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
            try:
                await sock.connect(address)
                await trio.sleep(1)
                assert (await known.ask(HEALTH)).status == 200
                since = site.server.no_descriptors_since
                assert since is not None
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await trio.sleep(2)
            assert site.server.no_descriptors_since is None
            assert (await RawClient(trio.SocketStream(sock)).ask(HEALTH)).status == 200
        assert [entry["reason"] for entry in logged if entry["event"] == "accept_failed"] == ["Too many open files"]


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_ten_mebibytes_to_a_webhook(tmp_path: Path, clock: trio.testing.MockClock, framing: str) -> None:
    body, knows = b"x" * (10 * 1024 * 1024), {"X-Hook-Secret": SECRET}
    if framing == "chunks":
        raw = request("POST", "/v1/webhooks/hook/main", headers={**knows, "Transfer-Encoding": "chunked"}) + chunked(body)
    else:
        raw = request("POST", "/v1/webhooks/hook/main", headers=knows, body=body)
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(raw)
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert await client.closed()
        assert await site.rows() == []


# The barrier.


async def test_a_bug_in_one_connection_is_logged_and_hurts_no_other(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client, site.dial() as other:
        assert (await other.ask(HEALTH)).status == 200
        actors, site.gateway.manager._pool.desired = site.gateway.manager._pool.desired, None  # type: ignore[assignment]
        await client.say(WEBHOOK)
        await client.rest()
        site.gateway.manager._pool.desired = actors
        assert (await other.ask(HEALTH)).status == 200
        assert await site.is_well()
        assert [entry["log_level"] for entry in logged if entry["event"] == "connection_failed"] == ["error"]


# Listening.


@pytest.mark.parametrize(
    "bind", ["", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:65536", "127.0.0.1:-1", ":8080", "::1:80"]
)
async def test_a_wrong_bind_is_said(bind: str) -> None:
    with pytest.raises(NeedsOperator, match=r"cannot listen: .*(HOST:PORT|brackets|usable host)"):
        await open_listeners(bind)


async def test_a_taken_port_is_said() -> None:
    [listener] = await open_listeners("127.0.0.1:0")
    async with listener:
        port = listener.socket.getsockname()[1]
        with pytest.raises(NeedsOperator, match=f"cannot listen on 127.0.0.1:{port}: Address already in use"):
            await open_listeners(f"127.0.0.1:{port}")


async def test_ipv6_and_unix_sockets_are_served(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    unix = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await unix.bind(str(tmp_path / "front.sock"))
    unix.listen()
    async with open_site(tmp_path / "state") as site, trio.open_nursery() as nursery:
        server = site.serve(max_connections=10, max_body_bytes=1000)
        listeners = [*await open_listeners("[::1]:0"), trio.SocketListener(unix)]
        urls = await nursery.start(server.serve, listeners)
        assert urls == (f"http://[::1]:{listeners[0].socket.getsockname()[1]}", f"unix:{tmp_path}/front.sock")
        for stream in (
            await trio.open_tcp_stream("::1", listeners[0].socket.getsockname()[1]),
            await trio.open_unix_socket(tmp_path / "front.sock"),
        ):
            async with stream:
                assert (await RawClient(stream).ask(HEALTH)).status == 200
        server.stop()
