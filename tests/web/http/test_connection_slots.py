"""Connection slots: one client never holds all of them, and this machine's operators always get one."""

import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st
from structlog.typing import EventDict

from gatewayd.model.config import GatewaySection
from gatewayd.web.http.addresses import TrustedProxies
from gatewayd.web.http.connection_slots import OPERATORS, RESERVED, ConnectionSlots, Release
from gatewayd.web.http.errors import HttpError
from gatewayd.web.server.connection import HEAD_SECONDS
from gatewayd.web.server.stream import LINGER_SECONDS
from tests.web.client import Answer, RawClient, request
from tests.web.site import Site, configuration, open_site, token_of

HEALTH = request("GET", "/health")
CROWD, PROXY, OTHER, HERE = "127.0.0.5", "127.0.0.6", "127.0.0.7", "127.0.0.8"


@asynccontextmanager
async def dial_from(site: Site, address: str) -> AsyncIterator[RawClient]:
    """A connection from another address of this machine."""
    sock = trio.socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        await sock.bind((address, 0))
        await sock.connect(("127.0.0.1", urlsplit(site.url).port))
        yield RawClient(trio.SocketStream(sock))
    finally:
        sock.close()


async def health_from(site: Site, address: str) -> Answer:
    async with dial_from(site, address) as client:
        return await client.ask(HEALTH)


async def test_a_client_with_too_many_connections_is_answered_429_and_others_are_served(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    section = GatewaySection(max_connections=100, max_connections_per_address=5)
    async with open_site(tmp_path, configuration(gateway=section)) as site, AsyncExitStack() as stack:
        crowd = [await stack.enter_async_context(dial_from(site, CROWD)) for _ in range(60)]
        for client in crowd:
            await client.say(b"GET /health HTTP/1.1\r\n")
        began = trio.current_time()
        assert (await health_from(site, OTHER)).status == 200
        for client in crowd[5:]:
            answer = await client.answer()
            assert (answer.status, answer.code, answer.headers["connection"]) == (429, "too_many_requests", "close")
            assert int(answer.headers["retry-after"]) > 0
            assert await client.closed()
        assert trio.current_time() - began < 1
        assert site.server.statistics().open == 5
        [told] = [entry for entry in logged if entry["event"] == "connection_rejected"]
        assert told["client"][0] == CROWD
        await trio.sleep(HEAD_SECONDS + LINGER_SECONDS + 1)
        assert site.server.statistics().open == 0
        assert (await health_from(site, CROWD)).status == 200
        async with site.client("read") as reader:
            assert 'gatewayd_http_refused_total{reason="address"} 55.0' in (await reader.get("/metrics")).text


async def test_the_last_places_are_for_this_machine(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    """A trusted proxy is not counted as a client; what it brings is from outside."""
    section = GatewaySection(max_connections=40, max_connections_per_address=5, trusted_proxies=(PROXY,))
    async with open_site(tmp_path, configuration(gateway=section)) as site, AsyncExitStack() as stack:
        for _ in range(36):
            await stack.enter_async_context(dial_from(site, PROXY))
        answer = await health_from(site, PROXY)
        assert (answer.status, answer.code) == (503, "overloaded")
        for _ in range(3):
            assert (await health_from(site, HERE)).status == 200


async def test_a_client_behind_a_proxy_is_bounded_by_its_requests(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    section = GatewaySection(max_connections=100, max_connections_per_address=3, trusted_proxies=(PROXY,))
    async with open_site(tmp_path, configuration(gateway=section)) as site, AsyncExitStack() as stack:
        headers = {"X-Forwarded-For": "203.0.113.9", "Authorization": f"Bearer {token_of('write')}"}
        slow = request("POST", "/v1/chat/inbound", headers={**headers, "Content-Type": "application/json", "Content-Length": "9"})
        hook = request("POST", "/v1/webhooks/hook/main", headers={**headers, "X-Hook-Secret": "x", "Content-Length": "9"})
        clients = [await stack.enter_async_context(dial_from(site, PROXY)) for _ in range(4)]
        for client in clients[:3]:
            await client.say(slow)
        await trio.sleep(0.1)
        for refused in (slow, hook):
            async with dial_from(site, PROXY) as client:
                answer = await client.ask(refused)
                assert (answer.status, answer.code) == (429, "too_many_requests")
        other = headers | {"X-Forwarded-For": "203.0.113.9, 203.0.113.10"}
        assert (await clients[3].ask(request("GET", "/v1/channels", headers=other))).status == 403
        assert (await clients[3].ask(request("GET", "/health", headers=headers))).status == 200
        assert (await clients[0].answer()).status == 408
        async with dial_from(site, PROXY) as client:
            assert (await client.ask(request("GET", "/v1/channels", headers=headers))).status == 403


@pytest.mark.slow
async def test_two_thousand_slow_connections_of_one_client(tmp_path: Path) -> None:
    """With the default bounds and a real clock: /health is answered within a second from elsewhere, all the while."""
    async with open_site(tmp_path, configuration(gateway=GatewaySection())) as site, AsyncExitStack() as stack:

        async def flood() -> None:
            for _ in range(2000):
                client = await stack.enter_async_context(dial_from(site, CROWD))
                await client.say(b"GET /health HTTP/1.1\r\nHost: ")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(flood)
            for _ in range(20):
                with trio.fail_after(1):
                    assert (await health_from(site, OTHER)).status == 200
                await trio.sleep(0.05)
        with trio.fail_after(1):
            assert (await health_from(site, OTHER)).status == 200
        assert site.server.statistics().open <= GatewaySection().max_connections_per_address + 1


PEERS = st.sampled_from(["192.0.2.1", "192.0.2.2", "2001:db8::1", "2001:db8::2", "127.0.0.1", "127.0.0.2", PROXY, None])


@given(limit=st.integers(1, 60), per_client=st.integers(1, 5), moves=st.lists(st.tuples(PEERS, st.booleans()), max_size=150))
def test_slots_add_up(limit: int, per_client: int, moves: list[tuple[str | None, bool]]) -> None:
    slots = ConnectionSlots(limit, per_client=per_client, proxies=lambda: TrustedProxies([PROXY]))
    inside: list[tuple[str | None, Release]] = []
    for peer, comes in moves:
        if comes and len(inside) < limit:
            with suppress(HttpError):
                inside.append((peer, slots.connect(peer)))
        elif inside:
            inside.pop(0)[1]()
        held = Counter("::/64" if peer and ":" in peer else peer for peer, _ in inside)
        assert slots.taken == len(inside)
        assert all(count <= per_client for peer, count in held.items() if peer not in (PROXY, None))
        outside = sum(count for peer, count in held.items() if peer not in ("127.0.0.1", "127.0.0.2", None))
        assert outside <= limit - min(RESERVED, limit // 10)
    for _, release in inside:
        release()
    assert (slots.taken, slots._outside, slots._held) == (0, 0, {})


def test_the_addresses_of_one_customer_are_one_client() -> None:
    slots = ConnectionSlots(60, per_client=2, proxies=lambda: TrustedProxies([]))
    let_in = []
    for peer in ("2001:db8::1", "2001:db8::2", "2001:db8::ffff:3", "2001:db8:0:1::1"):
        try:
            slots.connect(peer)
        except HttpError:
            let_in.append(False)
        else:
            let_in.append(True)
    assert let_in == [True, True, False, True]


def test_there_is_a_reserve() -> None:
    assert GatewaySection().max_connections // 10 >= RESERVED
    assert GatewaySection().max_connections_per_address * 2 <= GatewaySection().max_connections
    assert OPERATORS > 0
