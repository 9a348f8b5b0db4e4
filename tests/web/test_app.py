"""What holds for every route: who may, from where, and how errors look."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio.testing
from structlog.typing import EventDict

from gatewayd.model.config import GatewaySection
from gatewayd.web.app import GatewayApp, create_app
from gatewayd.web.http.paths import PROBE_PATHS
from gatewayd.web.webhooks import PREFIX
from tests.web.client import Answer, chunked, request
from tests.web.site import MAX_BODY, PROXIES, SCOPES, configuration, no_reload, open_site, token_of

PUBLIC = {"/", "/static/x", "/health", "/healthz", "/readyz", "/approvals", "/dead-letters", "/trace", "/v1/console/login"}
FOREIGN = {"Origin": "https://attacker.example"}


def routes(app: GatewayApp) -> Iterator[tuple[str, str]]:
    """Every method and path of gatewayd itself; the routes of channels have their own tests."""
    for rule in app.url_map.iter_rules():
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield method, re.sub(r"<[^>]+>", "x", rule.rule)


async def test_every_route_but_the_public_ones_wants_a_token(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        seen = 0
        for method, path in routes(create_app(site.gateway, no_reload, PROXIES, max_connections=10)):
            if path in PUBLIC or path.startswith(PREFIX):
                continue
            answer = await client.ask(request(method, path, body=b"{}", headers={"Content-Type": "application/json"}))
            assert (answer.status, answer.code) == (401, "unauthorized"), (method, path)
            ours = path.startswith("/v1/") or path == "/metrics"
            assert answer.headers["www-authenticate"].startswith("Bearer" if ours else "Basic")
            seen += 1
        assert seen >= 13


async def test_the_old_path_of_a_page_is_an_error_that_names_the_new_one(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("GET", "/letters"))
        assert (answer.status, answer.json["error"]["message"]) == (404, "this path is /dead-letters now")


async def test_nothing_is_compiled_to_build_the_addresses_of_routes(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        addresses = create_app(site.gateway, no_reload, PROXIES, max_connections=10).url_map.bind("gateway.example")
        with pytest.raises(NotImplementedError):
            addresses.build("webhook", {"channel": "hook", "account": "main"})


async def test_a_token_in_the_query_is_no_token(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        for name in ("token", "access_token", "authorization"):
            answer = await client.ask(request("GET", f"/v1/gateway/status?{name}={token_of('admin')}"))
            assert answer.code == "unauthorized"


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/v1/gateway/status", "read"),
        ("GET", "/v1/gateway/route", "read"),
        ("GET", "/v1/channels", "read"),
        ("GET", "/v1/events", "read"),
        ("POST", "/v1/channels/hook/stop", "admin"),
        ("POST", "/v1/channels/hook/start", "admin"),
        ("POST", "/v1/channels/hook/restart", "admin"),
        ("POST", "/v1/chat/inbound", "write"),
        ("GET", "/v1/approvals", "approvals"),
        ("GET", "/v1/approvals/x", "approvals"),
        ("POST", "/v1/approvals/x", "approvals"),
        ("GET", "/v1/pairing", "pairing"),
        ("POST", "/v1/pairing/x", "pairing"),
        ("POST", "/v1/pairing/revoke", "pairing"),
    ],
)
async def test_each_route_wants_its_scope(
    tmp_path: Path, clock: trio.testing.MockClock, method: str, path: str, scope: str
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        for other in SCOPES:
            if other in (scope, "admin"):
                continue
            headers = {"Authorization": f"Bearer {token_of(other)}"}
            answer = await client.ask(request(method, path, headers=headers))
            assert (answer.status, answer.code) == (403, "forbidden"), other
            assert scope in answer.json["error"]["message"]


async def test_too_many_wrong_tokens_are_answered_429(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        wrong = request("GET", "/v1/channels", headers={"Authorization": "Bearer wrong"})
        answers = [await client.ask(wrong) for _ in range(12)]
        assert [answer.status for answer in answers] == [401] * 10 + [429] * 2
        assert 0 < int(answers[-1].headers["retry-after"]) <= 60
        assert (await client.ask(request("GET", "/health"))).status == 200


async def test_who_guesses_one_kind_of_secret_locks_out_no_other(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    json = {"Content-Type": "application/json"}
    guesses = {
        "tokens": request("GET", "/v1/channels", headers={"Authorization": "Bearer wrong"}),
        "passwords": request("GET", "/session", headers={"Authorization": "Basic eDp3cm9uZw=="}),
        "codes": request("POST", "/v1/console/login", headers=json, body=b'{"code":"wrong"}'),
    }
    right = request("GET", "/v1/channels", headers={"Authorization": f"Bearer {token_of('read')}"})
    for guessed in guesses:
        async with open_site(tmp_path / guessed) as site, site.dial() as client:
            answers = [(await client.ask(guesses[guessed])).status for _ in range(12)]
            assert answers == [401] * 10 + [429] * 2, guessed
            for other in guesses.keys() - {guessed}:
                assert (await client.ask(guesses[other])).status == 401, (guessed, other)
            # A short token, never used so far: it waits while others guess tokens, and only then.
            assert (await client.ask(right)).status == (429 if guessed == "tokens" else 200)


# Host and Origin.


async def test_a_rebound_name_reaches_nothing(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        token = {"Authorization": f"Bearer {token_of('admin')}"}
        for method, path in routes(create_app(site.gateway, no_reload, PROXIES, max_connections=10)):
            if path.startswith(PREFIX) or path in PROBE_PATHS:
                continue
            answer = await client.ask(request(method, path, host="attacker.example:18790", headers=token, body=b""))
            assert (answer.status, answer.code) == (421, "misdirected"), (method, path)


async def test_a_foreign_page_reaches_nothing(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        token = {"Authorization": f"Bearer {token_of('admin')}"}
        for method, path in routes(create_app(site.gateway, no_reload, PROXIES, max_connections=10)):
            if path.startswith(PREFIX) or path in PROBE_PATHS:
                continue
            for origin in ("https://attacker.example", "null", "http://localhost:3000"):
                answer = await client.ask(request(method, path, headers={**token, "Origin": origin}, body=b""))
                assert (answer.status, answer.code) == (403, "bad_origin"), (method, path, origin)
            preflight = await client.ask(request("OPTIONS", path, headers={**FOREIGN, "Access-Control-Request-Method": method}))
            assert preflight.status == 403
            assert not any(name.startswith("access-control") for name in preflight.headers)


async def test_our_own_pages_and_names_do(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    section = GatewaySection(public_url="https://gw.example", allowed_hosts=("chat.lan",))
    async with open_site(tmp_path, configuration(gateway=section)) as site, site.dial() as client:
        port = site.url.rsplit(":", 1)[1]
        for host, origin in [
            (f"127.0.0.1:{port}", f"http://127.0.0.1:{port}"),
            (f"localhost:{port}", f"http://localhost:{port}"),
            ("gw.example", "https://gw.example"),
            (f"127.0.0.1:{port}", "https://gw.example"),
            ("chat.lan:80", "http://chat.lan"),
        ]:
            answer = await client.ask(request("GET", "/trace", host=host, headers={"Origin": origin}))
            assert answer.status == 200, (host, origin)


async def test_without_a_host_nothing_is_served(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site:
        async with site.dial() as client:
            assert (await client.ask(b"GET / HTTP/1.0\r\n\r\n")).status == 421
        async with site.dial() as client:
            assert (await client.ask(b"GET /health HTTP/1.1\r\n\r\n")).status == 400
        async with site.dial() as client:
            answer = await client.ask(b"GET /health HTTP/1.1\r\nHost: localhost\r\nHost: attacker.example\r\n\r\n")
            assert answer.status == 400


# Errors and headers.


def check_headers(answer: Answer) -> None:
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "server" not in answer.headers


async def test_errors_are_json_with_stable_codes(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        for raw, status, code in [
            (request("GET", "/nowhere"), 404, "not_found"),
            (request("GET", "/v1"), 404, "not_found"),
            (request("POST", "/v1/webhooks//hook/main", host="attacker.example"), 404, "not_found"),
            (request("GET", "/%2e%2e/%2e%2e/etc/passwd"), 404, "not_found"),
            (request("DELETE", "/health"), 405, "method_not_allowed"),
            (request("OPTIONS", "/v1/channels"), 405, "method_not_allowed"),
            (request("PROPFIND", "/health"), 405, "method_not_allowed"),
        ]:
            answer = await client.ask(raw)
            assert (answer.status, answer.code) == (status, code)
            assert answer.headers["content-type"] == "application/json"
            check_headers(answer)
        assert set((await client.ask(request("POST", "/health"))).headers["allow"].split(", ")) == {"GET", "HEAD", "OPTIONS"}


async def test_good_answers_carry_the_same_headers(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        check_headers(await client.ask(request("GET", "/health")))


async def test_a_bug_is_a_500_without_its_reason_and_is_logged(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with open_site(tmp_path) as site, site.dial() as client:
        site.gateway.manager._pool.desired = None  # type: ignore[assignment]
        answer = await client.ask(request("GET", "/health"))
        assert (answer.status, answer.code) == (500, "internal")
        assert "NoneType" not in answer.body.decode()
        [entry] = [entry for entry in logged if entry["event"] == "request_failed"]
        assert (entry["path"], entry["log_level"]) == ("/health", "error")
        site.gateway.manager._pool.desired = {}


@pytest.mark.parametrize("framing", ["length", "chunks"])
async def test_a_body_that_is_too_large_is_413(tmp_path: Path, clock: trio.testing.MockClock, framing: str) -> None:
    headers = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json"}
    body = b'{"text":"' + b"x" * (10 * 1024 * 1024)
    if framing == "chunks":
        raw = request("POST", "/v1/chat/inbound", headers={**headers, "Transfer-Encoding": "chunked"}) + chunked(body)
    else:
        raw = request("POST", "/v1/chat/inbound", headers=headers, body=body)
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(raw)
        assert (answer.status, answer.code) == (413, "body_too_large")
        assert await client.closed()
        assert await site.rows() == []


async def test_a_client_that_keeps_its_connection_survives_answers_that_come_before_its_body(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_site(tmp_path) as site, site.client("admin") as client:
        for _ in range(5):
            for path, size, status in (("/v1/chat/inbound", 2 * MAX_BODY, 413), ("/nowhere", 2 * MAX_BODY, 404)):
                assert (await client.post(path, json={"x": "x" * size})).status_code == status
                assert (await client.get("/health")).status_code == 200


async def test_the_largest_body_is_read(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Authorization": f"Bearer {token_of('write')}", "Content-Type": "application/json"}
    async with open_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("POST", "/v1/chat/inbound", headers=headers, body=b"{" + b" " * (MAX_BODY - 1)))
        assert answer.code == "bad_request"
