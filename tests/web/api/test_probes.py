"""Load balancers and clients that speak HTTP as they like: they are answered, and learn nothing."""

from pathlib import Path

import pytest
import trio
import trio.testing

from gatewayd.web.server.listen import open_listeners, url_of
from tests.web.client import request
from tests.web.site import Site, open_site, token_of

PROBES = ("/health", "/healthz", "/readyz")


async def _status(site: Site, raw: bytes) -> int:
    async with site.dial() as client:
        await client.say(raw)
        return (await client.head())[0]


@pytest.mark.parametrize("path", PROBES)
async def test_probes_need_no_host(tmp_path: Path, clock: trio.testing.MockClock, path: str) -> None:
    """As HAProxy asks (HTTP/1.0, OPTIONS, no Host), and load balancers that know an address only."""
    async with open_site(tmp_path) as site:
        for method in ("GET", "HEAD", "OPTIONS"):
            assert await _status(site, f"{method} {path} HTTP/1.0\r\n\r\n".encode()) == 200
            for host in ("10.11.12.13", "a-target-group:80", ""):
                assert await _status(site, request(method, path, host=host)) == 200


async def test_all_else_needs_a_host_of_ours(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('admin')}"}
    async with open_site(tmp_path) as site:
        for path in ("/", "/v1/gateway/status", "/metrics", "/healthy"):
            assert await _status(site, request("GET", path, host="10.11.12.13", headers=headers)) == 421


@pytest.mark.parametrize(
    "offer",
    [
        {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA"},
        {"Upgrade": "h2c"},
        {"Connection": "Upgrade", "Upgrade": "TLS/1.0, HTTP/1.1"},
    ],
)
async def test_an_offer_to_upgrade_is_ignored(tmp_path: Path, clock: trio.testing.MockClock, offer: dict[str, str]) -> None:
    """Java's HttpClient and Ktor make one with their first request, and go on with HTTP/1.1 on the same connection."""
    headers = {"Authorization": f"Bearer {token_of('admin')}", "Content-Type": "application/json", **offer}
    link = request("POST", "/v1/gateway/reload", headers=headers, body=b"{}")
    async with open_site(tmp_path) as site, site.dial() as client:
        for _ in range(2):
            assert (await client.ask(request("GET", "/v1/gateway/status", headers=headers))).status == 200
            assert (await client.ask(link)).status != 400
            assert (await client.ask(request("POST", "/v1/webhooks/hook/main", headers=offer, body=b"{}"))).status == 401


async def test_who_takes_an_offer_for_accepted_is_refused(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        offer = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "!"}
        assert (await client.ask(request("GET", "/health", headers=offer))).status == 200
        assert (await client.ask(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(100))).status >= 400
        assert await client.closed()
        assert await site.is_well()


@pytest.mark.parametrize("basic", ["\xff", "====", "YQ", "8J+Ygv8=", "\xc3\xbc:x"])
async def test_basic_credentials_that_cannot_be_read_are_wrong_ones(
    tmp_path: Path, clock: trio.testing.MockClock, basic: str
) -> None:
    async with open_site(tmp_path) as site:
        for path in ("/v1/gateway/status", "/session"):
            async with site.dial() as client:
                head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic ".encode() + basic.encode("latin-1")
                assert (await client.ask(head + b"\r\n\r\n")).status in (401, 429)


@pytest.mark.parametrize("bind", ["0.0.0.0:0", "[::]:0", "127.0.0.1:0"])
async def test_the_url_of_a_listener_can_be_opened(bind: str) -> None:
    for listener in await open_listeners(bind):
        async with listener:
            assert url_of(listener).startswith(("http://127.0.0.1:", "http://[::1]:"))
