"""Hostile bytes: no connection ends the server, holds it up, or leaves a row; others are answered meanwhile."""

import socket
from pathlib import Path

import pytest
import trio
import trio.testing
from structlog.typing import EventDict

from gatewayd.web.server.head import MAX_HEAD_BYTES
from gatewayd.web.server.stream import WRITE_SECONDS
from tests.web.client import chunked, request
from tests.web.server.traffic import HEALTH, WEBHOOK, no_failure
from tests.web.site import open_site

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
