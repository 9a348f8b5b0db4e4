"""Routes of a channel over the real server: what is asked, what is answered, and what a broken plug-in does to others."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from msgspec.structs import replace
from structlog.typing import EventDict

from gatewayd.agents import echo
from gatewayd.channels import webchat
from gatewayd.channels.webchat.settings import WebchatSettings
from gatewayd.model.config import AccountFrame, AccountSettings, GatewaySection
from gatewayd.model.errors import GatewayError
from gatewayd.plugins import Registry
from gatewayd.ports.channel import ChannelPlugin
from gatewayd.web.plugin_routes.bodies import SILENT_SECONDS
from gatewayd.web.plugin_routes.routes import SERVE_SECONDS
from tests.third_party.kinds import KINDS
from tests.web.client import RawClient, request
from tests.web.plugin_routes import porch
from tests.web.plugin_routes.porch import PLUGIN, ROUTES, PorchSettings
from tests.web.site import MAX_BODY, Site, configuration, open_site, token_of

ACCOUNTS = (
    AccountSettings("porch", "main", AccountFrame(), PorchSettings()),
    AccountSettings("porch", "off", AccountFrame(enabled=False), PorchSettings()),
)
JSON = {"Content-Type": "application/json"}
ADMIN = {"Authorization": f"Bearer {token_of('admin')}"}
PORCH = "/v1/porch/main"
UNMADE = ("an error whose fields cannot be read",)
"""Its constructor raises."""


@asynccontextmanager
async def porch_site(
    state_dir: Path, *, plugin: ChannelPlugin = PLUGIN, accounts: tuple[AccountSettings, ...] = ACCOUNTS, **section: Any
) -> AsyncIterator[Site]:
    ROUTES.__init__()  # type: ignore[misc]
    gateway = GatewaySection(bind="127.0.0.1:0", max_body_bytes=MAX_BODY, **section)
    registry = Registry.of([plugin, webchat.PLUGIN], [echo.PLUGIN])
    async with open_site(state_dir, configuration(accounts=accounts, gateway=gateway), registry=registry) as site:
        yield site


async def until(is_so: Callable[[], bool]) -> None:
    """For what comes through the kernel."""
    with trio.fail_after(10):
        while not is_so():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def until_closed() -> None:
    await until(lambda: ROUTES.open == 0)


async def open_ticks(client: RawClient, account: str = "main") -> None:
    await client.say(request("GET", f"/v1/porch/{account}/ticks"))
    status, headers = await client.head()
    assert (status, headers["content-type"], headers["x-accel-buffering"]) == (200, "text/event-stream", "no")
    assert await client.chunk() == b"event: tick\ndata: {}\n\n"


async def test_a_page_has_the_headers_of_security_and_its_own(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("GET", PORCH))
        assert (answer.status, answer.body) == (200, b"<title>Porch</title>")
        assert answer.headers["content-security-policy"] == "default-src 'self'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["set-cookie"] == "b=2", "the second one; the client of the test keeps one of a name"
        await client.say(request("HEAD", PORCH))
        status, headers = await client.head()
        assert (status, headers["content-type"]) == (200, "text/html")


async def test_a_redirect_comes_with_its_query_and_its_cookies(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        headers = {"Cookie": "other=1; state=x y; state=z"}
        answer = await client.ask(request("GET", f"{PORCH}/callback?code=a%2Fb&state=x+y", headers=headers))
        assert answer.json == {"query": "code=a%2Fb&state=x+y", "cookies": ["x y", "z"], "client": "127.0.0.1"}
        answer = await client.ask(request("GET", f"{PORCH}/people/al%20ice/rooms/1"))
        assert answer.json == {"path": "people/al ice/rooms/1"}


async def test_what_the_manifest_does_not_list_is_not_there(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        for path in (f"{PORCH}/nothing", "/v1/porch", "/v1/porch/nobody", f"{PORCH}/people/a/b/rooms/1", f"{PORCH}//callback"):
            assert (await client.ask(request("GET", path))).code == "not_found"
        answer = await client.ask(request("POST", f"{PORCH}/callback", headers=JSON, body=b"{}"))
        assert (answer.code, set(answer.headers["allow"].split(", "))) == ("method_not_allowed", {"GET", "HEAD"})
        assert ROUTES.requests == []


async def test_other_hosts_and_origins_reach_nothing(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        for method, path in (("GET", PORCH), ("POST", f"{PORCH}/json"), ("POST", f"{PORCH}/upload")):
            evil = {**JSON, "Origin": "https://evil.example"}
            assert (await client.ask(request(method, path, headers=evil, body=b"{}"))).code == "bad_origin"
            assert (await client.ask(request(method, path, host="evil.example", headers=JSON, body=b"{}"))).code == "misdirected"
        assert ROUTES.requests == []


async def test_a_route_with_a_scope_is_for_operators_who_are_audited(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    order = json.dumps({"what": "tea"}).encode()
    async with porch_site(tmp_path) as site, site.dial() as client:
        assert (await client.ask(request("POST", f"{PORCH}/orders", headers=JSON, body=order))).code == "unauthorized"
        reader = {**JSON, "Authorization": f"Bearer {token_of('read')}"}
        assert (await client.ask(request("POST", f"{PORCH}/orders", headers=reader, body=order))).code == "forbidden"
        assert ROUTES.requests == []
        answer = await client.ask(request("POST", f"{PORCH}/orders", headers={**JSON, **ADMIN}, body=order))
        assert answer.json == {"by": "operator:admin", "authorization": None}
        refused = await client.ask(request("POST", f"{PORCH}/orders", headers={**JSON, **ADMIN}, body=b'{"what": "nothing"}'))
        assert refused.code == "not_found"
        rows = [
            (row.actor, row.action, row.subject) for row in await site.store.audit_after(0, limit=10) if "porch" in row.action
        ]
        assert rows == [
            ("operator:admin", "porch.order", "tea"),
            ("operator:admin", "porch.order", "nothing"),
            ("operator:admin", "porch.order.refused", "nothing"),
        ]
        await site.gateway.events.wait_flushed()
        assert "channels.porch.ordered" in [event.kind for event in await site.gateway.events.after(0, limit=100)]


async def test_bodies_are_bounded_and_json_unless_the_route_says_otherwise(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    tea = b'{"what": "tea"}'
    async with porch_site(tmp_path) as site:

        async def ask(path: str, body: bytes, **headers: str) -> str:
            async with site.dial() as client:
                named = {name.replace("_", "-"): value for name, value in headers.items()}
                answer = await client.ask(request("POST", f"{PORCH}/{path}", headers=named, body=body))
                return "ok" if answer.status == 200 else answer.code

        found = [
            await ask("json", tea, Content_Type="application/json"),
            await ask("json", tea, Content_Type="text/plain"),
            await ask("json", tea),
            await ask("json", b"", Content_Type="application/json"),
            await ask("json", b"{", Content_Type="application/json"),
            await ask("json", b"x" * (MAX_BODY + 1), Content_Type="application/json"),
            await ask("small", tea, Content_Type="application/json"),
            await ask("small", b'{"what": "much more"}', Content_Type="application/json"),
            await ask("upload", b"x" * 50_000),
            await ask("upload", b"x" * (MAX_BODY + 1)),
            await ask("echo", b"x", Content_Type="text/plain"),
        ]
    assert found == [
        "ok",
        "unsupported_media_type",
        "unsupported_media_type",
        "bad_request",
        "bad_request",
        "body_too_large",
        "ok",
        "body_too_large",
        "ok",
        "body_too_large",
        "unsupported_media_type",
    ]


async def test_a_body_is_read_as_it_comes_and_ends_with_its_limit(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    chunked = {"Transfer-Encoding": "chunked"}
    async with porch_site(tmp_path) as site, site.dial() as client:
        await client.say(request("POST", f"{PORCH}/upload", headers=chunked))
        for number in range(3):
            await client.say(b"3\r\nab%d\r\n" % number)
            await until(lambda: len(ROUTES.received) > number)  # noqa: B023
        await client.say(b"0\r\n\r\n")
        assert (await client.answer()).json == {"bytes": 9}
        await client.say(request("POST", f"{PORCH}/upload", headers=chunked))
        for _ in range(MAX_BODY // 10_000 + 1):
            await client.say(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        assert (await client.answer()).code == "body_too_large"
    async with porch_site(tmp_path / "late") as site, site.dial() as client:
        await client.say(request("POST", f"{PORCH}/upload", headers=chunked) + b"3\r\nabc\r\n")
        assert (await client.answer()).code == "request_timeout"


async def test_streams_go_both_ways_at_once(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    headers = {"Transfer-Encoding": "chunked", "Content-Type": "application/octet-stream"}
    async with porch_site(tmp_path) as site, site.dial() as client:
        await client.say(request("POST", f"{PORCH}/echo", headers=headers) + b"5\r\nhello\r\n")
        assert (await client.head())[0] == 200
        assert await client.chunk() == b"HELLO"
        await client.say(b"5\r\nthere\r\n")
        assert await client.chunk() == b"THERE"
        await client.say(b"0\r\n\r\n")
        assert await client.chunk() == b""


async def test_a_stream_ends_when_its_client_leaves(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site:
        async with site.dial() as client:
            await open_ticks(client)
            assert await client.chunk()
            assert ROUTES.open == 1
        await until_closed()
        assert await site.is_well()


async def test_a_stream_ends_when_its_account_closes(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client, site.dial() as other:
        await open_ticks(client)
        await site.gateway.manager.stop("porch", "main")
        while await client.chunk():
            pass
        assert ROUTES.open == 0
        await open_ticks(other)  # a closed account has routes, too; it is for the plug-in to refuse
        answer = await client.ask(request("GET", f"{PORCH}/channel"))
        assert (answer.status, answer.code) == (503, "unavailable")
        assert "gatewayctl channels start porch" in answer.json["error"]["message"]


async def test_a_stream_ends_when_the_server_stops(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        await open_ticks(client)
        began = trio.current_time()
        site.server.stop()
        while await client.chunk():
            pass
        assert trio.current_time() - began < 1
        await until_closed()


async def test_a_stream_that_is_silent_is_ended(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        await client.say(request("GET", f"{PORCH}/silent"))
        assert (await client.head())[0] == 200
        with trio.fail_after(SILENT_SECONDS + 10):
            assert await client.chunk() == b"event: hello\n\n"
            assert await client.chunk() == b""


async def test_the_head_of_a_stream_begins_no_stream(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        await client.say(request("HEAD", f"{PORCH}/ticks"))
        status, headers = await client.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert (await client.ask(request("GET", PORCH))).status == 200
        assert ROUTES.open == 0
        await client.say(request("HEAD", f"{PORCH}/file?odd"))
        assert (await client.head())[0] == 200
        assert [entry["event"] for entry in logged].count("plugin_route_failed") == 1, "it was closed, which fails"


async def test_one_account_leaves_connections_to_others(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path, max_connections=8, max_connections_per_address=8) as site:
        async with trio.open_nursery() as nursery:
            begun = 0

            async def hold() -> None:
                nonlocal begun
                async with site.dial() as client:
                    await open_ticks(client)
                    begun += 1
                    await trio.sleep_forever()

            for _ in range(6):
                nursery.start_soon(hold)
            await until(lambda: begun == 6)
            async with site.dial() as client:
                answer = await client.ask(request("GET", PORCH))
                assert (answer.status, answer.code) == (503, "overloaded")
                assert int(answer.headers["retry-after"]) > 0
                assert (await client.ask(request("GET", "/health"))).status == 200
                assert (await client.ask(request("GET", "/v1/porch/off"))).status == 200, "another account"
            nursery.cancel_scope.cancel()
        await until_closed()
        async with site.dial() as client:
            assert (await client.ask(request("GET", PORCH))).status == 200


@pytest.mark.parametrize("how", porch.BAD)
async def test_a_bug_is_a_500_that_is_noted_and_nothing_else(
    how: str, tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        answer = await client.ask(request("GET", f"{PORCH}/bad/{how}"))
        assert (answer.status, answer.code) == (500, "internal")
        assert "x-other" not in answer.headers
        [entry] = [entry for entry in logged if entry["event"] == "plugin_route_failed"]
        assert (entry["channel"], entry["account"], entry["path"]) == ("porch", "main", f"{PORCH}/bad/{how}")
        assert (await client.ask(request("GET", PORCH))).status == 200
        assert await site.is_well()


async def test_whatever_is_raised_ends_its_request_only(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        found = {}
        for number, kind in enumerate(KINDS):
            found[kind] = (await client.ask(request("GET", f"{PORCH}/raise/{number}"))).status
            async with site.dial() as other:
                await other.say(request("GET", f"{PORCH}/file?{number}"))
                assert (await other.head())[0] == 200, kind
                assert await other.chunk() == b"half of it"
                assert not (await other.rest()).endswith(b"0\r\n\r\n"), kind
        assert await site.is_well()
    meant = {kind for kind, make in KINDS.items() if kind not in UNMADE and isinstance(make(), GatewayError)}
    assert found == {kind: 503 if kind in meant else 500 for kind in KINDS}
    assert [entry["event"] for entry in logged].count("plugin_route_failed") == 2 * len(KINDS) - len(meant)


async def test_errors_that_a_plug_in_means_are_no_bugs(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        answers = {how: await client.ask(request("GET", f"{PORCH}/bad/{how}")) for how in porch.GOOD}
        assert {how: (answer.status, answer.code) for how, answer in answers.items()} == {
            "missing": (404, "not_found"),
            "conflict": (409, "conflict"),
            "teapot": (418, "no_coffee"),
            "alone": (409, "taken"),
        }
        assert answers["teapot"].json["error"]["message"] == "this is a teapot"
        assert not [entry for entry in logged if entry["event"] == "plugin_route_failed"]


async def test_a_handler_that_hangs_is_cut(tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        began = trio.current_time()
        answer = await client.ask(request("GET", f"{PORCH}/hang"))
        assert (answer.status, answer.code) == (504, "gateway_timeout")
        assert trio.current_time() - began == pytest.approx(SERVE_SECONDS, abs=1)
        assert [entry["event"] for entry in logged].count("plugin_route_failed") == 1


@pytest.mark.parametrize(("query", "whole"), [("", False), ("wrong", False), ("odd", True)])
async def test_a_file_that_breaks_off_is_not_taken_for_a_whole_one(
    query: str, whole: bool, tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        await client.say(request("GET", f"{PORCH}/file?{query}"))
        assert (await client.head())[0] == 200
        assert (await client.rest()).endswith(b"0\r\n\r\n") == whole if not whole else await client.chunk() == b""
        assert [entry["event"] for entry in logged].count("plugin_route_failed") == 1
        assert await site.is_well()


async def test_wrong_codes_are_counted_for_the_address_and_the_channel(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path) as site, site.dial() as client:
        code = request("POST", f"{PORCH}/code", headers=JSON, body=b"{}")
        answers = [await client.ask(code) for _ in range(11)]
        assert [answer.status for answer in answers] == [401] * 10 + [429]
        assert int(answers[-1].headers["retry-after"]) > 0
        failed = [row.detail for row in await site.store.audit_after(0, limit=10) if row.action == "auth.failed"]
        assert '"porch login code"' in failed[0]


async def test_a_plug_in_that_cannot_be_loaded_answers_503(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    for broken in ("tests.web.plugin_routes.nowhere:ROUTES", "tests.web.plugin_routes.porch:PLUGIN"):
        async with porch_site(tmp_path / broken[-6:], plugin=replace(PLUGIN, http=broken)) as site, site.dial() as client:
            answer = await client.ask(request("GET", PORCH))
            assert (answer.status, answer.code) == (503, "unavailable")
            assert await site.is_well()
    assert [entry["event"] for entry in logged].count("plugin_route_failed") == 2


async def test_the_front_page_is_that_of_a_configured_channel(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with porch_site(tmp_path / "none") as site, site.dial() as client:
        assert (await client.ask(request("GET", "/"))).code == "not_found"
    chat = AccountSettings("webchat", "main", AccountFrame(), WebchatSettings())
    async with porch_site(tmp_path / "webchat", accounts=(*ACCOUNTS, chat)) as site, site.dial() as client:
        assert b"<title>gatewayd</title>" in (await client.ask(request("GET", "/"))).body
    front = replace(PLUGIN, one_account=True, front_page=True)
    async with porch_site(tmp_path / "both", plugin=front, accounts=(ACCOUNTS[0], chat)) as site, site.dial() as client:
        assert (await client.ask(request("GET", "/"))).body == b"<title>Porch</title>"
        assert (await client.ask(request("GET", "/v1/porch/callback?a=1"))).json["query"] == "a=1"


async def test_greetings_are_of_enabled_accounts_and_a_rude_one_ends_nothing(
    tmp_path: Path, clock: trio.testing.MockClock, logged: list[EventDict]
) -> None:
    rude = AccountSettings("porch", "rude", AccountFrame(), PorchSettings())
    async with porch_site(tmp_path, accounts=(rude, *ACCOUNTS)) as site:
        routes = site.server._app.plugin_routes
        assert await routes.greetings("http://here", private=True) == ["Sit down at http://here, main (a secret)."]
        assert await routes.greetings("http://here", private=False) == ["Sit down at http://here, main."]
        assert [entry["account"] for entry in logged if entry["event"] == "greeting_failed"] == ["rude", "rude"]
