"""Hostile HTTP: no connection ends the server, holds it up, or leaves a row; and others are answered meanwhile."""

import resource
import socket
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd.model.config import GatewaySection
from gatewayd.model.errors import NeedsOperator
from gatewayd.web.server.connection import HEAD_SECONDS
from gatewayd.web.server.head import MAX_HEAD_BYTES
from gatewayd.web.server.http1 import KEEP_ALIVE_SECONDS
from gatewayd.web.server.listen import open_listeners
from gatewayd.web.server.server import GRACE_SECONDS, GatewayServer
from gatewayd.web.server.stream import WRITE_SECONDS
from tests.web.client import RawClient, chunked, dial, request
from tests.web.hook import SECRET
from tests.web.site import Site, configuration, open_site, token_of

HEALTH = request("GET", "/health")
WEBHOOK = request("POST", "/v1/webhooks/hook/nobody", body=b"x")
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
}
FRAME = b"\x81\x85\x01\x02\x03\x04dmnhn"
H2_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
H2_SETTINGS = b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"
# HEADERS, end of stream and headers, stream 1: ":method CONNECT" and no :path (literal without indexing, RFC 7541 section 6.2.2).
H2_CONNECT = b"\x00\x00\x10\x01\x05\x00\x00\x00\x01\x02\x07CONNECT\x01\x05a:443"

# What is tried, what is said, and the status that answers it (None: any 4xx or 5xx).
HOSTILE: dict[str, tuple[bytes, int | None]] = {
    "websocket": (request("GET", "/v1/events", headers=UPGRADE), 400),
    "websocket, early bytes": (request("GET", "/v1/events", headers=UPGRADE) + FRAME, 400),
    "websocket, early bytes, unknown path": (request("GET", "/nowhere", headers=UPGRADE) + FRAME * 100, 400),
    "websocket with a length": (request("GET", "/", headers=UPGRADE, body=b"x" * 100) + FRAME, 400),
    "websocket with chunks": (
        request("GET", "/", headers={**UPGRADE, "Transfer-Encoding": "chunked"}) + chunked(b"x" * 100) + FRAME,
        400,
    ),
    "websocket by POST": (request("POST", "/v1/webhooks/hook/main", headers=UPGRADE, body=b"x") + FRAME, 400),
    "HTTP/2": (H2_PREFACE + H2_SETTINGS, 505),
    "HTTP/2 CONNECT without a path": (H2_PREFACE + H2_SETTINGS + H2_CONNECT, 505),
    "HTTP/2, garbage": (H2_PREFACE + b"\xff" * 1000, 505),
    "HTTP/2.0 by name": (b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n", 505),
    "CONNECT": (b"CONNECT localhost:443 HTTP/1.1\r\nHost: localhost\r\n\r\n" + b"\x16\x03\x01", 405),
    "path of bytes": (b"GET /\xc3\xa9\xff HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "method of bytes": (b"G\xc3\x89T / HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "proxy request": (b"GET http://[ HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "asterisk": (b"GET * HTTP/1.1\r\nHost: localhost\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03" + b"\x00" * 154, 400),
    "garbage": (bytes(range(256)) * 10, 400),
    "no version": (b"GET /\r\n\r\n", None),
    "two lengths": (b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx", 400),
    "length and chunks": (
        b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        400,
    ),
    "wrong chunks": (b"POST /health HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", None),
    "unknown coding": (b"POST / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: gzip\r\n\r\n", None),
    "null in a header": (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: \x00\r\n\r\n", 400),
    "long line": (b"GET /" + b"a" * MAX_HEAD_BYTES * 2 + b" HTTP/1.1\r\n\r\n", 431),
    "many headers": (b"GET / HTTP/1.1\r\n" + b"X-Flood: x\r\n" * 100_000, 431),
}

hostile = pytest.mark.parametrize(("raw", "status"), HOSTILE.values(), ids=HOSTILE.keys())


def no_failure(logged: list[EventDict]) -> bool:
    """Nothing reached a barrier: what clients do wrong is expected, not an error of ours."""
    return not [entry for entry in logged if entry["event"] in ("connection_failed", "request_failed")]


@hostile
async def test_hostile_bytes_are_refused_and_others_are_answered(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict], raw: bytes, status: int | None
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(raw)
        assert answer.status == status or (status is None and answer.status >= 400)
        assert answer.headers["content-type"] == "application/json"
        assert answer.code
        assert await client.closed()
        assert await site.is_well()
        assert await site.rows() == []
        assert no_failure(logged)


@pytest.mark.parametrize("first", [HEALTH, WEBHOOK], ids=["after a request", "after a webhook"])
async def test_hostile_bytes_as_a_later_request(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict], first: bytes
) -> None:
    async with open_site(tmp_path) as site:
        for name, (raw, _) in HOSTILE.items():
            async with site.dial() as client:
                assert (await client.ask(first)).status in (200, 404)
                assert (await client.ask(raw)).status >= 400, name
                await client.rest()
            assert await site.is_well(), name
            assert no_failure(logged), name
        assert await site.rows() == []


async def test_hostile_bytes_in_a_pipeline(tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]) -> None:
    async with open_site(tmp_path) as site:
        for name, (raw, _) in HOSTILE.items():
            async with site.dial() as client:
                await client.say(HEALTH + WEBHOOK + raw)
                assert [(await client.answer()).status for _ in range(2)] == [200, 404], name
                assert (await client.answer()).status >= 400, name
                await client.rest()
            assert await site.is_well(), name
            assert no_failure(logged), name


async def test_hostile_bytes_and_then_silence_or_a_reset(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    """A client that goes at once, with a reset, and one that stops half-way."""
    async with open_site(tmp_path) as site:
        for name, (raw, _) in HOSTILE.items():
            async with site.dial() as client:
                client.stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\x00\x00\x00\x00\x00\x00\x00")
                await client.say(raw)
            async with site.dial() as client:
                await client.say(raw[: len(raw) // 2])
                await client.stream.send_eof()
                await client.rest()
            assert await site.is_well(), name
            assert no_failure(logged), name
        await trio.sleep(WRITE_SECONDS)
        assert site.server.statistics().open == 0


# Slow clients.


async def test_a_silent_client_is_closed_without_a_word(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        began = trio.current_time()
        assert await client.closed()
        assert HEAD_SECONDS - 1 <= trio.current_time() - began <= HEAD_SECONDS + 1


@pytest.mark.parametrize("pause", [0.1, 3.0])
async def test_a_slow_head_is_408(tmp_path: Path, clock: trio.testing.MockClock, pause: float) -> None:
    async with open_site(tmp_path) as site, site.dial() as client, trio.open_nursery() as nursery:
        began = trio.current_time()

        async def trickle() -> None:
            for byte in b"GET /health HTTP/1.1\r\nX: " + b"x" * 1000:
                await client.say(bytes([byte]))
                await trio.sleep(pause)

        nursery.start_soon(trickle)
        answer = await client.answer()
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert HEAD_SECONDS - 1 <= trio.current_time() - began <= HEAD_SECONDS + 1
        nursery.cancel_scope.cancel()


async def test_a_slow_body_is_408(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json", "Content-Length": "100"}
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("POST", "/v1/chat/inbound", headers=headers) + b"{")
        assert (answer.status, answer.code) == (408, "request_timeout")
        assert await client.closed()
        assert await site.rows() == []


async def test_a_slow_head_on_a_kept_connection_ends_it(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.ask(HEALTH)
        began = trio.current_time()
        await client.say(b"GET /hea")
        await client.rest()
        assert trio.current_time() - began <= KEEP_ALIVE_SECONDS + 1


async def test_an_idle_connection_is_closed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        await client.ask(HEALTH)
        began = trio.current_time()
        assert await client.closed()
        assert KEEP_ALIVE_SECONDS - 1 <= trio.current_time() - began <= KEEP_ALIVE_SECONDS + 1


@pytest.mark.parametrize("raw", [HEALTH, WEBHOOK], ids=["requests", "webhooks"])
async def test_a_client_that_asks_and_never_reads_is_cut_off(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict], raw: bytes
) -> None:
    async with open_site(tmp_path) as site, site.dial(receive_buffer=4096) as client:
        with trio.move_on_after(60):
            for _ in range(1000):
                await client.say(raw * 100)
        assert site.server.statistics().open == 0
        assert await site.is_well()
        assert no_failure(logged)


# Half-closed and gone.


async def test_a_half_closed_connection_is_ended(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        for raw in (b"", b"GET /hea", HEALTH, HEALTH + b"GET /hea", WEBHOOK, WEBHOOK + b"POST"):
            async with site.dial() as client:
                await client.say(raw)
                await client.stream.send_eof()
                await client.rest()
        assert await site.is_well()
        await trio.sleep(1)
        assert site.server.statistics().open == 0


async def test_a_client_that_goes_while_its_request_runs_ends_the_request(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('approvals')}"}
    async with open_site(tmp_path) as site:
        await _pending_approval(site)
        async with site.dial() as client:
            await client.say(request("GET", "/v1/approvals/" + await _approval_id(site) + "?wait=120", headers=headers))
            await trio.sleep(1)
            assert site.server.statistics().open == 1
        await trio.sleep(1)
        assert site.server.statistics().open == 0


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
                since = site.server.no_room_since
                assert since is not None
            finally:
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            await trio.sleep(2)
            assert site.server.no_room_since is None
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
        actors, site.gateway.manager._pool.wanted = site.gateway.manager._pool.wanted, None  # type: ignore[assignment]
        await client.say(WEBHOOK)
        await client.rest()
        site.gateway.manager._pool.wanted = actors
        assert (await other.ask(HEALTH)).status == 200
        assert await site.is_well()
        assert [entry["log_level"] for entry in logged if entry["event"] == "connection_failed"] == ["error"]


# Stopping.


class Stopwatch:
    """A second server on the same hub, and how long it took to stop."""

    def __init__(self, server: GatewayServer) -> None:
        self.server = server
        self.took: float | None = None
        self._began = 0.0

    @property
    def url(self) -> str:
        return self.server.urls[0]

    def dial(self, *, receive_buffer: int | None = None) -> AbstractAsyncContextManager[RawClient]:
        return dial(self.url, receive_buffer=receive_buffer)

    def stop(self) -> None:
        self._began = trio.current_time()
        self.server.stop()

    async def serve(self, task_status: trio.TaskStatus[tuple[str, ...]]) -> None:
        async with trio.open_nursery() as nursery:
            task_status.started(await nursery.start(self.server.serve, await open_listeners("127.0.0.1:0")))
            await self.server.wait_stopped()
            self.took = trio.current_time() - self._began


@asynccontextmanager
async def stopwatch(site: Site) -> AsyncIterator[Stopwatch]:
    """The test calls ``stop``; leaving waits for the server's end."""
    watch = Stopwatch(site.serve(max_connections=100, max_body_bytes=100_000))
    async with trio.open_nursery() as nursery:
        await nursery.start(watch.serve)
        yield watch


async def test_idle_connections_do_not_delay_the_stop(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with stopwatch(site) as watch, watch.dial() as fresh, watch.dial() as used, watch.dial() as hook:
            await used.ask(HEALTH)
            await hook.ask(WEBHOOK)
            await trio.sleep(0.1)
            watch.stop()
            assert await fresh.closed()
            assert await used.closed()
            assert await hook.closed()
        assert watch.took is not None
        assert watch.took < 1


async def test_requests_under_way_are_finished_and_then_closed(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    body = b'{"key": "late"}'
    headers = {"X-Hook-Secret": "the-secret-of-the-hook", "Content-Length": str(len(body))}
    async with open_site(tmp_path) as site:
        async with stopwatch(site) as watch, watch.dial() as hook, watch.dial() as slow:
            await hook.say(request("POST", "/v1/webhooks/hook/main", headers=headers))
            await slow.say(request("POST", "/nowhere", headers={"Content-Length": "3"}) + b"ab")
            await trio.sleep(1)
            watch.stop()
            await trio.sleep(1)
            answer = await hook.ask(body)
            assert (answer.status, answer.headers["connection"]) == (200, "close")
            assert await hook.closed()
        assert watch.took is not None
        assert watch.took <= GRACE_SECONDS + 0.5
        assert [row.envelope.event_key for row in await site.rows()] == ["late"]


async def test_long_waits_are_answered_early(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('approvals')}"}
    async with open_site(tmp_path) as site:
        await _pending_approval(site)
        async with stopwatch(site) as watch, watch.dial() as client:
            await client.say(request("GET", f"/v1/approvals/{await _approval_id(site)}?wait=120", headers=headers))
            await trio.sleep(1)
            watch.stop()
            assert (await client.answer()).json["state"] == "pending"
        assert watch.took is not None
        assert watch.took < 1


async def test_the_new_are_refused_and_the_rude_are_cut(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """Half a head, half a body, and clients that never read: nothing delays the stop beyond its grace."""
    stream = request("GET", "/v1/events", headers={"Authorization": f"Bearer {token_of('read')}"})
    async with open_site(tmp_path) as site:
        async with (
            stopwatch(site) as watch,
            watch.dial() as head,
            watch.dial() as body,
            watch.dial() as slow_body,
            watch.dial(receive_buffer=4096) as deaf_stream,
            watch.dial(receive_buffer=4096) as deaf,
            trio.open_nursery() as nursery,
        ):
            await head.say(b"GET /hea")
            await body.say(request("POST", "/v1/webhooks/hook/main", headers={"Content-Length": "9"}) + b"x")
            await slow_body.say(request("POST", "/nowhere", headers={"Content-Length": "9"}) + b"x")
            await deaf_stream.say(stream)
            nursery.start_soon(partial(_ask_for_ever, deaf))
            for _ in range(3000):
                site.gateway.events.emit("test.flood", filler="x" * 1000)
            await trio.sleep(1)
            url = watch.url
            watch.stop()
            await trio.sleep(GRACE_SECONDS + 0.5)
            with pytest.raises(OSError, match="refused"):
                async with dial(url):
                    pass
            assert watch.server.statistics().open == 0
            nursery.cancel_scope.cancel()
        assert watch.took is not None
        assert watch.took <= GRACE_SECONDS + 1
        assert await site.is_well()


async def test_a_server_that_is_cancelled_ends_at_once(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, trio.open_nursery() as nursery:
        server = site.serve(max_connections=10, max_body_bytes=1000)
        [url] = await nursery.start(server.serve, await open_listeners("127.0.0.1:0"))
        async with dial(url, receive_buffer=4096) as deaf, trio.open_nursery() as clients:
            clients.start_soon(_ask_for_ever, deaf)
            await trio.sleep(1)
            assert server.statistics().open == 1
            began = trio.current_time()
            nursery.cancel_scope.cancel()
            with trio.CancelScope(shield=True):
                await trio.sleep(0.1)
            clients.cancel_scope.cancel()
    assert trio.current_time() - began < 1


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


async def _ask_for_ever(client: RawClient) -> None:
    for _ in range(1000):
        await client.say(HEALTH * 100)


async def _pending_approval(site: Site) -> None:
    async with site.client("write") as client:
        message = {"channel": "loopback", "account": "main", "peer": {"kind": "dm", "id": "a"}, "sender": {"id": "a"}}
        await client.post("/v1/chat/inbound", json=message | {"text": "/demo-tool x"})
    await trio.sleep(1)


async def _approval_id(site: Site) -> str:
    [approval] = await site.gateway.approvals.list()
    return approval.id
