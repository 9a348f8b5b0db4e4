"""Who reaches the server of an agent through the daemon, and at which paths."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trio
import trio.testing
from msgspec.structs import replace

from gatewayd.agents import echo
from gatewayd.model.config import (
    AgentFrame,
    AgentSettings,
    AuthSection,
    Scope,
    TokenConfig,
)
from gatewayd.model.secret import Secret
from tests.web.attached import AttachedSettings, Server, open_server, says
from tests.web.client import request
from tests.web.proxy.site import THEIRS, attached, basic, frame
from tests.web.site import Site, configuration, open_site, token_of


@pytest.mark.parametrize(
    ("scopes", "path", "status"),
    [
        (("read",), "/session", 403),
        (("write",), "/session", 403),
        (("approvals",), "/session", 403),
        (("approvals", "write"), "/session", 200),
        (("approvals", "write"), "/config", 403),
        (("approvals", "write"), "/provider", 403),
        (("admin",), "/session", 200),
        (("admin",), "/config", 200),
    ],
)
async def test_who_may(tmp_path: Path, clock: trio.testing.MockClock, scopes: tuple[Scope, ...], path: str, status: int) -> None:
    token = "the-token-of-the-client-0123456789"
    auth = AuthSection(tokens={"client": TokenConfig(token=Secret(token), scopes=scopes)})
    async with open_server() as server:
        server.answers = {f"GET {path}": says([])}
        config = replace(configuration(agents=(AgentSettings("coder", frame(), AttachedSettings(server.url)),)), auth=auth)
        async with open_site(tmp_path, config) as site, site.client(None) as client:
            for headers in ({"Authorization": f"Bearer {token}"}, basic(token), basic(token, user="")):
                assert (await client.get(path, headers=headers)).status_code == status
            assert len(server.heard) == (3 if status == 200 else 0)


async def test_without_a_token_a_client_is_asked_for_basic(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, _), site.client(None) as client:
        for headers in (
            {},
            basic("wrong"),
            {"Authorization": "Basic %%%"},
            {"Authorization": "Basic"},
            {"Authorization": "Bearer x"},
        ):
            answer = await client.get("/session", headers=headers)
            assert (answer.status_code, answer.json()["error"]["code"]) == (401, "unauthorized")
            assert answer.headers["www-authenticate"] == 'Basic realm="gatewayd", charset="UTF-8"'
        assert server.heard == []
        # Elsewhere Basic means nothing.
        assert (await client.get("/v1/channels", headers=basic(token_of("admin")))).status_code == 401


async def test_a_page_of_another_site_cannot_use_what_the_browser_has_kept(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (site, server, _), site.client(None) as client:
        server.answers["GET /session"] = says([])
        for site_is, status in (("cross-site", 403), ("same-site", 403), ("same-origin", 200), ("none", 200)):
            headers = {**basic(token_of("admin")), "Sec-Fetch-Site": site_is}
            assert (await client.get("/session", headers=headers)).status_code == status, site_is
        headers = {**basic(token_of("admin")), "Origin": "https://evil.example"}
        assert (await client.get("/session", headers=headers)).json()["error"]["code"] == "bad_origin"
        assert len(server.heard) == 2


@pytest.mark.parametrize(
    "target",
    [
        "/session/../config",
        "/session/ses_1/../../config",
        "/session/%2e%2e/config",
        "/session/ses_1%2f..%2fconfig",
        "/session/ses_1/..%2f..%2fconfig",
        "/session/ses_1/%00",
        "/session//config",
        "/session/",
        "/session/.hidden",
        "/session/a\\b",
        "/session/a;b",
        "/session/a b".replace(" ", "%20"),
        "/permission/%2E%2E/reply",
    ],
)
async def test_a_path_that_can_be_read_in_two_ways_is_refused(tmp_path: Path, clock: trio.testing.MockClock, target: str) -> None:
    async with attached(tmp_path) as (site, server, _), site.dial() as raw:
        answer = await raw.ask(request("GET", target, headers={"Authorization": f"Bearer {token_of('admin')}"}))
        assert answer.status in (400, 404, 405), answer.body
        assert server.heard == []


async def test_what_is_not_named_is_not_passed_on(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        for method, path in (
            ("GET", "/file/content?path=/etc/passwd"),
            ("GET", "/pty"),
            ("POST", "/global/dispose"),
            ("POST", "/config"),
            ("PATCH", "/config"),
            ("GET", "/api/session"),
            ("POST", "/api/session/ses_1/permission/per_1/reply"),
            ("POST", "/session/ses_1/nonsense"),
            ("GET", "/project/x/y"),
            ("POST", "/permission/per_1"),
            ("GET", "/question/que_1"),
            ("HEAD", "/session"),
        ):
            answer = await client.request(method, path)
            assert answer.status_code in (404, 405), path
        assert server.heard == []


async def test_credentials_in_a_query_are_refused(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with attached(tmp_path) as (_, server, client):
        assert (await client.get("/session?auth_token=abc")).status_code == 400
        assert server.heard == []


async def test_the_agent_is_the_only_one_or_named(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    async with open_server() as one, open_server() as two:
        one.answers["GET /session"], two.answers["GET /session"] = says("one"), says("two")
        agents = (
            AgentSettings("assistant", AgentFrame(), echo.EchoSettings()),
            AgentSettings("one", frame(), AttachedSettings(one.url)),
            AgentSettings("two", frame(), AttachedSettings(two.url)),
        )
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            several = await client.get("/session")
            assert (several.status_code, "(one, two)" in several.text) == (409, True)
            assert (await client.get("/session?agent=two")).json() == "two"
            assert two.heard[-1].target == "/session"
            assert (await client.get("/session", headers={"X-Gatewayd-Agent": "one"})).json() == "one"
            assert (await client.get("/session", headers=basic(token_of("admin"), user="two"))).json() == "two"
            for name, status, word in (("three", 404, "three"), ("assistant", 409, "has no server")):
                answer = await client.get(f"/session?agent={name}")
                assert (answer.status_code, word in answer.text) == (status, True)
        async with open_site(tmp_path / "x", configuration(agents=agents[:2])) as site, site.client() as client:
            assert (await client.get("/session")).json() == "one"
        async with open_site(tmp_path / "y") as site, site.client() as client:
            assert (await client.get("/session")).status_code == 404
        down = (agents[1], AgentSettings("down", frame(), AttachedSettings(down=True)))
        async with open_site(tmp_path / "z", configuration(agents=down)) as site, site.client() as client:
            # While one is down, nobody is handed to the other by mistake.
            assert (await client.get("/session")).status_code == 409
            answer = await client.get("/session?agent=down")
            assert (answer.status_code, "cannot be reached" in answer.text) == (503, True)


async def test_another_directory_is_for_who_may_do_everything(tmp_path: Path, clock: trio.testing.MockClock) -> None:
    token = "the-token-of-the-client-0123456789"
    async with open_server() as server:
        server.answers = {"GET /path": says({"directory": "/srv/own"}), "GET /session": says([])}
        config = configuration(agents=(AgentSettings("coder", frame(), AttachedSettings(server.url)),))
        tokens = {**config.auth.tokens, "client": TokenConfig(token=Secret(token), scopes=("approvals", "write"))}
        async with open_site(tmp_path, replace(config, auth=AuthSection(tokens=tokens))) as site, site.client(None) as client:
            for query, header, status in (
                ("", None, 200),
                ("?directory=%2Fsrv%2Fown", None, 200),
                ("", "%2Fsrv%2Fown", 200),
                ("?directory=/srv/other", None, 403),
                ("?directory=/srv/own&directory=/srv/other", None, 403),
                ("?directory=/srv/own", "%2Fsrv%2Fother", 403),
            ):
                headers = basic(token) | ({} if header is None else {"X-Opencode-Directory": header})
                assert (await client.get(f"/session{query}", headers=headers)).status_code == status, (query, header)
            admin = basic(token_of("admin")) | {"X-Opencode-Directory": "%2Fsrv%2Fother"}
            assert (await client.get("/session", headers=admin)).status_code == 200
            assert server.heard[-1].headers["x-opencode-directory"] == "%2Fsrv%2Fother"


async def test_without_a_directory_of_its_own_a_client_works_where_the_agent_does(
    tmp_path: Path, clock: trio.testing.MockClock
) -> None:
    async with open_server() as server:
        server.answers = {"GET /session": says([]), "GET /path": says({"directory": "/home/x"})}
        agents = (AgentSettings("coder", frame(), AttachedSettings(server.url, directory="/srv/a b")),)
        async with open_site(tmp_path, configuration(agents=agents)) as site, site.client() as client:
            await client.get("/session?limit=1")
            await client.get("/session")
            await client.get("/session?directory=/elsewhere")
            assert [heard.target for heard in server.heard] == [
                "/session?limit=1&directory=%2Fsrv%2Fa%20b",
                "/session?directory=%2Fsrv%2Fa%20b",
                "/session?directory=/elsewhere",
            ]


@asynccontextmanager
async def as_operator(tmp_path: Path, **approvals: Any) -> AsyncIterator[tuple[Site, Server, httpx2.AsyncClient]]:
    """As ``attached``, with a token that has no more than the scopes approvals and write."""
    token = "the-token-of-the-client-0123456789"
    async with open_server() as server:
        config = configuration(agents=(AgentSettings("coder", frame(**approvals), AttachedSettings(server.url)),))
        tokens = {**config.auth.tokens, "client": TokenConfig(token=Secret(token), scopes=("approvals", "write"))}
        async with open_site(tmp_path, replace(config, auth=AuthSection(tokens=tokens))) as site, site.client(None) as client:
            client.headers["Authorization"] = f"Bearer {token}"
            yield site, server, client


@pytest.mark.parametrize(
    ("verb", "body"),
    [
        ("command", {"command": "init", "arguments": "!`id > /tmp/x`"}),
        ("init", {"modelID": "m", "providerID": "p", "messageID": "msg_1"}),
        ("shell", {"agent": "build", "command": "ls"}),
        ("revert", {"messageID": "msg_1"}),
        ("share", {}),
        ("message", {"noReply": True, "parts": [{"type": "file", "mime": "text/plain", "url": "file:///etc/passwd"}]}),
        ("prompt_async", {"parts": [{"type": "text", "text": "x"}, {"type": "subtask", "prompt": "x", "agent": "build"}]}),
    ],
)
async def test_what_runs_or_reads_unasked_is_for_admins(
    tmp_path: Path, clock: trio.testing.MockClock, verb: str, body: dict[str, object]
) -> None:
    async with as_operator(tmp_path) as (_, server, client):
        server.answers[f"POST /session/{THEIRS}/message"] = says({})
        answer = await client.post(f"/session/{THEIRS}/{verb}", json=body)
        assert (answer.status_code, answer.json()["error"]["code"], "admin" in answer.text) == (403, "forbidden", True)
        assert server.heard == []
        text = {"parts": [{"type": "text", "text": "see @/etc/passwd"}]}
        assert (await client.post(f"/session/{THEIRS}/message", json=text)).status_code == 200
